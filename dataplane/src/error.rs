//! Errors as values: a reason (which implies the side that caused it), whether another try may help, and the cause.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

/// Names the reason of an answer of our own to callers of the mesh; nobody outside is told.
pub const X_SIDECAR_REASON: HeaderName = HeaderName::from_static("x-sidecar-reason");

/// Who caused an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The caller.
    Downstream,
    /// This proxy or its configuration.
    Proxy,
    /// The service called.
    Upstream,
}

/// Which kind of setting an end hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// What a listener takes, and from whom.
    Listener,
    /// What is done to the requests of a route.
    Route,
    /// How a service is reached.
    Cluster,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $side:ident, $setting:ident, $status:literal, $grpc:literal, $sentence:literal, $next:literal;)+) => {
        /// Why the proxy answered by itself, or why an exchange ended before its end. Closed: metrics, logs, spans,
        /// replies and retries read this and never a string.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $variant,)+ }

        impl Reason {
            /// Every reason, in the order of the enum.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// That of this name.
            pub fn named(name: &[u8]) -> Option<Reason> {
                Self::ALL.iter().copied().find(|reason| reason.name().as_bytes() == name)
            }

            /// Its name in logs, metrics and the `x-sidecar-reason` header.
            pub fn name(self) -> &'static str { match self { $(Reason::$variant => $name,)+ } }
            /// What to look for in the configuration.
            pub fn setting(self) -> Setting { match self { $(Reason::$variant => Setting::$setting,)+ } }
            /// Who caused it.
            pub fn side(self) -> Side { match self { $(Reason::$variant => Side::$side,)+ } }
            /// The HTTP status of a reply for it.
            pub fn status(self) -> u16 { match self { $(Reason::$variant => $status,)+ } }
            /// The gRPC status of a reply for it.
            pub fn grpc_status(self) -> u8 { match self { $(Reason::$variant => $grpc,)+ } }
            /// What happened, for a person.
            pub fn sentence(self) -> &'static str { match self { $(Reason::$variant => $sentence,)+ } }
            /// What to look at next.
            pub fn next_step(self) -> &'static str { match self { $(Reason::$variant => $next,)+ } }
        }
    };
}

// gRPC codes: 3 INVALID_ARGUMENT, 4 DEADLINE_EXCEEDED, 7 PERMISSION_DENIED, 8 RESOURCE_EXHAUSTED, 12 UNIMPLEMENTED,
// 13 INTERNAL, 14 UNAVAILABLE, 16 UNAUTHENTICATED, 1 CANCELLED (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
reasons! {
    /// The message is not HTTP as the RFCs define it.
    BadRequest = "bad-request", Downstream, Listener, 400, 13, "The request is not valid HTTP.", "Look at the detail; the client sent it.";
    /// Head larger than the listener's limits.
    HeadTooLarge = "head-too-large", Downstream, Listener, 431, 8, "The request's header fields are larger than allowed.", "Send fewer or shorter fields, or raise the listener's limit.";
    /// Content larger than the route's limit.
    BodyTooLarge = "body-too-large", Downstream, Route, 413, 8, "The request's content is larger than allowed.", "Send less, or raise max_request_body of the route.";
    /// The head or body did not arrive in time.
    RequestTimeout = "request-timeout", Downstream, Listener, 408, 4, "The request did not arrive in time.", "Look at the client and the network before this proxy.";
    /// The caller cancelled, reset or disconnected.
    DownstreamReset = "downstream-reset", Downstream, Listener, 499, 1, "The caller cancelled the request or disconnected.", "Look at the caller's timeout.";
    /// No header of a balancer where there must be one, or from somebody who may send none.
    ProxyProtocol = "proxy-protocol", Downstream, Listener, 400, 13, "The connection has no PROXY protocol header that is taken here.", "Look at the detail: balancers send it (version 1 or 2) from an address of `proxy_protocol.trusted` of the listener.";
    /// The client's certificate does not prove an identity that is trusted here.
    ClientUntrusted = "client-untrusted", Downstream, Listener, 403, 7, "The client proved no identity that is trusted here.", "Compare authority, trust domain and clock of the client with ours: the detail names what was expected and what was seen.";
    /// More frames of a kind than one connection may send.
    ClientFlood = "client-flood", Downstream, Listener, 429, 8, "The client sent more on its connection than any has use for.", "Look at the client; the detail names the kind of frames.";
    /// The caller takes its response too slowly.
    ReaderStalled = "reader-stalled", Downstream, Listener, 408, 4, "The caller does not take its response.", "Look at the caller, or raise limits.send_timeout of the listener.";
    /// CONNECT where no tunnels are opened.
    MethodNotAllowed = "method-not-allowed", Downstream, Listener, 405, 12, "This port opens no tunnels.", "Send the request itself, or use the outbound port of a sidecar.";
    /// A legal feature of HTTP that this proxy does not carry.
    NotImplemented = "not-implemented", Downstream, Listener, 501, 12, "The request uses a feature that this proxy does not carry.", "Look at the detail for the feature.";
    /// The route asks who calls, and the request does not say.
    NoCredentials = "no-credentials", Downstream, Route, 401, 16, "The request shows no credentials.", "Send credentials as `authenticate` of the gateway's document asks for them; WWW-Authenticate names the kinds.";
    /// There is no consumer with this key.
    UnknownKey = "unknown-key", Downstream, Route, 401, 16, "The key is not known.", "Compare it with `keys` of the consumer's document: a key that was rotated, or a consumer that is not enabled, is not known.";
    /// Not the password of this name.
    WrongPassword = "wrong-password", Downstream, Route, 401, 16, "The name or the password is wrong.", "Compare them with `passwords` of the consumer's document.";
    /// A token that is not believed.
    TokenInvalid = "token-invalid", Downstream, Route, 401, 16, "The token is not valid.", "Look at the detail, and compare the token with `jwt` of the gateway's document.";
    /// A token whose time is over or has not come.
    TokenExpired = "token-expired", Downstream, Route, 401, 16, "The token is not valid at this time.", "Get a new one; where it is new, compare the clocks, or raise `leeway`.";
    /// Credentials of two consumers.
    CredentialsDiffer = "credentials-differ", Downstream, Route, 401, 16, "The credentials are of different consumers.", "Send those of one consumer.";
    /// Credentials that stand in a request twice.
    AmbiguousCredentials = "ambiguous-credentials", Downstream, Route, 401, 16, "The request shows credentials of one kind twice.", "Send them once.";
    /// There is nothing to verify tokens with.
    KeysUnavailable = "keys-unavailable", Proxy, Route, 503, 14, "The keys of the token's issuer are not known.", "Look at the detail: `jwks` of the gateway's document must be reachable and hold keys.";
    /// As many passwords wait for their check as may.
    PasswordsBusy = "passwords-busy", Proxy, Route, 503, 14, "Too many passwords are being checked.", "Come back in a moment: a password that was good is not checked again for a while.";
    /// A rule about callers does not allow it.
    NotAllowed = "not-allowed", Downstream, Listener, 403, 7, "The caller may not do this.", "Look at the rule that the detail names: an intention in Consul, or `allow` in the document of the service or gateway.";
    /// Clients of this address may not come in.
    AddressRefused = "address-refused", Downstream, Listener, 403, 7, "Clients of this address may not come in.", "Look at `sources` of the gateway and of its route. Behind a proxy of yours, name it in `forwarding` of the listener.";
    /// The route takes other methods.
    MethodRefused = "method-refused", Downstream, Route, 405, 12, "The route does not take this method.", "Use one that Allow names, or add it to `methods` of the route.";
    /// The route takes other content.
    ContentTypeRefused = "content-type-refused", Downstream, Route, 415, 3, "The route does not take content of this type.", "Send another, or add it to `content_types` of the route.";
    /// The content is compressed by something that is not understood.
    ContentCodingRefused = "content-coding-refused", Downstream, Route, 415, 3, "The content is coded in a way that is not understood here.", "Send it as it is, or coded as Accept-Encoding of the answer names.";
    /// No route of the listener matches.
    NoRoute = "no-route", Proxy, Listener, 404, 12, "No route matches the request.", "Compare host, path and headers with the routes of this listener.";
    /// The route's cluster has no endpoint at all.
    NoEndpoints = "no-endpoints", Proxy, Cluster, 503, 14, "The service has no endpoints.", "Check that an instance is registered, and the subset's filter.";
    /// Endpoints are known but none may be picked.
    NoHealthyEndpoint = "no-healthy-endpoint", Proxy, Cluster, 503, 14, "No endpoint of the service is healthy.", "Look at the health of the instances.";
    /// The endpoints of a service that is called for the first time did not arrive in time.
    WarmTimeout = "warm-timeout", Proxy, Cluster, 503, 14, "The endpoints of the service did not become known in time.", "Check the discovery source.";
    /// A new snapshot took the cluster away while the request waited for its endpoints, and the listener with it.
    Superseded = "superseded", Proxy, Listener, 503, 14, "The configuration changed while the request waited.", "Try again.";
    /// A limit of the cluster is reached.
    Overflow = "overflow", Proxy, Cluster, 503, 14, "A limit of circuit_breaker is reached.", "Raise the limit or add instances.";
    /// The service takes no more requests at a time.
    ConcurrencyLimit = "concurrency-limit", Proxy, Listener, 503, 8, "The service has as many requests in flight as it takes.", "Raise `concurrency` in its document, or add instances.";
    /// The service takes no more requests of this kind for the moment.
    RateLimited = "rate-limited", Downstream, Listener, 429, 8, "More requests have come than are taken in this time.", "Come back when the answer says, or raise `rate_limit` in the document of the service or gateway.";
    /// The cluster's circuit is open.
    CircuitOpen = "circuit-open", Proxy, Cluster, 503, 14, "Too many requests to the service have failed lately; it gets none for a while.", "Look at why they failed: `sidecar status` tells when it is tried again.";
    /// The fault of the route's service.
    FaultInjected = "fault-injected", Proxy, Route, 503, 14, "The request was failed on purpose.", "`fault` of the service's document says so, or the caller's x-sidecar-fault.";
    /// Likewise, and without an answer.
    ResetInjected = "reset-injected", Proxy, Route, 503, 14, "The request was broken off on purpose.", "`fault` of the service's document says so, or the caller's x-sidecar-fault.";
    /// The listener holds as many connections as it may.
    ConnectionLimit = "connection-limit", Proxy, Listener, 503, 14, "The listener's limit of open connections is reached.", "Raise limits.max_connections of the listener, or add instances.";
    /// The process has hardly any memory or descriptors left.
    Overloaded = "overloaded", Proxy, Listener, 503, 8, "This proxy has too little memory or too few descriptors left.", "Give it more, or add instances: its log says what it lacks, and since when.";
    /// The proxy is shutting down.
    Draining = "draining", Proxy, Listener, 503, 14, "This proxy is shutting down.", "Try again: another instance will answer.";
    /// Key material for the connection is missing or unusable.
    NoIdentity = "no-identity", Proxy, Cluster, 503, 14, "This proxy holds no certificate for the connection.", "Look at the certificate authority's state.";
    /// The certificate at one end of a connection has ended, and with it what was on the connection.
    CertificateEnded = "certificate-ended", Proxy, Cluster, 503, 14, "A certificate that the connection was opened with has ended.", "Have what lasts longer than certificates live connect anew in time: HTTP/2 is told so by GOAWAY.";
    /// Nothing moved on a connection for too long.
    IdleTimeout = "idle-timeout", Proxy, Route, 408, 4, "Nothing moved on the connection for too long.", "Raise idle_timeout in the service's document, or have an end send keep-alives.";
    /// A mistake of this proxy.
    Internal = "internal", Proxy, Route, 500, 13, "This proxy made a mistake.", "Please report it with the log line.";
    /// TCP refused, unreachable.
    ConnectFailure = "connect-failure", Upstream, Cluster, 503, 14, "The connection to the endpoint failed.", "Check that the instance listens and is reachable.";
    /// TCP or TLS not established in time.
    ConnectTimeout = "connect-timeout", Upstream, Cluster, 503, 14, "The connection to the endpoint was not established in time.", "Check that the instance is reachable; a firewall may drop packets.";
    /// TLS to the endpoint failed.
    TlsFailure = "tls-failure", Upstream, Cluster, 503, 14, "TLS with the endpoint failed.", "Compare certificates and trust domains on both sides.";
    /// The endpoint's certificate names another identity.
    PeerMismatch = "peer-mismatch", Upstream, Cluster, 503, 14, "The endpoint proved another identity than the service's.", "Check which service listens at the address.";
    /// The endpoint refused the stream before processing it.
    RefusedStream = "refused-stream", Upstream, Cluster, 503, 14, "The endpoint refused the request without processing it.", "The instance is overloaded or shutting down.";
    /// The endpoint reset the stream or connection before its response ended.
    UpstreamReset = "upstream-reset", Upstream, Cluster, 502, 14, "The endpoint broke off before its response was complete.", "Look at the instance's log for a crash or a timeout of its own.";
    /// The endpoint's answer is not valid HTTP.
    UpstreamProtocol = "upstream-protocol", Upstream, Cluster, 502, 13, "The endpoint's answer is not valid HTTP.", "Check that protocol in the service's document is what the instance speaks.";
    /// The endpoint answered with a status that is tried again; where it stays, the answer itself is passed on.
    RetriedStatus = "retried-status", Upstream, Route, 503, 14, "The endpoint answered with a status that is tried again.", "Look at the instance's log.";
    /// The answer to a call ended as if it were complete, and said no status.
    MissingStatus = "missing-status", Upstream, Cluster, 502, 2, "The endpoint ended its answer to a call without a grpc-status.", "Look at the instance's log, and for something between that drops trailers.";
    /// An endpoint took longer than one try may.
    TryTimeout = "per-try-timeout", Upstream, Route, 504, 4, "No endpoint began its answer within per_try_timeout.", "Look at the instances' latency, or raise per_try_timeout.";
    /// The route's timeout is over, or the caller's.
    Timeout = "timeout", Upstream, Route, 504, 4, "The time for the call ended before its answer was complete.", "Look at the instance's latency, or raise the route's timeout or the caller's.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// May the same request be sent again?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// The endpoint has certainly not processed it.
    Unprocessed,
    /// It may have been processed.
    No,
}

/// What is known of a failure beside its reason.
#[derive(Clone, Debug, Default)]
pub struct Particulars {
    /// An address, a code, the operating system's words.
    pub cause: Option<Box<str>>,
    /// What somebody wrote that decided it, in words.
    pub rule: Option<Arc<str>>,
}

/// One failure, anywhere on the path.
#[derive(Clone, Debug)]
pub struct Error {
    /// What kind, and with it which side.
    pub reason: Reason,
    /// May it be sent again?
    pub again: Again,
    /// Apart, since an exchange has room for several errors and seldom has one.
    particulars: Option<Box<Particulars>>,
    /// The gRPC status, where more is known than the reason says.
    grpc_status: Option<u8>,
    /// The HTTP status, likewise.
    status: Option<u16>,
    /// Milliseconds after which another try may help; 0: unknown.
    retry_after: u32,
}

impl Error {
    /// A failure that another try would not mend.
    pub fn new(reason: Reason) -> Self {
        Error {
            reason,
            again: Again::No,
            particulars: None,
            grpc_status: None,
            status: None,
            retry_after: 0,
        }
    }

    /// A failure that left the request unprocessed.
    pub fn unprocessed(reason: Reason) -> Self {
        Error { again: Again::Unprocessed, ..Error::new(reason) }
    }

    /// With another gRPC status than the reason's.
    pub fn with_grpc_status(mut self, status: u8) -> Self {
        self.grpc_status = Some(status);
        self
    }

    /// With another HTTP status than the reason's.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Another try may help after so long; at least a millisecond, as gRPC counts.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = u32::try_from(wait.as_nanos().div_ceil(1_000_000).max(1)).unwrap_or(u32::MAX);
        self
    }

    /// When another try may help; `None`: nobody knows.
    pub fn retry_after(&self) -> Option<Duration> {
        (self.retry_after > 0).then(|| Duration::from_millis(self.retry_after.into()))
    }

    /// The HTTP status of a reply for it.
    pub fn status(&self) -> u16 {
        self.status.unwrap_or(self.reason.status())
    }

    /// The gRPC status of a reply for it.
    pub fn grpc_status(&self) -> u8 {
        self.grpc_status.unwrap_or(self.reason.grpc_status())
    }

    /// Somebody wrote this, and it decided.
    pub fn decided_by(mut self, rule: &Arc<str>) -> Self {
        self.particulars.get_or_insert_default().rule = Some(Arc::clone(rule));
        self
    }

    /// Adds the particulars.
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.particulars.get_or_insert_default().cause = Some(cause.to_string().into_boxed_str());
        self
    }

    /// What is known beside the reason.
    pub fn particulars(&self) -> Option<&Particulars> {
        self.particulars.as_deref()
    }

    /// An address, a code, the operating system's words.
    pub fn cause(&self) -> Option<&str> {
        self.particulars.as_ref()?.cause.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.sentence())?;
        match self.cause() {
            Some(cause) => write!(f, " {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
