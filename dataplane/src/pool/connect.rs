//! A new connection to an endpoint: TCP, then TLS with the identity that is expected there.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::clock;
use crate::error::{Error, Reason};
use crate::net::{self, Io};
use crate::snapshot::model::{ClientTls, Protocol};
use crate::tls::term::{Trust, Verified};
use crate::tls::{self, Identity, Secrets, TrustBundle};

/// How connections of one cluster are made. Two clusters with equal transports share connections.
#[derive(Debug)]
pub struct Transport {
    /// What is spoken on top.
    pub protocol: Protocol,
    /// None: cleartext.
    pub tls: Option<ClientTls>,
    /// TCP and TLS together.
    pub timeout: Duration,
    trust: Rc<Trust>,
    /// Made at the first connection, again after what it was made of has changed.
    config: RefCell<Option<Made>>,
}

/// How to speak TLS, and what that was made of.
#[derive(Clone, Debug)]
struct Made {
    config: Arc<ClientConfig>,
    identity: Option<Identity>,
    bundle: TrustBundle,
}

impl Made {
    /// True when it would be made of the same now.
    fn holds(&self, tls: &ClientTls, secrets: &Secrets) -> bool {
        let is_identity = match (&self.identity, &tls.identity) {
            (Some(held), Some(name)) => secrets.identity(name).is_ok_and(|identity| held.is(identity)),
            (held, name) => held.is_none() && name.is_none(),
        };
        is_identity
            && secrets
                .bundle(&tls.trust_bundle)
                .is_ok_and(|bundle| self.bundle.is(bundle))
    }
}

/// The TLS sessions of one endpoint: how to speak TLS in general, and with it.
#[derive(Debug, Default)]
pub struct Sessions(RefCell<Option<(Arc<ClientConfig>, Arc<ClientConfig>)>>);

impl Sessions {
    /// Sessions end with the configuration that they began under.
    fn under(&self, config: Arc<ClientConfig>) -> Arc<ClientConfig> {
        let mut held = self.0.borrow_mut();
        match &*held {
            Some((general, own)) if Arc::ptr_eq(general, &config) => Arc::clone(own),
            _ => {
                let own = tls::client::with_sessions(&config);
                *held = Some((config, Arc::clone(&own)));
                own
            }
        }
    }
}

impl Transport {
    /// Nothing is connected yet.
    pub fn new(protocol: Protocol, tls: Option<ClientTls>, timeout: Duration, trust: Rc<Trust>) -> Self {
        Transport { protocol, tls, timeout, trust, config: RefCell::new(None) }
    }

    /// Connects; every failure leaves the request unprocessed.
    pub async fn connect(&self, address: SocketAddr, sessions: &Sessions) -> Result<(Io, Option<Verified>), Error> {
        let is_open = Cell::new(false);
        let connect = self.connect_untimed(address, sessions, &is_open);
        let timeout = clock::sleep(self.timeout);
        tokio::select! {
            biased;
            connected = connect => connected,
            () = timeout => Err(Error::unprocessed(Reason::ConnectTimeout).because(match is_open.get() {
                true => format!("{address}: no answer to the TLS handshake within {:?}: does it speak TLS?", self.timeout),
                false => format!("{address}: no connection after {:?}", self.timeout),
            })),
        }
    }

    /// Says when it `is_open`, and TLS begins.
    async fn connect_untimed(
        &self,
        address: SocketAddr,
        sessions: &Sessions,
        is_open: &Cell<bool>,
    ) -> Result<(Io, Option<Verified>), Error> {
        let unreachable =
            |error| Error::unprocessed(Reason::ConnectFailure).because(format_args!("{address}: {error}"));
        let Some(tls) = &self.tls else {
            return Ok((net::open(address).await.map_err(unreachable)?, None));
        };
        let stream = net::connect(address).await.map_err(unreachable)?;
        is_open.set(true);
        let config = sessions.under(self.config(tls)?);
        let met = tls::client::connect(stream, tls, config).await?;
        let verified = self.trust.of_endpoint(&met.peer, &tls.trust_bundle, met.chain);
        Ok((met.io, Some(verified)))
    }

    fn config(&self, tls: &ClientTls) -> Result<Arc<ClientConfig>, Error> {
        let secrets = self.trust.secrets();
        if let Some(made) = &*self.config.borrow()
            && made.holds(tls, &secrets)
        {
            return Ok(Arc::clone(&made.config));
        }
        let config = tls::client::config(tls, self.protocol, &secrets)?;
        let identity = tls.identity.as_ref().map(|name| secrets.identity(name).cloned());
        let made = Made {
            config: Arc::clone(&config),
            identity: identity.transpose()?,
            bundle: secrets.bundle(&tls.trust_bundle)?.clone(),
        };
        *self.config.borrow_mut() = Some(made);
        Ok(config)
    }

    /// True when connections that are open show an identity, or trust roots, that have been replaced.
    pub fn is_outdated(&self) -> bool {
        let secrets = self.trust.secrets();
        match (&self.tls, &*self.config.borrow()) {
            (Some(tls), Some(made)) => !made.holds(tls, &secrets),
            _ => false,
        }
    }
}
