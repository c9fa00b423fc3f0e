//! W3C Trace Context (level 1, with the random flag of level 2).

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Told, only, value};
use crate::telemetry::hex;
use crate::telemetry::trace::TraceContext;

/// The field that names a trace and the caller's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The field with what tracing systems say to each other.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// "00-" 32 hex digits "-" 16 hex digits "-" 2 hex digits.
const TRACEPARENT_LENGTH: usize = 55;
const SAMPLED: u8 = 0x01;
/// Level 2: the lower 56 bits of the trace id are random.
const RANDOM: u8 = 0x02;
/// Level 1 section 3.3.1.1: more members make the list invalid.
pub const MAX_TRACESTATE_MEMBERS: usize = 32;
/// Level 1 section 3.3.1.3.2.
const MAX_TRACESTATE_VALUE: usize = 256;

/// What a `traceparent` field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    /// 0 is the version written down here; a later one is read by its first four parts.
    pub version: u8,
    /// Never 0.
    pub trace_id: u128,
    /// Never 0.
    pub parent_id: u64,
    /// As sent.
    pub flags: u8,
}

impl Traceparent {
    /// None: the field is invalid and the trace begins anew.
    pub fn parse(field: &[u8]) -> Option<Self> {
        let (head, rest) = field.split_at_checked(TRACEPARENT_LENGTH)?;
        let dashes = head[2] == b'-' && head[35] == b'-' && head[52] == b'-';
        // The standard wants lower case.
        if !dashes || head.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let version = hex::read(&head[..2])? as u8;
        let complete = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let parsed = Traceparent {
            version,
            trace_id: hex::read(&head[3..35])?,
            parent_id: hex::read(&head[36..52])? as u64,
            flags: hex::read(&head[53..])? as u8,
        };
        (complete && parsed.trace_id != 0 && parsed.parent_id != 0).then_some(parsed)
    }

    /// The field, in version 00.
    pub fn format(self) -> HeaderValue {
        let mut field = [b'-'; TRACEPARENT_LENGTH];
        hex::write(&mut field[..2], 0);
        hex::write(&mut field[3..35], self.trace_id);
        hex::write(&mut field[36..52], u128::from(self.parent_id));
        hex::write(&mut field[53..], u128::from(self.flags));
        value(&field)
    }
}

/// The one valid `traceparent`.
pub fn read(headers: &HeaderMap) -> Option<Told> {
    let parsed = Traceparent::parse(only(headers, &TRACEPARENT)?)?;
    Some(Told {
        ids: Some((parsed.trace_id, parsed.parent_id)),
        sampled: Some(parsed.flags & SAMPLED != 0),
        debug: false,
        random: parsed.flags & RANDOM != 0,
        is_current: parsed.version == 0,
    })
}

pub fn write(context: &TraceContext, parent_id: u64, headers: &mut HeaderMap) {
    let traceparent = Traceparent { version: 0, trace_id: context.trace_id, parent_id, flags: flags(context) };
    headers.insert(TRACEPARENT, traceparent.format());
    if context.tracestate.is_empty() {
        headers.remove(TRACESTATE);
    }
}

/// The trace flags.
pub fn flags(context: &TraceContext) -> u8 {
    (if context.is_told_sampled() { SAMPLED } else { 0 }) | (if context.random { RANDOM } else { 0 })
}

/// All `tracestate` fields when they make one valid list; none when they do not.
pub fn tracestate(headers: &HeaderMap) -> Vec<HeaderValue> {
    let mut fields = Vec::new();
    let mut keys: Vec<&[u8]> = Vec::new();
    for field in headers.get_all(TRACESTATE) {
        for member in field
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(trim)
            .filter(|member| !member.is_empty())
        {
            match key(member) {
                Some(key) if !keys.contains(&key) && keys.len() < MAX_TRACESTATE_MEMBERS => keys.push(key),
                _ => return Vec::new(),
            }
        }
        fields.push(field.clone());
    }
    fields
}

/// That of a valid member.
fn key(member: &[u8]) -> Option<&[u8]> {
    let at = member.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&member[..at], &member[at + 1..]);
    (is_key(key) && is_value(value)).then_some(key)
}

/// Level 1 section 3.3.1.3.1: "vendor" or "tenant@vendor".
fn is_key(key: &[u8]) -> bool {
    let of_key = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte);
    let starts_with_letter = |name: &[u8]| name.first().is_some_and(u8::is_ascii_lowercase);
    match key.iter().position(|byte| *byte == b'@') {
        None => key.len() <= 256 && starts_with_letter(key) && key.iter().all(of_key),
        Some(at) => {
            let (tenant, vendor) = (&key[..at], &key[at + 1..]);
            let starts = tenant
                .first()
                .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            starts
                && tenant.len() <= 241
                && tenant.iter().all(of_key)
                && starts_with_letter(vendor)
                && vendor.len() <= 14
                && vendor.iter().all(of_key)
        }
    }
}

fn is_value(value: &[u8]) -> bool {
    (1..=MAX_TRACESTATE_VALUE).contains(&value.len())
        && value.iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'=')
}

/// Without spaces and tabs around it.
pub fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(start, |last| last + 1);
    &text[start..end]
}
