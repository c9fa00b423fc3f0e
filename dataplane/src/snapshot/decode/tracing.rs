//! What is made of spans and log lines, and how traces travel.

use super::Checked;
use super::access_log::access_log;
use crate::proto::{self, Propagator};
use crate::snapshot::model::{Format, MeshTrace, Propagation, Telemetry};

pub(super) fn telemetry(message: Option<proto::Telemetry>) -> Checked<Telemetry> {
    let message = message.unwrap_or_default();
    let tracing = message.tracing.unwrap_or_default();
    if !(0.0..=1.0).contains(&tracing.ratio) {
        return Err(format!("tracing.ratio is {}; expected 0 to 1", tracing.ratio));
    }
    let mut resource: Vec<_> = tracing.resource.into_iter().collect();
    resource.sort_unstable();
    Ok(Telemetry {
        tracing: tracing.enabled,
        ratio: tracing.ratio,
        ignores_parent: tracing.ignores_parent,
        propagation: propagation(&tracing.propagators)?,
        mesh: tracing.mesh.map(mesh).transpose()?,
        resource,
        access_log: access_log(message.access_log.unwrap_or_default())?,
    })
}

fn propagation(propagators: &[i32]) -> Checked<Propagation> {
    if propagators.is_empty() {
        return Ok(Propagation::default());
    }
    let formats = propagators.iter().map(|number| match Propagator::try_from(*number) {
        Ok(Propagator::Tracecontext) => Ok(Some(Format::TraceContext)),
        Ok(Propagator::B3) => Ok(Some(Format::B3)),
        Ok(Propagator::B3multi) => Ok(Some(Format::B3Multi)),
        Ok(Propagator::Jaeger) => Ok(Some(Format::Jaeger)),
        Ok(Propagator::None) => Ok(None),
        Ok(Propagator::Unspecified) | Err(_) => Err(super::unspecified("tracing.propagators", *number)),
    });
    let formats = formats.collect::<Checked<Vec<_>>>()?;
    Ok(Propagation::new(formats.into_iter().flatten()))
}

fn mesh(message: proto::MeshTrace) -> Checked<MeshTrace> {
    let trace_id: [u8; 16] = message
        .trace_id
        .try_into()
        .map_err(|id: Vec<u8>| format!("tracing.mesh.trace_id has {} bytes; expected 16", id.len()))?;
    Ok(MeshTrace {
        trace_id: u128::from_be_bytes(trace_id),
        config: message.config_span_id,
        drain: message.drain_span_id,
    })
}
