//! Contexts: read, decided, passed on.

use super::*;
use crate::telemetry::propagation::w3c::{TRACEPARENT, TRACESTATE, Traceparent};

/// Level 2's flag.
const RANDOM: u8 = 0x02;

const TRACE: u128 = 0x1234_5678_9012_3456_7890_1234_5678_9012;
const PARENT: u64 = 0x1234_5678_9012_3456;
const VALID: &str = "00-12345678901234567890123456789012-1234567890123456-01";

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn begin(headers: &HeaderMap, sampler: Sampler) -> TraceContext {
    TraceContext::start(headers, Propagation::default(), sampler)
}

fn start(fields: &[(&'static str, &str)]) -> TraceContext {
    begin(&headers(fields), Sampler::new(1.0))
}

#[test]
fn a_valid_field_is_read() {
    let parsed = Traceparent::parse(VALID.as_bytes()).unwrap();
    assert_eq!(
        parsed,
        Traceparent { version: 0, trace_id: TRACE, parent_id: PARENT, flags: 1 }
    );
    assert_eq!(parsed.format(), VALID);
}

#[test]
fn later_versions_are_read_by_their_first_four_parts() {
    for field in [
        "cc-12345678901234567890123456789012-1234567890123456-01",
        "cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-brings",
    ] {
        let parsed = Traceparent::parse(field.as_bytes()).unwrap();
        assert_eq!((parsed.trace_id, parsed.parent_id), (TRACE, PARENT));
        assert_eq!(parsed.format(), VALID, "what is sent on is version 00");
    }
}

#[test]
fn an_invalid_field_begins_a_new_trace() {
    for field in [
        "",
        "00-12345678901234567890123456789012-1234567890123456-0",
        "00-12345678901234567890123456789012-1234567890123456-01.",
        "00-12345678901234567890123456789012-1234567890123456-01-more",
        "cc-12345678901234567890123456789012-1234567890123456-01.more",
        "ff-12345678901234567890123456789012-1234567890123456-01",
        ".0-12345678901234567890123456789012-1234567890123456-01",
        "0-12345678901234567890123456789012-1234567890123456-001",
        "000-12345678901234567890123456789012-1234567890123456-01",
        "00-00000000000000000000000000000000-1234567890123456-01",
        "00-12345678901234567890123456789012-0000000000000000-01",
        "00-1234567890123456789012345678901.-1234567890123456-01",
        "00-12345678901234567890123456789012-123456789012345X-01",
        "00-12345678901234567890123456789012-1234567890123456-0.",
        "00-ABCDEF78901234567890123456789012-1234567890123456-01",
        "00_12345678901234567890123456789012-1234567890123456-01",
    ] {
        assert_eq!(Traceparent::parse(field.as_bytes()), None, "{field}");
        let context = start(&[("traceparent", field), ("tracestate", "foo=1")]);
        assert_eq!(context.parent, None);
        let mut sent = headers(&[("traceparent", field), ("tracestate", "foo=1")]);
        context.inject(9, &mut sent);
        assert!(
            !sent.contains_key(TRACESTATE),
            "the state of a trace that was left does not follow"
        );
        assert_eq!(
            Traceparent::parse(sent[TRACEPARENT].as_bytes()).unwrap().trace_id,
            context.trace_id
        );
    }
}

#[test]
fn two_fields_contradict_each_other() {
    let twice = [("traceparent", VALID), ("traceparent", VALID)];
    assert_ne!(start(&twice).trace_id, TRACE);
    let mut sent = headers(&twice);
    start(&twice).inject(5, &mut sent);
    assert_eq!(sent.get_all(TRACEPARENT).iter().count(), 1);
}

#[test]
fn a_sampled_parent_gets_the_client_span_as_next_parent() {
    let fields = [
        ("traceparent", VALID),
        ("tracestate", "foo=1,bar=2"),
        ("tracestate", "t@v=3"),
    ];
    let context = begin(&headers(&fields), Sampler::new(0.0));
    assert!(context.sampled, "the parent decides");
    assert_eq!(context.parent, Some(PARENT));
    let mut sent = headers(&fields);
    context.inject(0xabc, &mut sent);
    assert_eq!(
        sent[TRACEPARENT],
        "00-12345678901234567890123456789012-0000000000000abc-01"
    );
    let state: Vec<_> = sent.get_all(TRACESTATE).iter().collect();
    assert_eq!(state, ["foo=1,bar=2", "t@v=3"]);
}

#[test]
fn an_unsampled_parent_is_passed_on_unchanged() {
    let fields = [
        ("traceparent", "00-12345678901234567890123456789012-1234567890123456-00"),
        ("tracestate", "a=1"),
    ];
    let context = start(&fields);
    assert!(!context.sampled);
    let mut sent = headers(&fields);
    context.inject(7, &mut sent);
    assert_eq!(sent, headers(&fields));
}

#[test]
fn an_unsampled_root_tells_the_next_hop_not_to_sample() {
    let context = begin(&HeaderMap::new(), Sampler::new(0.0));
    let mut sent = HeaderMap::new();
    context.inject(0, &mut sent);
    let field = Traceparent::parse(sent[TRACEPARENT].as_bytes()).unwrap();
    assert_eq!(field.flags, RANDOM);
    assert_eq!(field.trace_id, context.trace_id);
}

#[test]
fn an_invalid_state_is_dropped_and_the_trace_kept() {
    let many = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    let long_key = format!("{}=1", "z".repeat(257));
    let long_tenant = format!("{}@v=1", "t".repeat(242));
    for state in [
        "foo=1,foo=1",
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "foo@=1,bar=2",
        "@foo=1,bar=2",
        "foo@@bar=1",
        "foo@bar@baz=1",
        "foo=bar=baz",
        "foo=,bar=3",
        "foo",
        "1a=2",
        &many,
        &long_key,
        &long_tenant,
        "t@vvvvvvvvvvvvvvv=1",
    ] {
        let fields = [("traceparent", VALID), ("tracestate", state)];
        let context = start(&fields);
        assert_eq!(context.trace_id, TRACE);
        let mut sent = headers(&fields);
        context.inject(1, &mut sent);
        assert!(!sent.contains_key(TRACESTATE), "{state}");
    }
}

#[test]
fn every_legal_character_of_the_state_is_kept() {
    let value: String = (' '..='~').filter(|c| !",=".contains(*c)).collect();
    let member = format!("abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/={value}");
    for state in [member.as_str(), "foo=1 \t , \t bar=2, \t baz=3", "0t@v=1", "", "foo=1,"] {
        assert_eq!(
            start(&[("traceparent", VALID), ("tracestate", state)]).tracestate,
            [state],
            "{state}"
        );
    }
}

#[test]
fn the_ratio_is_a_share_of_trace_ids_and_monotonic() {
    random::seed(3);
    let (one, ten) = (Sampler::new(0.01), Sampler::new(0.1));
    let ids: Vec<u128> = (0..100_000).map(|_| trace_id()).collect();
    let count = |sampler: Sampler| ids.iter().filter(|id| sampler.samples(**id)).count();
    assert!((840..1160).contains(&count(one)), "{}", count(one));
    assert!((9_500..10_500).contains(&count(ten)), "{}", count(ten));
    assert!(ids.iter().all(|id| !one.samples(*id) || ten.samples(*id)));
    assert_eq!(count(Sampler::new(0.0)), 0);
    assert_eq!(count(Sampler::new(1.0)), ids.len());
    assert!(Sampler::new(1.0).samples(u128::MAX));
}

#[test]
fn ids_agree_with_the_python_sdk_on_the_bound() {
    // The SDK samples when the lower 64 bits are below round(ratio * 2^64).
    let half = Sampler::new(0.5);
    assert!(half.samples(u128::from((1u64 << 63) - 1)));
    assert!(!half.samples(u128::from(1u64 << 63)));
}

/// A sampler that decides for itself.
fn alone(ratio: f64) -> Sampler {
    Sampler { heeds_parent: false, ..Sampler::new(ratio) }
}

#[test]
fn a_sampler_that_decides_for_itself_breaks_off_no_trace() {
    let sampled = [("traceparent", VALID), ("tracestate", "a=1")];
    let context = begin(&headers(&sampled), alone(0.0));
    assert!(!context.sampled, "always_off makes no span of a sampled trace");
    let mut sent = headers(&sampled);
    context.inject(0, &mut sent);
    assert_eq!(
        sent,
        headers(&sampled),
        "and the spans behind us still belong to those before us"
    );

    let unsampled = [("traceparent", "00-12345678901234567890123456789012-1234567890123456-00")];
    let context = begin(&headers(&unsampled), alone(1.0));
    assert!(context.sampled, "always_on makes one of any");
    let mut sent = headers(&unsampled);
    context.inject(0xabc, &mut sent);
    assert_eq!(
        sent[TRACEPARENT],
        "00-12345678901234567890123456789012-0000000000000abc-01"
    );
}

#[test]
fn a_ratio_that_decides_for_itself_goes_by_the_trace_alone() {
    let trace = |low: u64, flags| format!("00-1234567890123456{low:016x}-1234567890123456-{flags}");
    for flags in ["00", "01"] {
        for (low, expected) in [(1 << 62, true), (1 << 63 | 1, false)] {
            let field = trace(low, flags);
            let context = begin(&headers(&[("traceparent", &field)]), alone(0.5));
            assert_eq!(context.sampled, expected, "{field}");
        }
    }
}

#[test]
fn what_is_not_sampled_is_not_looked_at_further() {
    // The list is not valid; it passes, for nobody here has anything to say about it.
    let fields = [
        ("traceparent", "00-12345678901234567890123456789012-1234567890123456-00"),
        ("tracestate", "foo.bar=1"),
    ];
    let context = start(&fields);
    assert!(context.forward && context.tracestate.is_empty());
    let mut sent = headers(&fields);
    context.inject(7, &mut sent);
    assert_eq!(sent, headers(&fields));
}
