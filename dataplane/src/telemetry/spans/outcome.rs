//! How an exchange ended, as a span says it.

use std::borrow::Cow;

use super::MAX_VALUE;
use crate::error::{Reason, Side};
use crate::telemetry::bounded::cut;
use crate::telemetry::grpc_status::GrpcStatus;
use crate::telemetry::otlp::{self, KeyValue, Status, Text, copied, int, text};

/// How one span ended.
pub(super) struct Outcome {
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<GrpcStatus>,
    pub(super) reason: Option<Reason>,
    /// The status code or reason that makes the span an error, if it does.
    pub(super) blame: fn(&Outcome) -> Option<Cow<'static, str>>,
}

impl Outcome {
    /// Adds what it says, and returns the span's own status.
    pub(super) fn describe(&self, attributes: &mut Vec<KeyValue>, detail: Option<&str>) -> Option<Status> {
        if let Some(status) = self.status {
            attributes.push(int("http.response.status_code", status));
        }
        if let Some(status) = self.grpc_status {
            attributes.push(text("rpc.response.status_code", status.name()));
        }
        if let Some(reason) = self.reason {
            attributes.push(text("sidecar.reason", reason.name()));
        }
        let error_type = (self.blame)(self)?;
        attributes.push(text("error.type", copied(&error_type)));
        let message = match (self.reason, detail) {
            (Some(reason), Some(detail)) => format!("{} {}", reason.sentence(), cut(detail, MAX_VALUE)).into(),
            (Some(reason), None) => Text::from_static(reason.sentence().as_bytes()),
            (None, _) => Text::new(),
        };
        Some(Status { message, code: otlp::STATUS_ERROR })
    }
}

/// A server span is an error when the server failed, not when the caller erred or left.
pub(super) fn server_blame(outcome: &Outcome) -> Option<Cow<'static, str>> {
    match (outcome.reason, outcome.grpc_status, outcome.status) {
        (Some(reason), ..) if reason.side() == Side::Downstream => None,
        (Some(reason), None, _) if reason.status() >= 500 => Some(reason.name().into()),
        (_, Some(grpc), _) if grpc.is_server_error() => Some(outcome.reason.map_or(grpc.name(), Reason::name).into()),
        (_, Some(_), _) => None,
        (_, None, Some(status)) if status >= 500 => Some(status.to_string().into()),
        _ => None,
    }
}

/// A client span is an error when the call did not succeed.
pub(super) fn client_blame(outcome: &Outcome) -> Option<Cow<'static, str>> {
    match (outcome.reason, outcome.grpc_status, outcome.status) {
        (Some(reason), ..) => Some(reason.name().into()),
        (None, Some(grpc), _) => grpc.is_error().then(|| grpc.name().into()),
        (None, None, Some(status)) if status >= 400 => Some(status.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame_follows_the_conventions() {
        let outcome = |status, grpc: Option<u8>, reason| Outcome {
            status,
            grpc_status: grpc.map(GrpcStatus::new),
            reason,
            blame: server_blame,
        };
        for (outcome, server, client) in [
            (outcome(Some(200), None, None), None, None),
            (outcome(Some(404), None, None), None, Some("404")),
            (outcome(Some(500), None, None), Some("500"), Some("500")),
            (outcome(Some(200), Some(0), None), None, None),
            (outcome(Some(200), Some(5), None), None, Some("NOT_FOUND")),
            (
                outcome(Some(200), Some(14), None),
                Some("UNAVAILABLE"),
                Some("UNAVAILABLE"),
            ),
            (
                outcome(Some(200), Some(14), Some(Reason::Overflow)),
                Some("overflow"),
                Some("overflow"),
            ),
            (
                outcome(Some(503), None, Some(Reason::Overflow)),
                Some("overflow"),
                Some("overflow"),
            ),
            (outcome(Some(404), None, Some(Reason::NoRoute)), None, Some("no-route")),
            (
                outcome(None, Some(1), Some(Reason::DownstreamReset)),
                None,
                Some("downstream-reset"),
            ),
            (
                outcome(Some(400), None, Some(Reason::BadRequest)),
                None,
                Some("bad-request"),
            ),
        ] {
            assert_eq!(server_blame(&outcome).as_deref(), server);
            assert_eq!(client_blame(&outcome).as_deref(), client);
        }
    }
}
