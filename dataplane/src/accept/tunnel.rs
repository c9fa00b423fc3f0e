//! Tunnels that CONNECT has opened: what comes out of one is a connection of the listener.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use http::request::Parts;
use http::{Response, StatusCode};

use super::{Listening, serve};
use crate::connect::Asked;
use crate::error::{Error, Reason};
use crate::http::body::{Body, ResetCode, Responder};
use crate::http::h1::server::Connection;
use crate::http::sniff::{self, TLS_HANDSHAKE};
use crate::http::tunnel::Tunnel;
use crate::l4::tcp;
use crate::net::{Inner, Io};
use crate::reply::{self, Audience};
use crate::scope::{Caller, Scope};

/// The way that a tunnel takes: the whole of an HTTP/1.1 connection, or one stream of an HTTP/2 connection.
pub(super) enum Way {
    H1(Connection, Responder),
    H2(Body, Responder),
}

impl Way {
    /// Agrees. `None` when the client is gone.
    async fn open(self) -> Option<Io> {
        match self {
            Way::H1(connection, responder) => {
                let io = connection.into_tunnel().await;
                // Only now: dropped before the word is given it would break the connection off.
                drop(responder);
                io
            }
            Way::H2(body, mut responder) => {
                let mut agreed = Response::new(());
                *agreed.status_mut() = StatusCode::OK;
                let sink = responder.respond(agreed, false).ok()?;
                let tunnel: Box<dyn Inner> = Box::new(Tunnel::new(body, sink));
                Some(Io::from(tunnel))
            }
        }
    }

    /// Explains why not.
    async fn refuse(self, request: &Parts, refused: &tcp::Refused) {
        let audience = Audience { trusted: true, request_id: &refused.request_id };
        let reply = reply::explain(&refused.error, request, audience);
        match self {
            Way::H1(mut connection, mut responder) => {
                reply::send(reply, &mut responder).await;
                connection.finish().await;
            }
            Way::H2(_, mut responder) => reply::send(reply, &mut responder).await,
        }
    }
}

/// Carries one tunnel out. Boxed, for a connection inside a connection has a future inside itself.
pub(super) fn serve_tunnel(
    listening: Rc<Listening>,
    (scope, caller): (Rc<Scope>, Rc<Caller>),
    request: Parts,
    way: Way,
    asked: Asked,
) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let caller = Rc::new(Caller { tunnel: Some(asked.authority), ..Caller::clone(&caller) });
        let Some(target) = asked.tcp else {
            if let Some(io) = way.open().await {
                serve_http(listening, caller, io).await;
            }
            return;
        };
        match tcp::open(&scope, &caller, &target).await {
            Ok(relay) => {
                if let Some(io) = way.open().await {
                    relay.run(io).await;
                }
            }
            Err(refused) => way.refuse(&request, &refused).await,
        }
    })
}

/// One stream of HTTP/2 that becomes a tunnel counts as a connection.
pub(super) async fn serve_stream(
    listening: Rc<Listening>,
    (scope, caller): (Rc<Scope>, Rc<Caller>),
    request: Parts,
    (body, mut responder): (Body, Responder),
    asked: Asked,
) {
    let Some(_open) = listening.admit(&caller, false) else {
        return responder.reset(ResetCode::REFUSED_STREAM);
    };
    let _connection = listening.connections.guard();
    serve_tunnel(listening, (scope, caller), request, Way::H2(body, responder), asked).await;
}

async fn serve_http(listening: Rc<Listening>, caller: Rc<Caller>, mut io: Io) {
    let limits = listening.limits.get();
    let Some(protocol) = sniff::sniff(&mut io, limits.idle_timeout).await else {
        return;
    };
    if io.ahead().first() == Some(&TLS_HANDSHAKE) {
        let error = Error::new(Reason::BadRequest)
            .because("TLS inside the tunnel: the mesh encrypts by itself, so call the service with http.");
        return listening.refused(&caller, &error, None);
    }
    serve(&listening, caller, io, protocol, limits).await;
}
