//! Wall-clock time in words.

/// RFC 3339 in UTC with microseconds.
pub fn timestamp(unix_nanos: u64) -> String {
    let (seconds, micros) = (unix_nanos / 1_000_000_000, unix_nanos / 1000 % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that the leap day is the last of its year; 719468 days lie between.
    let day = days + 719_468;
    // A cycle of 400 years has 146097 days; 1460, 36524 and 146096 are where a leap day falls in or out.
    let (cycle, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + carry, month, day)
}

/// "10/Oct/2000:13:55:36 +0000", as the common log format of httpd has it.
pub fn common(unix_nanos: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, second) = (unix_nanos / 1_000_000_000 / 86_400, unix_nanos / 1_000_000_000 % 86_400);
    let (year, month, day) = date(days);
    let month = MONTHS[month as usize - 1];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399, "2000-02-28T23:59:59.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (951_868_800, "2000-03-01T00:00:00.000000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (4_107_456_000, "2100-02-28T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(seconds * 1_000_000_000), text);
        }
        assert_eq!(timestamp(1_999), "1970-01-01T00:00:00.000001Z");
    }

    #[test]
    fn a_time_is_written_as_httpd_does() {
        assert_eq!(common(971_186_136_000_000_000), "10/Oct/2000:13:55:36 +0000");
    }
}
