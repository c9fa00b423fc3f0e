//! What a service takes from its callers.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

/// Beyond it requests are refused at once. All workers count together.
#[derive(Debug)]
pub struct Admission {
    /// Requests in flight; `u32::MAX`: any number.
    pub concurrency: u32,
    /// None: as many as come.
    pub rate: Option<Arc<RateLimit>>,
}

/// Of one route.
pub const MAX_QUOTAS: usize = 3;

/// A rate for the requests of a route, or of several together.
#[derive(Debug)]
pub struct Quota {
    /// With the limit's name: those of one scope count together.
    pub scope: Box<str>,
    /// How many.
    pub limit: Arc<RateLimit>,
    /// It has to be known who calls.
    pub needs_caller: bool,
}

/// A counter for each key.
#[derive(Debug)]
pub struct RateLimit {
    /// In answers: "default", "route".
    pub name: Box<str>,
    /// So many requests in each `period`.
    pub requests: u32,
    /// At least a millisecond.
    pub period: Duration,
    /// The same, as it is counted.
    pub rate: Rate,
    /// What of a request makes its key; none: all share one counter.
    pub by: Vec<RateKey>,
    /// `RateLimit-Policy`.
    pub policy: HeaderValue,
}

/// A rate, by the algorithm that counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// A token bucket.
    Bucket(BucketRate),
    /// A sliding window.
    Window(WindowRate),
}

/// How long a window is, and how many requests it lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRate {
    /// Nanoseconds; at least 1.
    pub period: u64,
    /// At least 1.
    pub requests: u32,
}

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketRate {
    /// Nanoseconds between two tokens; at least 1.
    pub interval: u64,
    /// The most tokens that it holds; at least 1.
    pub burst: u32,
}

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    /// The verified identity of the caller, or its address.
    Source,
    /// Of a call which one it is, of other requests their method.
    Method,
    /// The value of a field.
    Header(HeaderName),
    /// The consumer that proves to be one, or the address.
    Consumer,
    /// What the token says.
    Claim(Box<str>),
    /// The first group of the consumer; of who has none as `Consumer`.
    Group,
}
