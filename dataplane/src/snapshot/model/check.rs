//! What endpoints are asked, whether requests go there or not.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::PathAndQuery;

/// A health check of a cluster's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub question: Question,
    /// From one check to the next. Default 10 s, as Consul's and Kubernetes'.
    pub interval: Duration,
    /// For the answer. Default 2 s.
    pub timeout: Duration,
    /// Checks in a row after which an endpoint is well again. Default 2.
    pub healthy_threshold: u32,
    /// Checks in a row after which it is ill. Default 3, as Kubernetes'.
    pub unhealthy_threshold: u32,
}

/// What one check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// For a connection, and with TLS its handshake.
    Connect,
    /// A GET.
    Http {
        /// Of what.
        path: PathAndQuery,
        /// Of those that are well.
        statuses: Vec<RangeInclusive<u16>>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// Empty: all of the server.
        service: Box<str>,
    },
}
