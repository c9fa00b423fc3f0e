//! Which exchanges get a line in the access log.

use std::time::Duration;

use super::Checked;
use crate::proto;
use crate::snapshot::model::{AccessLog, Field, Line, Logged, Only};

/// All, in millionths.
const ALL: u32 = 1_000_000;

pub(super) fn access_log(message: proto::AccessLog) -> Checked<AccessLog> {
    let wrong = |wrong: String| format!("access_log: {wrong}");
    let line = Line::parse(&message.pattern).map_err(wrong)?;
    let sample = message.sample.unwrap_or(ALL);
    if sample > ALL {
        return Err(wrong(format!("sample is {sample} millionths; expected {ALL} at most")));
    }
    let min_status = u16::try_from(message.min_status).ok().filter(|status| *status < 600);
    let min_status = min_status.ok_or_else(|| wrong(format!("min_status is {}", message.min_status)))?;
    let only = (min_status > 0 || message.slower_than_ms > 0).then(|| Only {
        min_status: if min_status > 0 { min_status } else { u16::MAX },
        slower_than: match message.slower_than_ms {
            0 => Duration::MAX,
            millis => Duration::from_millis(millis.into()),
        },
    });
    let needs_agent = line.tells(Field::UserAgent) || line.tells(Field::Referer);
    Ok(AccessLog {
        logged: message.enabled.then_some(Logged { sample, only, needs_agent }),
        line,
        redacted: message.redact.into_iter().map(Into::into).collect(),
    })
}
