//! Headers, good and bad.

use std::net::Ipv6Addr;

use tokio::io::AsyncWriteExt;

use super::*;
use crate::net;
use crate::random;

const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0xc0, 0x01, 0x01, 0xbb];

/// A header of version 2.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, rest].concat()
}

/// With a checksum before and behind other TLVs, which is right.
fn checked(addresses: &[u8]) -> Vec<u8> {
    let tlvs: &[u8] = &[
        0x04, 0, 1, 0, 0x03, 0, 4, 0, 0, 0, 0, 0x02, 0, 4, b's', b'h', b'o', b'p',
    ];
    let mut header = v2(0x21, 0x11, &[addresses, tlvs].concat());
    let crc = !header.iter().fold(!0, |crc, byte| v2::step(crc, *byte));
    let at = 16 + addresses.len() + 7;
    header[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    header
}

fn v6(last: u16) -> [u8; 16] {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets()
}

fn told(from: &str, to: &str) -> Option<Told> {
    Some(Told { from: from.parse().unwrap(), to: to.parse().unwrap() })
}

/// Whose connection the header says that it is; it must be one, and end where `bytes` do.
fn says(bytes: &[u8]) -> Option<Told> {
    let header = parse(bytes).unwrap().unwrap();
    assert_eq!(header.len, bytes.len(), "{}", bytes.escape_ascii());
    header.told
}

#[test]
fn a_header_says_whose_connection_it_is() {
    let of_v4 = told("192.0.2.1:49153", "198.51.100.7:443");
    let of_v6 = told("[2001:db8::1]:1", "[2001:db8::2]:65535");
    let addresses = [&v6(1)[..], &v6(2), &[0, 1, 0xff, 0xff]].concat();
    let tlvs = [V4, &[0x01, 0, 2, b'h', b'2', 0xee, 0, 0]].concat();
    for (bytes, expected) in [
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 49153 443\r\n".to_vec(), of_v4),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n".to_vec(), of_v6),
        (
            b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n".to_vec(),
            told("0.0.0.0:0", "0.0.0.0:0"),
        ),
        (v2(0x21, 0x11, V4), of_v4),
        (v2(0x21, 0x12, V4), of_v4),
        (v2(0x21, 0x21, &addresses), of_v6),
        (v2(0x21, 0x11, &tlvs), of_v4),
        (checked(V4), of_v4),
    ] {
        assert_eq!(says(&bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_header_may_say_nothing_of_a_client() {
    let longest = [&b"PROXY UNKNOWN "[..], &[b'x'; 91], b"\r\n"].concat();
    for bytes in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        b"PROXY UNKNOWN \xff\r\n".to_vec(),
        longest,
        // LOCAL, whatever family and length it has.
        v2(0x20, 0x00, &[]),
        v2(0x20, 0x11, V4),
        v2(0x20, 0x99, &[1, 2, 3]),
        v2(0x21, 0x00, &[]),
        v2(0x21, 0x00, &[7; 40]),
        v2(0x21, 0x31, &[0; 216]),
        v2(0x21, 0x32, &[1; 216]),
    ] {
        assert_eq!(says(&bytes), None, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_header_is_refused_in_words() {
    let wrong_checksum = {
        let mut header = checked(V4);
        *header.last_mut().unwrap() ^= 1;
        header
    };
    let longer = [&b"PROXY UNKNOWN "[..], &[b'x'; 92], b"\r\n"].concat();
    for (bytes, words) in [
        (&b"GET / HTTP/1.1\r\n"[..], "something else"),
        (b"\x16\x03\x01", "something else"),
        (b"PROXZ", "something else"),
        (b"proxy TCP4", "something else"),
        (b"\r\n\r\n\0\r\nQUIT\r", "something else"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n", "CR and LF"),
        (b"PROXY \r\n", "two addresses"),
        (b"PROXY TCP4\r\n", "two addresses"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n", "two addresses"),
        (b"PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n", "two addresses"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 1 \xff\r\n", "two addresses"),
        (b"PROXY UNKNOWNS\r\n", "two addresses"),
        (b"PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n", "TCP4, TCP6"),
        (b"PROXY TCP4 2001:db8::1 198.51.100.7 1 2\r\n", "family"),
        (b"PROXY TCP6 192.0.2.1 2001:db8::1 1 2\r\n", "family"),
        (b"PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n", "family"),
        (b"PROXY TCP4 192.0.2.1 198.51.100 1 2\r\n", "family"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n", "65535"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 1 +2\r\n", "65535"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n", "65535"),
        (b"PROXY TCP4 192.0.2.1 198.51.100.7  2\r\n", "65535"),
        (&longer, "107"),
        (&v2(0x11, 0x11, V4), "version 2 alone"),
        (&v2(0x22, 0x11, V4), "LOCAL and PROXY"),
        (&v2(0x21, 0x13, V4), "this family"),
        (&v2(0x21, 0x41, V4), "this family"),
        (&v2(0x21, 0x11, &V4[..11]), "no room"),
        (&v2(0x21, 0x21, V4), "no room"),
        (&v2(0x21, 0x31, V4), "no room"),
        (&v2(0x21, 0x11, &[V4, &[0x04]].concat()), "a TLV ends after"),
        (&v2(0x21, 0x11, &[V4, &[0x04, 0, 2, 0]].concat()), "a TLV ends after"),
        (&v2(0x21, 0x11, &[V4, &[0x03, 0, 3, 0, 0, 0]].concat()), "four bytes"),
        (
            &v2(0x21, 0x11, &[V4, &[3, 0, 4, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0]].concat()),
            "two checksums",
        ),
        (&wrong_checksum, "CRC32c"),
        // Its length is enough: nobody waits for 16 KiB.
        (&v2(0x21, 0x11, V4)[..14], "at most 16 KiB"),
    ] {
        let bytes = match words {
            "at most 16 KiB" => [bytes, &[0x3f, 0xf1]].concat(),
            _ => bytes.to_vec(),
        };
        let refused = parse(&bytes).unwrap_err();
        assert!(refused.0.contains(words), "{}: {}", bytes.escape_ascii(), refused.0);
    }
}

#[test]
fn the_checksum_is_castagnolis() {
    // The check value of CRC-32C, and an example of RFC 3720 appendix B.4.
    let crc = |bytes: &[u8]| !bytes.iter().fold(!0, |crc, byte| v2::step(crc, *byte));
    assert_eq!(crc(b"123456789"), 0xe306_9283);
    assert_eq!(crc(&[0xff; 32]), 0x62a8_ab43);
}

/// The same header in the words of version 1.
fn rewritten(told: Told) -> Vec<u8> {
    let family = if told.from.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (told.from, told.to);
    let line = format!(
        "PROXY {family} {} {} {} {}\r\n",
        from.ip(),
        to.ip(),
        from.port(),
        to.port()
    );
    line.into_bytes()
}

#[test]
fn random_bytes_are_a_header_or_none_however_many_have_come() {
    random::fuzz("proxy_headers", |bytes| {
        let whole = parse(bytes);
        for end in 0..bytes.len() {
            match (parse(&bytes[..end]), whole) {
                (Ok(None), _) => {}
                (Ok(Some(early)), _) => assert_eq!((Ok(Some(early)), early.len <= end), (whole, true)),
                (Err(early), Err(late)) => assert_eq!(early, late),
                (Err(early), other) => panic!("{early:?} of {end} bytes, then {other:?}"),
            }
        }
        if let Ok(Some(header)) = whole {
            assert!((15..=16 << 10).contains(&header.len) && header.len <= bytes.len());
            assert_eq!(parse(&[bytes, b"more"].concat()), whole);
            if let Some(told) = header.told {
                assert_eq!(says(&rewritten(told)), Some(told));
            }
        }
    });
}

/// What is read of `pieces`, sent one by one, and what can then still be read.
async fn read_of(pieces: &[&[u8]]) -> (Result<Option<Told>, Error>, Vec<u8>) {
    let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = net::register(listener).unwrap();
    let (client, server) = tokio::join!(net::connect(address), listener.accept());
    let (mut client, mut stream) = (client.unwrap(), server.unwrap().0);
    let writing = async move {
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (told, ()) = tokio::join!(read(&mut stream, Duration::from_secs(10)), writing);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    (told, rest)
}

#[tokio::test]
async fn a_header_is_read_and_nothing_behind_it() {
    let of_v4 = told("192.0.2.1:49153", "198.51.100.7:443");
    let line = &b"PROXY TCP4 192.0.2.1 198.51.100.7 49153 443\r\n"[..];
    let long = v2(0x21, 0x11, &[V4, &[0xe0, 8, 0], &[7; 2048]].concat());
    for header in [line, &v2(0x21, 0x11, V4), &long] {
        let (told, rest) = read_of(&[&[header, b"GET /"].concat()]).await;
        assert_eq!((told.unwrap(), &rest[..]), (of_v4, &b"GET /"[..]));
        let pieces: Vec<&[u8]> = header.chunks(7).chain([&b"\x16\x03"[..]]).collect();
        let (told, rest) = read_of(&pieces).await;
        assert_eq!((told.unwrap(), &rest[..]), (of_v4, &b"\x16\x03"[..]));
    }
}

#[tokio::test]
async fn a_connection_without_one_is_refused() {
    for (pieces, reason, words) in [
        (&[][..], Reason::DownstreamReset, "closed"),
        (
            &[&b"PROXY TCP4 192"[..]][..],
            Reason::ProxyProtocol,
            "ends before its end",
        ),
        (
            &[&b"GET / HTTP/1.1\r\n\r\n"[..]][..],
            Reason::ProxyProtocol,
            "something else",
        ),
    ] {
        let (told, _) = read_of(pieces).await;
        let error = told.unwrap_err();
        assert_eq!(error.reason, reason);
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_come_is_not_waited_for() {
    let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let listener = net::register(listener).unwrap();
    let (client, server) = tokio::join!(net::connect(address), listener.accept());
    let (mut client, mut stream) = (client.unwrap(), server.unwrap().0);
    client.write_all(b"PROXY ").await.unwrap();
    let error = read(&mut stream, Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(error.reason, Reason::RequestTimeout);
}
