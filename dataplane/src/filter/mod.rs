//! What happens to a request between its route and its upstream; one file each.

use http::HeaderMap;
use http::request::Parts;

use crate::reply::Reply;
use crate::snapshot::model::Route;

mod cors;
pub mod entry;
pub mod fault;
pub mod forwarded;

/// The answer to a request that goes no further.
pub fn reply(route: &Route, request: &Parts) -> Option<Reply> {
    match &route.cors {
        Some(policy) if route.is_preflight => Some(cors::preflight(policy, &request.headers)),
        _ => None,
    }
}

/// Brings what an answer says up to its route, if one was found.
pub fn answered(route: Option<&Route>, request: &Parts, answer: &mut HeaderMap) {
    if let Some(policy) = route.and_then(|route| route.cors.as_ref()) {
        cors::allow(policy, &request.headers, answer);
    }
}
