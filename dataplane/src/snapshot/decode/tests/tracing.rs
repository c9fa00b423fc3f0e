//! What is made of spans, and how traces travel.

use super::*;
use crate::proto::{MeshTrace, Propagator, Tracing};
use crate::snapshot::model::{Format, Propagation, Telemetry};

#[test]
fn a_bad_ratio_is_refused() {
    for ratio in [-0.1, 1.1, f64::NAN] {
        let text = refusal(|message| {
            let tracing = Some(proto::Tracing { ratio, ..Default::default() });
            message.telemetry = Some(proto::Telemetry { tracing, access_log: None });
        });
        assert_eq!(text, format!("telemetry: tracing.ratio is {ratio}; expected 0 to 1"));
    }
}

fn traced(tracing: Tracing) -> Telemetry {
    let mut message = smallest();
    message.telemetry = Some(proto::Telemetry { tracing: Some(tracing), access_log: None });
    accepted(&message).telemetry
}

#[test]
fn the_fields_that_carry_a_trace_are_those_named_in_their_order() {
    let propagation = |names: &[Propagator]| {
        let propagators = names.iter().map(|name| i32::from(*name)).collect();
        traced(Tracing { propagators, ..Default::default() }).propagation
    };
    assert_eq!(propagation(&[]), Propagation::new([Format::TraceContext]));
    let names = [
        Propagator::B3multi,
        Propagator::B3,
        Propagator::B3multi,
        Propagator::Jaeger,
        Propagator::Tracecontext,
    ];
    let formats = [Format::B3Multi, Format::B3, Format::Jaeger, Format::TraceContext];
    assert_eq!(propagation(&names), Propagation::new(formats));
    assert_eq!(propagation(&[Propagator::None]).formats().count(), 0);
    assert!(propagation(&[Propagator::B3]).is_only(Format::B3));
    assert!(!propagation(&[Propagator::B3, Propagator::Jaeger]).is_only(Format::B3));

    let text = refusal(|message| {
        let tracing = Some(Tracing { propagators: vec![77], ..Default::default() });
        message.telemetry = Some(proto::Telemetry { tracing, access_log: None });
    });
    assert!(
        text.starts_with("telemetry: tracing.propagators has the unknown value 77"),
        "{text}"
    );
}

#[test]
fn the_trace_of_the_mesh_has_an_id_of_sixteen_bytes() {
    let mesh = |trace_id| Some(MeshTrace { trace_id, config_span_id: 5, drain_span_id: 6 });
    let told = traced(Tracing { mesh: mesh(vec![1; 16]), ..Default::default() })
        .mesh
        .unwrap();
    assert_eq!(
        (told.trace_id, told.config, told.drain),
        (u128::from_be_bytes([1; 16]), 5, 6)
    );
    let text = refusal(|message| {
        let tracing = Some(Tracing { mesh: mesh(vec![1; 3]), ..Default::default() });
        message.telemetry = Some(proto::Telemetry { tracing, access_log: None });
    });
    assert_eq!(text, "telemetry: tracing.mesh.trace_id has 3 bytes; expected 16");
}
