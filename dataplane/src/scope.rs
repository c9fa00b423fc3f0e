//! What an exchange is told: by the listener it came in on, and about the caller at the other end of its connection.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::request::Parts;
use http::uri::Authority;

use crate::admission::{Consumers, Gate, Meter};
use crate::authenticate::Callers;
use crate::drain::Drain;
use crate::error::{Error, Reason};
use crate::http::grpc;
use crate::route::matcher::Asked;
use crate::route::table::RouteTable;
use crate::snapshot::address_lists::AddressLists;
use crate::snapshot::model::{Direction, Forwarding, Front, Mode, Network, Origin, Route, Sources};
use crate::standing::{Leave, Standing};
use crate::telemetry::metrics::{ListenerLabel, RouteMetrics};
use crate::telemetry::observer::Observer;
use crate::tls::term::Term;
use crate::upstream::Upstream;

/// What the exchanges of one listener share under one snapshot.
#[derive(Debug)]
pub struct Scope {
    /// Which listener.
    pub listener: Arc<ListenerLabel>,
    /// Where it was written, and what it takes from whom.
    pub origin: Arc<Origin>,
    /// What it takes.
    pub mode: Mode,
    /// Clients that do not begin with TLS, too.
    pub takes_cleartext: bool,
    /// Its routes.
    pub routes: RouteTable<Target>,
    /// Where connections go whose bytes are passed on as they are: that of a listener of bytes has no host.
    pub tcp: RouteTable<Target>,
    /// Where records go.
    pub observer: Rc<Observer>,
    /// Whose words about the way of a request are believed.
    pub forwarding: Arc<Forwarding>,
    /// How long a request's content may stand still.
    pub body_timeout: Duration,
    /// How long callers may take none of their responses.
    pub send_timeout: Duration,
    /// Counts exchanges in flight.
    pub drain: Rc<Drain>,
    /// The rules for its callers; `None` where they have no names.
    pub standing: Option<Rc<Standing>>,
    /// Who is known.
    pub callers: Rc<Callers>,
    /// What is counted of those that have a limit.
    pub consumers: Arc<Consumers>,
    /// Lets requests in; `None`: whatever comes.
    pub gate: Option<Arc<Gate>>,
    /// Who says before each connection whose it is; `None`: nobody.
    pub balancers: Option<Arc<[Network]>>,
    /// Where balancers ask how we are; `None`: nowhere.
    pub health_path: Option<Arc<str>>,
    /// Begins when clients are to go elsewhere.
    pub leaving: Rc<Drain>,
    /// From where they may come; `None`: from anywhere.
    pub sources: Option<Arc<Sources>>,
    /// What is answered there whatever the route.
    pub front: Option<Arc<Front>>,
    /// The lists of addresses that these and its routes name.
    pub lists: Rc<RefCell<Arc<AddressLists>>>,
    /// Leads to the scope that has taken its place.
    pub latest: Latest,
}

/// The scope of a listener that is in force; weak, so that an exchange keeps none alive but its own.
#[derive(Clone, Debug, Default)]
pub struct Latest(Rc<RefCell<Weak<Scope>>>);

impl Latest {
    /// From now on.
    pub fn set(&self, scope: &Rc<Scope>) {
        *self.0.borrow_mut() = Rc::downgrade(scope);
    }
}

impl Scope {
    /// Goes on to what has taken its place; false: nothing has, or the listener is gone.
    pub fn follow(scope: &mut Rc<Scope>) -> bool {
        let latest = scope.latest.0.borrow().upgrade();
        match latest.filter(|latest| !Rc::ptr_eq(latest, scope)) {
            Some(latest) => {
                *scope = latest;
                true
            }
            None => false,
        }
    }

    /// Is the caller a verified peer of the mesh, or the application beside us? A client's certificate at the edge makes it
    /// known and no part of the mesh.
    pub fn trusts(&self, caller: &Caller) -> bool {
        match self.listener.direction {
            Direction::Inbound => caller.peer.is_some(),
            Direction::Outbound => true,
            Direction::Edge => false,
        }
    }

    /// Leave to go on for a request of the caller, or for its connection (`None`). Fails when the rules refuse it.
    pub fn leave(&self, caller: &Caller, request: Option<&Parts>) -> Result<Option<Leave>, Error> {
        let Some(standing) = &self.standing else {
            return Ok(None);
        };
        let leave = Leave::ask(standing, caller.peer.as_ref(), request)?;
        if let Some(caller) = standing.would_refuse(caller.peer.as_deref(), request) {
            self.observer.would_refuse(&caller, method(request));
        }
        Ok(Some(leave))
    }

    /// The route of a request for `host`. Fails where there is none, and where an application may take the path for one
    /// that has another route.
    pub fn find(&self, host: &str, asked: &Asked<'_>) -> Result<&Target, Error> {
        match self.routes.find_clear(host, asked) {
            Ok(found) => found.map(|target| &**target).ok_or_else(|| self.no_route(host)),
            Err(unclear) => Err(Error::new(Reason::BadRequest).because(unclear)),
        }
    }

    /// Why a request for `host` finds no route.
    fn no_route(&self, host: &str) -> Error {
        let error = Error::new(Reason::NoRoute);
        match self.mode == Mode::Proxy && self.tcp.find_host(host).is_some() {
            true => error.because(
                "The service is of protocol tcp: reach it on a port of its own (`upstreams`) or through CONNECT.",
            ),
            false => error,
        }
    }
}

/// What a request asks for, as rules name it: the method of a gRPC call, that of HTTP, or a connection.
fn method(request: Option<&Parts>) -> &str {
    match request {
        None => "tcp",
        Some(request) if grpc::is_grpc(&request.headers) => request.uri.path(),
        Some(request) => request.method.as_str(),
    }
}

/// A route with what a worker keeps for it.
#[derive(Debug)]
pub struct Target {
    /// What the snapshot says.
    pub route: Arc<Route>,
    /// Beside `route.destinations`.
    pub upstreams: Vec<Rc<Upstream>>,
    /// That of `route.mirror`.
    pub mirror: Option<Rc<Upstream>>,
    /// Beside `route.quotas`.
    pub meters: Vec<Meter>,
    /// Its cells.
    pub metrics: Arc<RouteMetrics>,
}

/// Who is at the other end of a downstream connection.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The verified SPIFFE id, at the edge another name perhaps; `None` without a client certificate.
    pub peer: Option<Arc<str>>,
    /// How long its connection may live; `None` without a client certificate.
    pub term: Option<Term>,
    /// The TCP peer, or whom a balancer has named in its place.
    pub address: SocketAddr,
    /// Its connection.
    pub hop: Hop,
    /// Whom CONNECT named, inside the tunnel that it opened.
    pub tunnel: Option<Authority>,
}

/// The connection that requests come by, with the values of the fields that tell of it: each request gets the same.
#[derive(Clone, Debug)]
pub struct Hop {
    /// The TCP peer, or whom a balancer has named in its place.
    pub peer: IpAddr,
    /// The peer's address.
    pub from: HeaderValue,
    /// The port that it connected to.
    pub port: HeaderValue,
    /// Does TLS protect the connection?
    pub is_tls: bool,
    /// What the application is told of the peer, where that is verified and of the mesh.
    pub client_cert: Option<HeaderValue>,
}

impl Hop {
    /// From `peer` to a port of ours.
    pub fn new(peer: IpAddr, local_port: u16, is_tls: bool) -> Self {
        // An address is always a legal value.
        let from = HeaderValue::try_from(peer.to_canonical().to_string());
        let from = from.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Hop { peer, from, port: HeaderValue::from(local_port), is_tls, client_cert: None }
    }
}
