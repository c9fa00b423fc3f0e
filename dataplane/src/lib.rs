//! The request path of the sidecar: everything that happens per request, and nothing else.
//!
//! A request goes through the modules in the order they stand here; `exchange.rs` is the story, read it first.
//! A module may use only what stands below it (checked by `tests/layers.rs`).

pub mod runtime;

mod accept;
mod admission;
mod authenticate;
mod authorize;
mod balance;
mod breaker;
mod budget;
mod cluster;
mod connect;
mod credentials;
mod deadline;
mod events;
mod exchange;
mod explain;
mod filter;
mod forward;
mod hashing;
mod health;
mod http;
mod l4;
mod outlier;
mod pool;
mod proxy_protocol;
mod rate;
mod reply;
mod retry;
mod route;
mod scope;
mod snapshot;
mod standing;
mod telemetry;
mod tls;
mod upstream;
mod verdict;
mod worker;

mod clock;
mod drain;
mod error;
mod net;
mod pressure;
mod proto;
mod random;

#[cfg(feature = "python")]
mod python;

/// For Rust's allocations only; Python keeps its own. Small, often freed blocks are what a proxy allocates.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// A part of the library's tests: as a test of its own it would have the library compiled once more.
#[cfg(test)]
#[path = "../tests/layers.rs"]
mod layers;
