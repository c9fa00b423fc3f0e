//! The status of a gRPC call.

use http::StatusCode;
use http::header::HeaderValue;

/// How a gRPC call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStatus(u8);

/// By number (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
const GRPC_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl GrpcStatus {
    const UNKNOWN: GrpcStatus = GrpcStatus(2);

    /// From its number; one that gRPC does not define is UNKNOWN.
    pub fn new(number: u8) -> Self {
        if usize::from(number) < GRPC_NAMES.len() {
            GrpcStatus(number)
        } else {
            Self::UNKNOWN
        }
    }

    /// From a `grpc-status` field; one that is no number is UNKNOWN.
    pub fn parse(field: &HeaderValue) -> Self {
        let number = field.to_str().ok().and_then(|text| text.parse().ok());
        number.map_or(Self::UNKNOWN, Self::new)
    }

    /// What a client makes of a response without `grpc-status`
    /// (<https://grpc.github.io/grpc/core/md_doc_http-grpc-status-mapping.html>).
    pub fn from_http(status: StatusCode) -> Self {
        GrpcStatus(match status.as_u16() {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        })
    }

    /// 0 to 16.
    pub fn number(self) -> u8 {
        self.0
    }

    /// "OK", "UNAVAILABLE", …
    pub fn name(self) -> &'static str {
        GRPC_NAMES[usize::from(self.0)]
    }

    /// The call did not end with OK.
    pub fn is_error(self) -> bool {
        self.0 != 0
    }

    /// The server is to blame, by OpenTelemetry's conventions for gRPC server spans.
    pub fn is_server_error(self) -> bool {
        matches!(self.0, 2 | 4 | 12 | 13 | 14 | 15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_status_has_a_name_whatever_was_sent() {
        let parse = |text| GrpcStatus::parse(&HeaderValue::from_static(text)).name();
        assert_eq!(parse("0"), "OK");
        assert_eq!(parse("16"), "UNAUTHENTICATED");
        assert_eq!(parse("17"), "UNKNOWN");
        assert_eq!(parse("4000"), "UNKNOWN");
        assert_eq!(parse("x"), "UNKNOWN");
        assert_eq!(
            GrpcStatus::from_http(StatusCode::SERVICE_UNAVAILABLE).name(),
            "UNAVAILABLE"
        );
        assert_eq!(GrpcStatus::from_http(StatusCode::OK).name(), "UNKNOWN");
    }
}
