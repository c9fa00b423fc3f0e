//! The PROXY protocol: how a balancer that passes bytes on says whose connection it is, in a header before them. Both
//! versions, by the rules for receivers of <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>.

mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::error::{Error, Reason};

/// Bytes that are looked at together; a header without many TLVs is one such piece.
const PIECE: usize = 512;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The client.
    pub from: SocketAddr,
    /// Where it connected to.
    pub to: SocketAddr,
}

/// A header that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `None`: that of the balancer itself, which asks how we are, or of somebody without an IP address.
    pub told: Option<Told>,
    /// Bytes of the header; what the client sends follows.
    pub len: usize,
}

/// Why bytes are no header, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The header that `bytes` begin with; `None`: they may become one.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let may_become = |beginning: &[u8]| beginning.starts_with(bytes);
    if bytes.starts_with(v2::SIGNATURE) {
        v2::parse(bytes)
    } else if bytes.starts_with(v1::BEGINNING) {
        v1::parse(bytes)
    } else if may_become(v2::SIGNATURE) || may_become(v1::BEGINNING) {
        Ok(None)
    } else {
        Err(Malformed("the connection begins with something else"))
    }
}

/// Reads a header from a connection, and nothing that follows it. Errors are the balancer's: [`Reason::ProxyProtocol`],
/// [`Reason::RequestTimeout`], and [`Reason::DownstreamReset`] where it closes without a word.
pub async fn read(stream: &mut TcpStream, timeout: Duration) -> Result<Option<Told>, Error> {
    match tokio::time::timeout(timeout, read_whole(stream)).await {
        Ok(read) => read,
        Err(_) => Err(Error::new(Reason::RequestTimeout).because("The PROXY protocol header did not end in time.")),
    }
}

async fn read_whole(stream: &mut TcpStream) -> Result<Option<Told>, Error> {
    let broken = |error: std::io::Error| Error::new(Reason::DownstreamReset).because(error);
    let mut seen = Vec::new();
    loop {
        let known = seen.len();
        seen.resize(known + PIECE, 0);
        // What is not of the header stays where TLS looks for it.
        let new = stream.peek(&mut seen[known..]).await.map_err(broken)?;
        seen.truncate(known + new);
        if new == 0 {
            return Err(match known {
                0 => Error::new(Reason::DownstreamReset).because("The balancer closed before its PROXY header."),
                _ => refused("it ends before its end"),
            });
        }
        let header = parse(&seen).map_err(|Malformed(words)| refused(words))?;
        let end = header.map_or(seen.len(), |header| header.len);
        stream.read_exact(&mut seen[known..end]).await.map_err(broken)?;
        if let Some(header) = header {
            return Ok(header.told);
        }
    }
}

fn refused(words: &str) -> Error {
    Error::new(Reason::ProxyProtocol).because(format_args!("The header is malformed: {words}."))
}
