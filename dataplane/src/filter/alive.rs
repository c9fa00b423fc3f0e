//! What a balancer in front asks: may more be sent here?

use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use crate::error::{Error, Reason};
use crate::reply::Reply;
use crate::scope::Scope;

/// The answer, or why none should come any more; `None`: that is not what the request asks.
pub fn answer(scope: &Scope, request: &Parts) -> Option<Result<Reply, Error>> {
    let path = scope.health_path.as_deref()?;
    let asks = request.uri.path() == path && (request.method == Method::GET || request.method == Method::HEAD);
    asks.then(|| {
        if scope.leaving.has_begun() {
            return Err(Error::new(Reason::Draining));
        }
        let mut head = Response::new(());
        head.headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(Reply { head, content: None })
    })
}
