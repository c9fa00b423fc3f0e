//! The context of a trace as fields carry it from one process to the next: read in each format that is in force, and
//! written in all of them. Fields of a format that is not in force pass as any other, and so does `baggage`: it is what
//! applications tell each other.

mod b3;
mod jaeger;
pub mod w3c;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::trace::TraceContext;
use crate::snapshot::model::{Format, Propagation};

/// What a caller's fields say of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The trace and the caller's span, neither of them 0; None: the trace begins here.
    pub ids: Option<(u128, u64)>,
    /// None: it is left to us.
    pub sampled: Option<bool>,
    /// It is sampled whatever anybody has decided.
    pub debug: bool,
    /// The lower 56 bits of the trace id are random.
    pub random: bool,
    /// The fields stand in a version that we write ourselves.
    pub is_current: bool,
}

/// What the fields say, and in which format. Of several formats the last that says something counts, as with the
/// propagators of the OpenTelemetry SDKs, of which each takes the place of what those before it found.
pub fn read(propagation: Propagation, headers: &HeaderMap) -> Option<(Format, Told)> {
    propagation.formats().rev().find_map(|format| {
        let told = match format {
            Format::TraceContext => w3c::read(headers),
            Format::B3 | Format::B3Multi => b3::read(headers),
            Format::Jaeger => jaeger::read(headers),
        };
        told.map(|told| (format, told))
    })
}

/// Writes the context for a request whose sender's span is `parent_id`.
pub fn write(context: &TraceContext, parent_id: u64, headers: &mut HeaderMap) {
    for format in context.propagation.formats() {
        match format {
            Format::TraceContext => w3c::write(context, parent_id, headers),
            Format::B3 => b3::write_single(context, parent_id, headers),
            Format::B3Multi => b3::write_multi(context, parent_id, headers),
            Format::Jaeger => jaeger::write(context, parent_id, headers),
        }
    }
}

/// Keeps the fields of a request that passes as it came out of HPACK's tables.
pub fn pass(propagation: Propagation, headers: &mut HeaderMap) {
    for format in propagation.formats() {
        let names: &[HeaderName] = match format {
            Format::TraceContext => &[w3c::TRACEPARENT],
            Format::B3 | Format::B3Multi => &[b3::SINGLE, b3::TRACE_ID, b3::SPAN_ID],
            Format::Jaeger => &[jaeger::UBER_TRACE_ID],
        };
        for name in names {
            if let Some(value) = headers.get_mut(name) {
                never_index(value);
            }
        }
    }
}

/// Keeps a value that no other request has out of HPACK's tables (RFC 7541 section 6.2.3): there it would only push others
/// out, and the encoder compares each new value of a field with all that the table holds.
pub fn never_index(value: &mut HeaderValue) {
    value.set_sensitive(true);
}

/// The one field of this name. Two of them contradict each other.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut fields = headers.get_all(name).iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => Some(field.as_bytes()),
        _ => None,
    }
}

/// A field of digits and dashes.
fn value(field: &[u8]) -> HeaderValue {
    // Such a value is always legal.
    let mut value = HeaderValue::from_bytes(field).unwrap_or_else(|_| HeaderValue::from_static(""));
    never_index(&mut value);
    value
}

#[cfg(test)]
mod tests;
