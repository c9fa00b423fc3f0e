//! HTTP/1.1: our own codec, strict towards clients.
//!
//! A request comes out of [`server`] in the form in which an HTTP/2 request comes: its URI holds scheme, authority and
//! path (the authority as the client wrote it, from an absolute-form target or from `Host`), the `Host` field is gone
//! from the map, and so is everything that belongs to one connection only. [`client`] takes that form and writes an
//! origin-form target and a `Host` field. Exceptions: the target of CONNECT is an authority alone, and a request of
//! HTTP/1.0 without `Host` has a path alone.
//!
//! All handles of one connection belong to one task: the connection's waker is that of whoever polled last.

mod chunked;
pub mod client;
mod content;
mod handle;
mod head;
mod reply;
mod request;
mod response;
pub mod server;
mod socket;
mod wire;

#[cfg(test)]
pub(super) mod tests;

use http::{HeaderName, header};

/// Fields that concern one connection and are never forwarded (RFC 9110 section 7.6.1). `TE` is among them; that the
/// client takes trailers is remembered apart.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    match *name {
        header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::TE => true,
        _ => matches!(name.as_str(), "keep-alive" | "proxy-connection"),
    }
}

/// Fields that a trailer section must not carry because they frame, route or authenticate the message, or change how
/// its content is read (RFC 9110 section 6.5.1).
fn is_forbidden_in_trailers(name: &HeaderName) -> bool {
    match *name {
        header::CONTENT_LENGTH
        | header::HOST
        | header::TRAILER
        | header::EXPECT
        | header::AUTHORIZATION
        | header::PROXY_AUTHORIZATION
        | header::COOKIE
        | header::SET_COOKIE
        | header::CACHE_CONTROL
        | header::CONTENT_ENCODING
        | header::CONTENT_RANGE
        | header::CONTENT_TYPE
        | header::MAX_FORWARDS
        | header::RANGE => true,
        _ => is_hop_by_hop(name),
    }
}
