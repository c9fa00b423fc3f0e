//! What happens to a request between its route and its upstream; one file each.

use http::HeaderMap;
use http::request::Parts;

use crate::reply::Reply;
use crate::snapshot::model::{Direct, Route};

pub mod alive;
pub mod compress;
mod cors;
mod direct;
pub mod entry;
pub mod fault;
pub mod forwarded;
pub mod front;

/// The answer to a request that goes no further.
pub fn reply(route: &Route, request: &Parts) -> Option<Reply> {
    match route.direct.as_ref()? {
        Direct::Preflight => route
            .cors
            .as_ref()
            .map(|policy| cors::preflight(policy, &request.headers)),
        Direct::Redirect(to) => {
            let mut reply = direct::redirect(to, &route.matcher, request);
            answered(Some(route), request, reply.head.headers_mut());
            Some(reply)
        }
        Direct::Respond(with) => {
            let mut reply = direct::respond(with, request);
            answered(Some(route), request, reply.head.headers_mut());
            Some(reply)
        }
    }
}

/// Brings what an answer says up to its route, if one was found.
pub fn answered(route: Option<&Route>, request: &Parts, answer: &mut HeaderMap) {
    if let Some(policy) = route.and_then(|route| route.cors.as_ref()) {
        cors::allow(policy, &request.headers, answer);
    }
}
