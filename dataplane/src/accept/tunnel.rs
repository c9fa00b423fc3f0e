//! Tunnels that CONNECT has opened: what comes out of one is served as a connection of the listener.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use http::uri::Authority;
use http::{Response, StatusCode};

use super::{Listening, serve};
use crate::error::{Error, Reason};
use crate::http::body::{Body, ResetCode, Responder};
use crate::http::h1::server::Connection;
use crate::http::sniff::{self, TLS_HANDSHAKE};
use crate::http::tunnel::Tunnel;
use crate::net::{Inner, Io};
use crate::scope::Caller;

/// The whole of an HTTP/1.1 connection becomes the tunnel to `asked`.
pub(super) async fn over_h1(listening: Rc<Listening>, caller: Rc<Caller>, connection: Connection, asked: Authority) {
    if let Some(io) = connection.into_tunnel().await {
        inside(listening, caller, io, asked).await;
    }
}

/// One HTTP/2 stream becomes the tunnel to `asked`, and counts as a connection.
pub(super) async fn over_h2(
    listening: Rc<Listening>,
    caller: Rc<Caller>,
    (body, mut responder): (Body, Responder),
    asked: Authority,
) {
    let Some(_open) = listening.admit(&caller) else {
        return responder.reset(ResetCode::REFUSED_STREAM);
    };
    let _connection = listening.connections.guard();
    let mut agreed = Response::new(());
    *agreed.status_mut() = StatusCode::OK;
    // A client that has gone meanwhile needs no tunnel.
    if let Ok(sink) = responder.respond(agreed, false) {
        let tunnel: Box<dyn Inner> = Box::new(Tunnel::new(body, sink));
        inside(listening, caller, Io::from(tunnel), asked).await;
    }
}

/// Boxed, for a connection inside a connection has a future inside itself.
fn inside(
    listening: Rc<Listening>,
    caller: Rc<Caller>,
    mut io: Io,
    asked: Authority,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let limits = listening.limits.get();
        let Some(protocol) = sniff::sniff(&mut io, limits.idle_timeout).await else {
            return;
        };
        let caller = Rc::new(Caller { tunnel: Some(asked), ..Caller::clone(&caller) });
        if io.ahead().first() == Some(&TLS_HANDSHAKE) {
            let error = Error::new(Reason::BadRequest)
                .because("TLS inside the tunnel: the mesh encrypts by itself, so call the service with http.");
            return listening.refused(&caller, &error, None);
        }
        serve(&listening, caller, io, protocol, limits).await;
    })
}
