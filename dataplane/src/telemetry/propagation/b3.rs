//! B3, in one field and in several (<https://github.com/openzipkin/b3-propagation>). Both are read whichever is in force, the
//! single one first, as OpenTelemetry's specification of its propagators has it; a form that the caller used is brought up
//! to date beside the one in force, so that no two fields name different spans.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{Told, only, value};
use crate::telemetry::hex;
use crate::telemetry::trace::TraceContext;

/// `{trace id}-{span id}-{sampled}-{parent's span id}`, of which the last two may be missing, or `{sampled}` alone.
pub const SINGLE: HeaderName = HeaderName::from_static("b3");
pub const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
pub const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// 32 and 16 digits, a state of one.
const SINGLE_LENGTH: usize = 32 + 1 + 16 + 1 + 1;

pub fn read(headers: &HeaderMap) -> Option<Told> {
    only(headers, &SINGLE)
        .and_then(read_single)
        .or_else(|| read_multi(headers))
}

fn read_single(field: &[u8]) -> Option<Told> {
    let mut parts = field.split(|byte| *byte == b'-');
    let first = parts.next()?;
    let Some(span_id) = parts.next() else {
        let (sampled, debug) = state(first)?;
        return Some(Told { sampled: Some(sampled), debug, is_current: true, ..Told::default() });
    };
    let (sampled, debug) = match parts.next() {
        Some(text) => state(text).map(|(sampled, debug)| (Some(sampled), debug))?,
        None => (None, false),
    };
    let parent_is_id = parts
        .next()
        .is_none_or(|parent| parent.len() == 16 && hex::read(parent).is_some());
    if !parent_is_id || parts.next().is_some() {
        return None;
    }
    Some(Told { ids: Some(ids(first, span_id)?), sampled, debug, random: false, is_current: true })
}

fn read_multi(headers: &HeaderMap) -> Option<Told> {
    let debug = only(headers, &FLAGS) == Some(b"1");
    let sampled = match only(headers, &SAMPLED) {
        // "true" and "false" are of early tracers, and still sent.
        Some(b"1" | b"true") => Some(true),
        Some(b"0" | b"false") => Some(false),
        Some(_) => return None,
        None => debug.then_some(true),
    };
    let told = Told { ids: None, sampled, debug, random: false, is_current: true };
    match (only(headers, &TRACE_ID), only(headers, &SPAN_ID)) {
        (Some(trace_id), Some(span_id)) => Some(Told { ids: Some(ids(trace_id, span_id)?), ..told }),
        _ if sampled.is_some() => Some(told),
        _ => None,
    }
}

/// Of 16 or 32 digits and of 16; a short trace id is one that begins with zeros.
fn ids(trace_id: &[u8], span_id: &[u8]) -> Option<(u128, u64)> {
    if !matches!(trace_id.len(), 16 | 32) || span_id.len() != 16 {
        return None;
    }
    let (trace_id, span_id) = (hex::read(trace_id)?, hex::read(span_id)? as u64);
    (trace_id != 0 && span_id != 0).then_some((trace_id, span_id))
}

/// Sampled, and for debugging.
fn state(text: &[u8]) -> Option<(bool, bool)> {
    match text {
        b"0" => Some((false, false)),
        b"1" => Some((true, false)),
        b"d" => Some((true, true)),
        _ => None,
    }
}

pub fn write_single(context: &TraceContext, parent_id: u64, headers: &mut HeaderMap) {
    single(context, parent_id, headers);
    if headers.contains_key(TRACE_ID) || headers.contains_key(SAMPLED) {
        multi(context, parent_id, headers);
    }
}

pub fn write_multi(context: &TraceContext, parent_id: u64, headers: &mut HeaderMap) {
    multi(context, parent_id, headers);
    if headers.contains_key(SINGLE) {
        single(context, parent_id, headers);
    }
}

fn single(context: &TraceContext, parent_id: u64, headers: &mut HeaderMap) {
    let mut field = [b'-'; SINGLE_LENGTH];
    hex::write(&mut field[..32], context.trace_id);
    hex::write(&mut field[33..49], u128::from(parent_id));
    field[50] = match (context.debug, context.is_told_sampled()) {
        (true, _) => b'd',
        (false, true) => b'1',
        (false, false) => b'0',
    };
    headers.insert(SINGLE, value(&field));
}

fn multi(context: &TraceContext, parent_id: u64, headers: &mut HeaderMap) {
    let mut digits = [0; 32];
    hex::write(&mut digits, context.trace_id);
    headers.insert(TRACE_ID, value(&digits));
    hex::write(&mut digits[..16], u128::from(parent_id));
    headers.insert(SPAN_ID, value(&digits[..16]));
    // The parent of a span that another process has is nobody's affair here.
    headers.remove(PARENT);
    let flag = |is_set| HeaderValue::from_static(if is_set { "1" } else { "0" });
    if context.debug {
        headers.insert(FLAGS, flag(true));
        headers.remove(SAMPLED);
    } else {
        headers.remove(FLAGS);
        headers.insert(SAMPLED, flag(context.is_told_sampled()));
    }
}
