//! A new connection to an endpoint: TCP, then TLS with the identity that is expected there.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::clock;
use crate::error::{Error, Reason};
use crate::net::{self, Io};
use crate::snapshot::model::{ClientTls, Protocol};
use crate::tls::{self, Secrets};

/// The worker's current key material.
pub type SecretsCell = Rc<RefCell<Arc<Secrets>>>;

/// How connections of one cluster are made. Two clusters with equal transports share connections.
#[derive(Debug)]
pub struct Transport {
    /// What is spoken on top.
    pub protocol: Protocol,
    /// None: cleartext.
    pub tls: Option<ClientTls>,
    /// TCP and TLS together.
    pub timeout: Duration,
    secrets: SecretsCell,
    /// Made at the first connection, again after the secrets changed.
    config: RefCell<Option<(u64, Arc<ClientConfig>)>>,
}

impl Transport {
    /// Nothing is connected yet.
    pub fn new(protocol: Protocol, tls: Option<ClientTls>, timeout: Duration, secrets: SecretsCell) -> Self {
        Transport { protocol, tls, timeout, secrets, config: RefCell::new(None) }
    }

    /// Connects; every failure leaves the request unprocessed.
    pub async fn connect(&self, address: SocketAddr) -> Result<(Io, Option<Arc<str>>), Error> {
        let connect = self.connect_untimed(address);
        let timeout = clock::sleep(self.timeout);
        tokio::select! {
            biased;
            connected = connect => connected,
            () = timeout => Err(Error::unprocessed(Reason::ConnectTimeout)
                .because(format_args!("{address}: no connection after {:?}", self.timeout))),
        }
    }

    async fn connect_untimed(&self, address: SocketAddr) -> Result<(Io, Option<Arc<str>>), Error> {
        let stream = net::connect(address)
            .await
            .map_err(|error| Error::unprocessed(Reason::ConnectFailure).because(format_args!("{address}: {error}")))?;
        let Some(tls) = &self.tls else {
            return Ok((Io::from(stream), None));
        };
        let config = self.config(tls)?;
        let (io, peer) = tls::client::connect(stream, tls, config).await?;
        Ok((io, Some(peer.uri)))
    }

    fn config(&self, tls: &ClientTls) -> Result<Arc<ClientConfig>, Error> {
        let secrets = Arc::clone(&self.secrets.borrow());
        if let Some((version, config)) = &*self.config.borrow()
            && *version == secrets.version
        {
            return Ok(Arc::clone(config));
        }
        let config = tls::client::config(tls, self.protocol, &secrets)?;
        *self.config.borrow_mut() = Some((secrets.version, Arc::clone(&config)));
        Ok(config)
    }
}
