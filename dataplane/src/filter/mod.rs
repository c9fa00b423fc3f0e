//! What happens to a request between its route and its upstream; one file each.

pub mod forwarded;
