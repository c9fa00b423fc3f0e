//! CONNECT (RFC 9110 section 9.3.6): whom a tunnel leads to, or why none is opened.
//!
//! A client that was told of a proxy may ask for a tunnel where others would send their request: gRPC does so always.
//! To a service of protocol tcp its bytes go as they are. Else they are served as on a connection of its own, and go to the service that CONNECT named: the authority
//! of a request inside the tunnel is passed on as it is and decides nothing.

use std::rc::Rc;

use http::request::Parts;
use http::uri::Authority;
use http::{Method, Request, Uri};

use crate::error::{Error, Reason};
use crate::scope::{Caller, Scope, Target};
use crate::snapshot::model::Mode;

/// A tunnel that is opened.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whom it leads to, as CONNECT named it.
    pub authority: Authority,
    /// Where its bytes go as they are; `None`: they are HTTP.
    pub tcp: Option<Rc<Target>>,
}

/// The tunnel that `request` opens; `None`: it opens none, and an exchange answers it.
pub fn asked(scope: &Scope, caller: &Caller, request: &Request<()>) -> Option<Asked> {
    if request.method() != Method::CONNECT {
        return None;
    }
    judged(scope, caller, request.uri()).ok()
}

/// Why a CONNECT opens no tunnel.
pub fn refusal(scope: &Scope, caller: &Caller, request: &Parts) -> Error {
    match judged(scope, caller, &request.uri) {
        Err(error) => error,
        // The snapshot has changed since it was asked for a moment ago.
        Ok(_) => Error::new(Reason::NoRoute),
    }
}

fn judged(scope: &Scope, caller: &Caller, uri: &Uri) -> Result<Asked, Error> {
    if scope.mode != Mode::Proxy {
        return Err(Error::new(Reason::MethodNotAllowed).because("CONNECT is for the outbound port of a sidecar."));
    }
    if caller.tunnel.is_some() {
        return Err(Error::new(Reason::MethodNotAllowed).because("There is a tunnel around this request already."));
    }
    let bad = |cause| Error::new(Reason::BadRequest).because(cause);
    let asked = uri.authority().ok_or_else(|| bad("CONNECT names nobody."))?;
    if asked.port_u16().is_none_or(|port| port == 0) {
        return Err(bad("CONNECT names no port."));
    }
    let authority = asked.clone();
    if scope.routes.find_host(asked.as_str()).is_some() {
        return Ok(Asked { authority, tcp: None });
    }
    match scope.tcp.find_host(asked.as_str()) {
        Some(target) => Ok(Asked { authority, tcp: Some(Rc::clone(target)) }),
        None => Err(Error::new(Reason::NoRoute).because(format_args!("No service is called {}.", asked.host()))),
    }
}
