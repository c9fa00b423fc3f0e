//! Each format by the examples of its own documents, and all of them together.

use super::*;
use crate::snapshot::model::Telemetry;
use crate::telemetry::trace::Tracing;

const TRACE: u128 = 0x80f1_98ee_5634_3ba8_64fe_8b2a_57d3_eff7;
const SPAN: u64 = 0xe457_b5a2_e4d8_6bd1;
const B3: &str = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90";
const UBER: &str = "80f198ee56343ba864fe8b2a57d3eff7:e457b5a2e4d86bd1:0:1";

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    fields.iter().map(pair).collect()
}

/// That of a proxy with these formats, which samples all that nobody has decided.
fn context(formats: &[Format], fields: &[(&str, &str)]) -> TraceContext {
    let telemetry = Telemetry {
        tracing: true,
        ratio: 1.0,
        propagation: Propagation::new(formats.iter().copied()),
        ..Telemetry::default()
    };
    Tracing::of(&telemetry).context(&headers(fields)).unwrap()
}

/// What it sends to the next hop, where its own span is 0xabc.
fn passed(formats: &[Format], fields: &[(&str, &str)]) -> HeaderMap {
    let mut sent = headers(fields);
    let context = context(formats, fields);
    context.inject(if context.sampled { 0xabc } else { 0 }, &mut sent);
    sent
}

#[test]
fn b3_is_read_in_one_field() {
    let zeros = "0000000000000000";
    for (field, sampled, debug) in [
        (B3, true, false),
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0", false, false),
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-d", true, true),
        // Nothing is decided yet: we do.
        ("80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1", true, false),
        ("80F198EE56343BA864FE8B2A57D3EFF7-E457B5A2E4D86BD1-1", true, false),
    ] {
        let context = context(&[Format::B3], &[("b3", field)]);
        assert_eq!((context.trace_id, context.parent), (TRACE, Some(SPAN)), "{field}");
        assert_eq!((context.sampled, context.debug), (sampled, debug), "{field}");
    }
    let short = context(&[Format::B3], &[("b3", "64fe8b2a57d3eff7-e457b5a2e4d86bd1-1")]);
    assert_eq!(short.trace_id, TRACE & u128::from(u64::MAX));
    for (alone, sampled, debug) in [("0", false, false), ("1", true, false), ("d", true, true)] {
        let context = context(&[Format::B3], &[("b3", alone)]);
        assert_eq!(
            (context.parent, context.sampled, context.debug),
            (None, sampled, debug),
            "{alone}"
        );
    }
    for wrong in [
        "",
        "x",
        "1-2-1",
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-2",
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3",
        "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90-1",
        &format!("{zeros}-e457b5a2e4d86bd1-1"),
        &format!("80f198ee56343ba864fe8b2a57d3eff7-{zeros}-1"),
    ] {
        assert_eq!(context(&[Format::B3], &[("b3", wrong)]).parent, None, "{wrong}");
    }
}

#[test]
fn b3_is_read_in_several_fields_and_the_single_one_goes_first() {
    let ids = [
        ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("x-b3-spanid", "e457b5a2e4d86bd1"),
        ("x-b3-parentspanid", "05e3ac9a4f6e3b90"),
    ];
    for (field, sampled, debug) in [
        (("x-b3-sampled", "1"), true, false),
        (("x-b3-sampled", "true"), true, false),
        (("x-b3-sampled", "0"), false, false),
        (("x-b3-flags", "1"), true, true),
        (("x-b3-flags", "0"), true, false),
    ] {
        let fields = [&ids[..], &[field]].concat();
        for format in [Format::B3, Format::B3Multi] {
            let context = context(&[format], &fields);
            assert_eq!((context.trace_id, context.parent), (TRACE, Some(SPAN)), "{field:?}");
            assert_eq!((context.sampled, context.debug), (sampled, debug), "{field:?}");
        }
    }
    let both = [
        &ids[..],
        &[("x-b3-sampled", "1"), ("b3", "0000000000000001-0000000000000002-1")],
    ]
    .concat();
    assert_eq!(context(&[Format::B3Multi], &both).trace_id, 1);
    let refused = context(&[Format::B3Multi], &[("x-b3-sampled", "0")]);
    assert_eq!((refused.parent, refused.sampled), (None, false));
}

#[test]
fn b3_names_our_span_in_the_form_in_force_and_in_the_callers() {
    let single = "80f198ee56343ba864fe8b2a57d3eff7-0000000000000abc-1";
    let sent = passed(&[Format::B3], &[("b3", B3)]);
    assert_eq!((sent.len(), &sent["b3"]), (1, &HeaderValue::from_static(single)));

    let several = [
        ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("x-b3-spanid", "e457b5a2e4d86bd1"),
        ("x-b3-parentspanid", "05e3ac9a4f6e3b90"),
        ("x-b3-sampled", "1"),
    ];
    let sent = passed(&[Format::B3], &several);
    assert_eq!(sent["b3"], single);
    assert_eq!(sent["x-b3-spanid"], "0000000000000abc");
    assert!(!sent.contains_key("x-b3-parentspanid"));

    let sent = passed(&[Format::B3Multi], &several[..]);
    assert!(!sent.contains_key("b3"));
    assert_eq!(
        (&sent["x-b3-spanid"], &sent["x-b3-sampled"]),
        (&"0000000000000abc".parse().unwrap(), &"1".parse().unwrap())
    );

    let debug = passed(&[Format::B3Multi], &[&several[..3], &[("x-b3-flags", "1")]].concat());
    assert_eq!(debug["x-b3-flags"], "1", "it implies that the trace is sampled");
    assert!(!debug.contains_key("x-b3-sampled"));
    let debug = passed(
        &[Format::B3],
        &[("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-d")],
    );
    assert_eq!(debug["b3"], "80f198ee56343ba864fe8b2a57d3eff7-0000000000000abc-d");
}

#[test]
fn jaegers_field_is_read_and_written() {
    for (field, sampled, debug) in [
        (UBER, true, false),
        (
            "80f198ee56343ba864fe8b2a57d3eff7:e457b5a2e4d86bd1:5e3ac9a4f6e3b90:0",
            false,
            false,
        ),
        ("80f198ee56343ba864fe8b2a57d3eff7:e457b5a2e4d86bd1:0:3", true, true),
        ("80f198ee56343ba864fe8b2a57d3eff7:e457b5a2e4d86bd1:0:01", true, false),
        (
            "80f198ee56343ba864fe8b2a57d3eff7%3Ae457b5a2e4d86bd1%3a0%3A1",
            true,
            false,
        ),
    ] {
        let context = context(&[Format::Jaeger], &[("uber-trace-id", field)]);
        assert_eq!((context.trace_id, context.parent), (TRACE, Some(SPAN)), "{field}");
        assert_eq!((context.sampled, context.debug), (sampled, debug), "{field}");
    }
    let short = context(&[Format::Jaeger], &[("uber-trace-id", "a:b:0:1")]);
    assert_eq!(
        (short.trace_id, short.parent),
        (10, Some(11)),
        "leading zeros may be missing"
    );
    let long = format!("{UBER}{}", "%3A".repeat(40));
    for wrong in [
        "",
        "a:b:1",
        "0:b:0:1",
        "a:0:0:1",
        "a:b:0:1:1",
        "a:b::1",
        "a:b:0:001",
        "g:b:0:1",
        "a-b-0-1",
        &long,
    ] {
        assert_eq!(
            context(&[Format::Jaeger], &[("uber-trace-id", wrong)]).parent,
            None,
            "{wrong}"
        );
    }
    let sent = passed(&[Format::Jaeger], &[("uber-trace-id", UBER), ("uberctx-user", "7")]);
    assert_eq!(
        sent["uber-trace-id"],
        "80f198ee56343ba864fe8b2a57d3eff7:0000000000000abc:0:1"
    );
    assert_eq!(sent["uberctx-user"], "7");
    let sent = passed(&[Format::Jaeger], &[("uber-trace-id", "a:b:0:3")]);
    assert!(sent["uber-trace-id"].as_bytes().ends_with(b":3"));
}

#[test]
fn every_format_in_force_is_written_and_no_other_is_touched() {
    let all = [Format::TraceContext, Format::B3, Format::B3Multi, Format::Jaeger];
    let sent = passed(&all, &[("baggage", "user=7"), ("tracestate", "a=1")]);
    let trace = sent["x-b3-traceid"].to_str().unwrap().to_owned();
    assert_eq!(sent["traceparent"], format!("00-{trace}-0000000000000abc-03"));
    assert_eq!(sent["b3"], format!("{trace}-0000000000000abc-1"));
    assert_eq!(sent["uber-trace-id"], format!("{trace}:0000000000000abc:0:1"));
    assert_eq!(sent["baggage"], "user=7", "it is what applications tell each other");
    assert!(
        !sent.contains_key("tracestate"),
        "it belongs to a trace that nobody named"
    );

    let sent = passed(
        &[Format::TraceContext],
        &[("b3", B3), ("uber-trace-id", UBER), ("baggage", "user=7")],
    );
    assert_eq!(
        (&sent["b3"], &sent["uber-trace-id"]),
        (&B3.parse().unwrap(), &UBER.parse().unwrap())
    );
    assert_eq!(sent["baggage"], "user=7");

    let none = passed(&[], &[("traceparent", "00-1-2-3"), ("b3", B3)]);
    assert_eq!((none.len(), &none["b3"]), (2, &B3.parse().unwrap()));
    assert_eq!(context(&[], &[("b3", B3)]).parent, None);
}

#[test]
fn of_several_formats_the_last_that_says_something_counts() {
    let w3c = ("traceparent", "00-00000000000000000000000000000001-0000000000000001-01");
    for (formats, trace) in [
        ([Format::TraceContext, Format::B3], TRACE),
        ([Format::B3, Format::TraceContext], 1),
    ] {
        assert_eq!(context(&formats, &[w3c, ("b3", B3)]).trace_id, trace);
        assert_eq!(context(&formats, &[w3c, ("b3", "broken")]).trace_id, 1);
        let sent = passed(&formats, &[w3c, ("b3", B3)]);
        assert_eq!(sent["traceparent"], format!("00-{trace:032x}-0000000000000abc-01"));
        assert_eq!(sent["b3"], format!("{trace:032x}-0000000000000abc-1"));
    }
}

#[test]
fn an_unsampled_trace_passes_in_one_format_and_is_told_in_all_of_several() {
    let unsampled = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0";
    assert_eq!(
        passed(&[Format::B3], &[("b3", unsampled)]),
        headers(&[("b3", unsampled)])
    );
    let sent = passed(&[Format::TraceContext, Format::B3], &[("b3", unsampled)]);
    assert_eq!(
        sent["traceparent"],
        "00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-00"
    );
    assert_eq!(sent["b3"], unsampled);
}

#[test]
fn no_random_bytes_break_a_format() {
    let all = [Format::TraceContext, Format::B3, Format::B3Multi, Format::Jaeger];
    crate::random::fuzz("trace_fields", |bytes| {
        let Ok(value) = HeaderValue::from_bytes(bytes) else {
            return;
        };
        for name in ["b3", "uber-trace-id", "traceparent", "x-b3-sampled"] {
            let mut sent = HeaderMap::new();
            sent.insert(name, value.clone());
            let propagation = Propagation::new(all);
            let read_before = read(propagation, &sent);
            let telemetry = Telemetry { tracing: true, ratio: 1.0, propagation, ..Telemetry::default() };
            let context = Tracing::of(&telemetry).context(&sent).unwrap();
            context.inject(0xabc, &mut sent);
            let (_, told) = read(propagation, &sent).unwrap();
            assert_eq!(
                told.ids.map(|(trace_id, _)| trace_id),
                Some(context.trace_id),
                "what is written is read"
            );
            if let Some((_, Told { ids: Some((trace_id, _)), .. })) = read_before {
                assert_eq!(trace_id, context.trace_id);
            }
        }
    });
}

#[test]
fn what_is_read_from_random_bytes_is_written_back_the_same() {
    crate::random::fuzz("traceparents", |bytes| {
        if let Some(parsed) = w3c::Traceparent::parse(bytes)
            && parsed.version == 0
        {
            assert_eq!(parsed.format().as_bytes(), bytes, "a traceparent has one form");
        }
    });
}
