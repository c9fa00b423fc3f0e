//! Version 2: sixteen bytes, the addresses, and what else the sender likes to tell (TLVs).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Header, Malformed, Told};

pub const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, and the length of what follows.
const FIXED: usize = 16;
/// What HAProxy takes too (`tune.bufsize`). The length could say four times as much; with a client's certificate it is about
/// 3 KiB.
const LONGEST: usize = 16 << 10;
/// The checksum of the whole header (section 2.2.3), and the bytes that it takes.
const PP2_TYPE_CRC32C: u8 = 0x03;
const CRC32C_LEN: usize = 4;

/// Of bytes that start with [`SIGNATURE`].
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some(&[command, family, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Ok(None);
    };
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        other if other >> 4 != 2 => return Err(Malformed("this signature is of version 2 alone")),
        _ => return Err(Malformed("version 2 knows the commands LOCAL and PROXY")),
    };
    // Of streams and of datagrams: the addresses look the same.
    let addresses = match family {
        // "must ignore": of LOCAL the family, of an unspecified one the addresses.
        _ if is_local => 0,
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(Malformed("version 2 does not know this family")),
    };
    if len > LONGEST {
        return Err(Malformed("a header has at most 16 KiB"));
    }
    if len < FIXED + addresses {
        return Err(Malformed("its length leaves no room for its addresses"));
    }
    let Some(whole) = bytes.get(..len) else {
        return Ok(None);
    };
    if addresses == 0 {
        return Ok(Some(Header { told: None, len }));
    }
    let (fixed, tlvs) = whole.split_at(FIXED + addresses);
    check(fixed, tlvs)?;
    Ok(Some(Header { told: told(&fixed[FIXED..]), len }))
}

/// Two addresses and two ports; those of Unix sockets tell nothing of a client.
fn told(addresses: &[u8]) -> Option<Told> {
    match *addresses {
        [a, b, c, d, e, f, g, h, ref ports @ ..] if ports.len() == 4 => {
            let (from, to) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
            with_ports(from.into(), to.into(), ports)
        }
        ref longer => {
            let (from, rest) = longer.split_first_chunk::<16>()?;
            let (to, ports) = rest.split_first_chunk::<16>()?;
            with_ports(Ipv6Addr::from(*from).into(), Ipv6Addr::from(*to).into(), ports)
        }
    }
}

fn with_ports(from: std::net::IpAddr, to: std::net::IpAddr, ports: &[u8]) -> Option<Told> {
    let &[a, b, c, d] = ports else { return None };
    let (from_port, to_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some(Told { from: SocketAddr::new(from, from_port), to: SocketAddr::new(to, to_port) })
}

/// Passes over the TLVs: each must end within the header, and a checksum must be right.
fn check(fixed: &[u8], tlvs: &[u8]) -> Result<(), Malformed> {
    let (mut rest, mut checksum) = (tlvs, None);
    while let Some((&[kind, high, low], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, next) = after
            .split_at_checked(length)
            .ok_or(Malformed("a TLV ends after the header"))?;
        if kind == PP2_TYPE_CRC32C {
            let told: [u8; CRC32C_LEN] = value
                .try_into()
                .map_err(|_| Malformed("a CRC32c checksum has four bytes"))?;
            let at = tlvs.len() - after.len();
            if checksum.replace((u32::from_be_bytes(told), at)).is_some() {
                return Err(Malformed("the header has two checksums"));
            }
        }
        rest = next;
    }
    if !rest.is_empty() {
        return Err(Malformed("a TLV ends after the header"));
    }
    match checksum {
        Some((told, at)) if told != crc32c(fixed, tlvs, at) => Err(Malformed("its CRC32c checksum is wrong")),
        _ => Ok(()),
    }
}

/// That of the header, with zeros in the place of the checksum.
fn crc32c(fixed: &[u8], tlvs: &[u8], at: usize) -> u32 {
    let zeros = [0; CRC32C_LEN];
    let pieces = [fixed, &tlvs[..at], &zeros, &tlvs[at + CRC32C_LEN..]];
    !pieces.into_iter().flatten().fold(!0, |crc, byte| step(crc, *byte))
}

/// One byte more, by Castagnoli's polynomial (RFC 3720 appendix B.4), its bits reversed.
pub(super) fn step(crc: u32, byte: u8) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    (0..8).fold(crc ^ u32::from(byte), |crc, _| match crc & 1 {
        1 => crc >> 1 ^ POLYNOMIAL,
        _ => crc >> 1,
    })
}
