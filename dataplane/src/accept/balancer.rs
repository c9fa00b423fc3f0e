//! A balancer in front that passes connections on by their bytes, and says whose they are.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::error::{Error, Reason};
use crate::proxy_protocol;
use crate::scope::{Caller, Hop};
use crate::snapshot::model::Network;

/// Puts the client in the balancer's place, where that names one. Fails when the connection comes from nobody of `trusted`,
/// who could say anything, or does not begin with a header.
pub(super) async fn introduce(
    trusted: &[Network],
    stream: &mut TcpStream,
    caller: &mut Caller,
    timeout: Duration,
) -> Result<(), Error> {
    let balancer = caller.hop.peer;
    if !trusted.iter().any(|network| network.contains(balancer)) {
        let words = format_args!("`proxy_protocol.trusted` has no {}.", balancer.to_canonical());
        return Err(Error::new(Reason::ProxyProtocol).because(words));
    }
    if let Some(told) = proxy_protocol::read(stream, timeout).await? {
        caller.address = told.from;
        caller.hop = Hop::new(told.from.ip(), told.to.port(), false);
    }
    Ok(())
}
