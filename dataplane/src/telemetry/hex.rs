//! Numbers in hexadecimal digits, as ids travel.

/// A number of at most 32 digits; upper and lower case are the same.
pub fn read(digits: &[u8]) -> Option<u128> {
    let is_number = (1..=32).contains(&digits.len());
    let digit = |number: u128, digit: &u8| Some(number << 4 | u128::from((*digit as char).to_digit(16)?));
    is_number.then(|| digits.iter().try_fold(0, digit))?
}

/// Fills `field` with the lowest digits of `number`, in lower case.
pub fn write(field: &mut [u8], mut number: u128) {
    for digit in field.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut field = [0; 4];
        write(&mut field, 0x1_2ab3);
        assert_eq!(&field, b"2ab3");
        assert_eq!(read(b"2aB3"), Some(0x2ab3));
        assert_eq!(read(&[b'f'; 32]), Some(u128::MAX));
        for wrong in [&b""[..], b"g", b"+1", b" 1", b"0x1", &[b'0'; 33]] {
            assert_eq!(read(wrong), None);
        }
    }
}
