//! Jaeger's own field, `{trace id}:{span id}:{parent's span id}:{flags}`
//! (<https://www.jaegertracing.io/docs/1.76/architecture/apis/#propagation-format>). Its baggage (`uberctx-…`) passes.

use http::header::{HeaderMap, HeaderName};

use super::{Told, only, value};
use crate::telemetry::hex;
use crate::telemetry::trace::TraceContext;

pub const UBER_TRACE_ID: HeaderName = HeaderName::from_static("uber-trace-id");

const SAMPLED: u128 = 0x01;
const DEBUG: u128 = 0x02;
/// 32 and 16 digits, no parent, flags of one digit.
const LENGTH: usize = 32 + 1 + 16 + 1 + 1 + 1 + 1;

pub fn read(headers: &HeaderMap) -> Option<Told> {
    let field = only(headers, &UBER_TRACE_ID)?;
    // Some clients encode it as a part of a URL.
    let mut plain = [0; 64];
    let field = match field.contains(&b'%') {
        true => decoded(field, &mut plain)?,
        false => field,
    };
    let mut parts = field.split(|byte| *byte == b':');
    let mut next = |digits: usize| parts.next().filter(|part| part.len() <= digits).and_then(hex::read);
    // Leading zeros may be missing, and the parent is deprecated and not looked at.
    let (trace_id, span_id, _parent, flags) = (next(32)?, next(16)? as u64, next(16)?, next(2)?);
    if parts.next().is_some() || trace_id == 0 || span_id == 0 {
        return None;
    }
    Some(Told {
        ids: Some((trace_id, span_id)),
        sampled: Some(flags & SAMPLED != 0),
        debug: flags & SAMPLED != 0 && flags & DEBUG != 0,
        random: false,
        is_current: true,
    })
}

/// With "%3A" read as ":"; None: it is too long for what it should be.
fn decoded<'a>(field: &[u8], plain: &'a mut [u8; 64]) -> Option<&'a [u8]> {
    let (mut at, mut length) = (0, 0);
    while at < field.len() {
        let is_colon = field[at..].len() >= 3 && field[at..at + 3].eq_ignore_ascii_case(b"%3a");
        *plain.get_mut(length)? = if is_colon { b':' } else { field[at] };
        at += if is_colon { 3 } else { 1 };
        length += 1;
    }
    Some(&plain[..length])
}

pub fn write(context: &TraceContext, parent_id: u64, headers: &mut HeaderMap) {
    let mut field = [b':'; LENGTH];
    hex::write(&mut field[..32], context.trace_id);
    hex::write(&mut field[33..49], u128::from(parent_id));
    field[50] = b'0';
    let flags = match (context.debug, context.is_told_sampled()) {
        (true, _) => SAMPLED | DEBUG,
        (false, is_sampled) => u128::from(is_sampled),
    };
    hex::write(&mut field[52..], flags);
    headers.insert(UBER_TRACE_ID, value(&field));
}
