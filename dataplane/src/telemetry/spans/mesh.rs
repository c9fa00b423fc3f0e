//! How exchanges are linked to what has happened to the proxy itself.

use prost::bytes::Bytes;

use crate::error::Reason;
use crate::snapshot::model::MeshTrace;
use crate::telemetry::finished::{Circuits, Finished, Touched};
use crate::telemetry::otlp::Link;

/// The trace that tells of it.
pub(super) struct Mesh {
    trace_id: Bytes,
    drain: u64,
    rotation: u64,
}

impl Mesh {
    /// `rotation` is the span of the last change of certificates.
    pub(super) fn of(mesh: MeshTrace, rotation: u64) -> Self {
        Mesh {
            trace_id: Bytes::copy_from_slice(&mesh.trace_id.to_be_bytes()),
            drain: mesh.drain,
            rotation,
        }
    }

    /// To all that has touched the exchange.
    pub(super) fn links(&self, exchange: &Finished) -> Vec<Link> {
        let Touched { config, circuits } = exchange.touched.as_deref().copied().unwrap_or_default();
        let Circuits { trip, ejections: [first, second], .. } = circuits;
        let ended = match exchange.reason {
            Some(Reason::Draining) => self.drain,
            Some(Reason::CertificateEnded) => self.rotation,
            _ => 0,
        };
        [config, trip, first, second, ended]
            .into_iter()
            .filter(|span| *span != 0)
            .map(|span| self.link(span))
            .collect()
    }

    /// To one span.
    pub(super) fn link(&self, span: u64) -> Link {
        Link {
            trace_id: self.trace_id.clone(),
            span_id: Bytes::copy_from_slice(&span.to_be_bytes()),
        }
    }
}
