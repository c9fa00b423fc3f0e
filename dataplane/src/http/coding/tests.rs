//! What a client takes, and content there and back.

use std::future::poll_fn;

use bytes::Bytes;
use http::HeaderValue;

use super::compress::Encoder;
use super::*;
use crate::http::body::{Body, Frame, StreamError};
use crate::random;
use crate::snapshot::model::Decompress;

const ROOMY: Decompress = Decompress { max_size: 1 << 30, max_ratio: 1 << 20 };

fn accepting(fields: &[&[u8]]) -> HeaderMap {
    let values = fields.iter().map(|field| HeaderValue::from_bytes(field).unwrap());
    values.map(|value| (ACCEPT_ENCODING, value)).collect()
}

#[test]
fn the_coding_is_the_one_that_the_client_likes_best() {
    use Coding::{Brotli, Gzip, Zstd};
    for (fields, expected) in [
        (&[][..], None),
        (&[""][..], None),
        (&["gzip"], Some(Gzip)),
        (&["gzip, deflate, br, zstd"], Some(Zstd)),
        (&["gzip", "br"], Some(Brotli)),
        (&["X-GZip"], Some(Gzip)),
        (&["GZIP;Q=0.001"], Some(Gzip)),
        (&["gzip;q=1.0, br;q=0.8, zstd;q=0.5"], Some(Gzip)),
        (&["gzip ; q=0.5 , br;q=0.51"], Some(Brotli)),
        (&["gzip;q=0"], None),
        (&["*"], Some(Zstd)),
        (&["*;q=0.1, gzip;q=0.2"], Some(Gzip)),
        (&["*, zstd;q=0"], Some(Brotli)),
        (&["*;q=0"], None),
        (&["identity, *;q=0"], None),
        (&["identity;q=1, gzip;q=0.5"], None),
        (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
        (&["identity;q=0"], None),
        (&["gzip;q=2"], None),
        (&["gzip;q=1.001"], None),
        (&["gzip;q=0.0001"], None),
        (&["gzip;q="], None),
        (&["gzip;level=9"], None),
        (&["gzip;q=0, gzip"], None),
        (&["deflate, compress"], None),
    ] {
        let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
        assert_eq!(best(&accepting(&fields), &Coding::ALL), expected, "{fields:?}");
    }
    assert_eq!(
        best(&accepting(&[b"gzip, br"]), &[Gzip, Brotli]),
        Some(Gzip),
        "our order counts"
    );
    assert_eq!(best(&accepting(&[b"zstd, br"]), &[Gzip]), None);
}

#[test]
fn random_bytes_ask_for_one_of_ours_or_none() {
    random::fuzz("accept_encodings", |bytes| {
        let Ok(field) = HeaderValue::from_bytes(bytes) else {
            return;
        };
        let headers: HeaderMap = [(ACCEPT_ENCODING, field)].into_iter().collect();
        let found = best(&headers, &Coding::ALL);
        // In a field of its own each element says the same.
        let apart: Vec<&[u8]> = bytes.split(|byte| *byte == b',').collect();
        assert_eq!(best(&accepting(&apart), &Coding::ALL), found);
        if let Some(coding) = found {
            let names = [coding.name().as_bytes(), b"*", b"gzip"];
            let lower = bytes.to_ascii_lowercase();
            assert!(
                names
                    .iter()
                    .any(|name| lower.windows(name.len()).any(|window| window == *name))
            );
            assert_eq!(best(&headers, &[coding]), Some(coding));
        }
    });
}

#[test]
fn a_message_tells_how_its_content_is_coded() {
    let coded = |fields: &[&'static str]| {
        let fields = fields
            .iter()
            .map(|field| (CONTENT_ENCODING, HeaderValue::from_static(field)));
        applied(&fields.collect())
    };
    for (fields, expected) in [
        (&[][..], Ok(None)),
        (&["identity"][..], Ok(None)),
        (&["GZIP"], Ok(Some(Coding::Gzip))),
        (&["identity, br,"], Ok(Some(Coding::Brotli))),
        (&["zstd"], Ok(Some(Coding::Zstd))),
        (&["gzip, br"], Err(NotUnderstood)),
        (&["gzip", "gzip"], Err(NotUnderstood)),
        (&["deflate"], Err(NotUnderstood)),
        (&["gzip;q=1"], Err(NotUnderstood)),
    ] {
        assert_eq!(coded(fields), expected, "{fields:?}");
    }
}

/// All that a body has.
async fn read(mut body: Body) -> Result<Vec<u8>, StreamError> {
    let mut content = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.poll_frame(cx)).await {
        match frame? {
            Frame::Data(data) => {
                assert!(!data.is_empty());
                content.extend_from_slice(&data);
            }
            Frame::Trailers(trailers) => panic!("{trailers:?}"),
        }
    }
    assert!(body.is_end());
    Ok(content)
}

fn whole(content: &[u8]) -> Body {
    Body::Empty.instead(Bytes::copy_from_slice(content))
}

fn compressed(coding: Coding, content: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(coding).unwrap();
    let first = encoder.taken(content).unwrap();
    [first, encoder.finish().unwrap()].concat()
}

fn decompressed(coding: Coding, most: Decompress, body: Body) -> Body {
    Body::Decompressed(Box::new(Decompressed::new(coding, most, body).unwrap()))
}

async fn decoded(coding: Coding, most: Decompress, content: &[u8]) -> Result<Vec<u8>, StreamError> {
    read(decompressed(coding, most, whole(content))).await
}

/// Lines that look like each other, and bytes that do not.
fn contents() -> Vec<Vec<u8>> {
    let lines: String = (0..20_000).map(|n| format!("line {n} of many, {}\n", n % 7)).collect();
    vec![
        b"x".to_vec(),
        lines.into_bytes(),
        (0..100_000).map(|_| random::u64() as u8).collect(),
    ]
}

#[tokio::test]
async fn content_comes_back_as_it_was() {
    for coding in Coding::ALL {
        for content in contents() {
            let body = Body::Compressed(Box::new(Compressed::new(coding, whole(&content)).unwrap()));
            assert!(
                read(decompressed(coding, ROOMY, body)).await.unwrap() == content,
                "{coding:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_has_come_can_be_read_before_the_end() {
    for coding in Coding::ALL {
        let mut encoder = Encoder::new(coding).unwrap();
        for event in [&b"data: 1\n\n"[..], b"data: 2\n\n"] {
            let sent = [encoder.taken(event).unwrap(), encoder.flushed().unwrap()].concat();
            assert!(!sent.is_empty(), "{coding:?}");
        }
        // Without its end it is all there, and known to be no whole.
        let mut sent = Encoder::new(coding).unwrap();
        let piece = [sent.taken(b"data: 1\n\n").unwrap(), sent.flushed().unwrap()].concat();
        let mut body = decompressed(coding, ROOMY, whole(&piece));
        let first = poll_fn(|cx| body.poll_frame(cx)).await;
        assert!(
            matches!(&first, Some(Ok(Frame::Data(data))) if data == "data: 1\n\n"),
            "{coding:?}: {first:?}"
        );
        let rest = poll_fn(|cx| body.poll_frame(cx)).await;
        assert!(
            matches!(rest, Some(Err(StreamError::Malformed(_)))),
            "{coding:?}: {rest:?}"
        );
    }
}

#[tokio::test]
async fn what_becomes_too_much_is_refused_long_before_it_is_there() {
    let zeros = vec![0; 8 << 20];
    for coding in Coding::ALL {
        let bomb = compressed(coding, &zeros);
        let refused = |most| async move {
            let mut body = decompressed(coding, most, whole(&compressed(coding, &vec![0; 8 << 20])));
            let mut given = 0;
            loop {
                match poll_fn(|cx| body.poll_frame(cx)).await.unwrap() {
                    Ok(Frame::Data(data)) => given += data.len(),
                    Ok(Frame::Trailers(trailers)) => panic!("{trailers:?}"),
                    Err(StreamError::TooLarge(words)) => return (given, words),
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let (given, words) = refused(Decompress { max_size: 1 << 20, ..ROOMY }).await;
        assert!(
            given <= 1 << 20 && words.contains("max_size"),
            "{coding:?}: {given}, {words}"
        );
        let (given, words) = refused(Decompress { max_ratio: 100, ..ROOMY }).await;
        assert!(
            given <= bomb.len() * 100 + (64 << 10),
            "{coding:?}: {given} of {}",
            bomb.len()
        );
        assert!(words.contains("max_ratio"), "{words}");
        assert!(decoded(coding, ROOMY, &bomb).await.unwrap() == zeros);
        let small = compressed(coding, &[0; 60_000]);
        assert!(
            decoded(coding, Decompress { max_ratio: 1, ..ROOMY }, &small)
                .await
                .is_ok(),
            "{coding:?}"
        );
    }
}

#[tokio::test]
async fn what_is_cut_or_goes_on_is_malformed() {
    for coding in Coding::ALL {
        let good = compressed(coding, b"content, content, content");
        for end in 1..good.len() {
            let cut = decoded(coding, ROOMY, &good[..end]).await;
            assert!(
                matches!(cut, Err(StreamError::Malformed(_))),
                "{coding:?} {end}: {cut:?}"
            );
        }
        let longer = decoded(coding, ROOMY, &[&good[..], b"more than that"].concat()).await;
        assert!(
            matches!(longer, Err(StreamError::Malformed(_))),
            "{coding:?}: {longer:?}"
        );
        let plain = decoded(coding, ROOMY, b"content, content, content").await;
        assert!(matches!(plain, Err(StreamError::Malformed(_))), "{coding:?}: {plain:?}");
    }
}

#[tokio::test]
async fn two_members_are_one_content_where_the_coding_has_them() {
    for (coding, is_good) in [(Coding::Gzip, true), (Coding::Zstd, true), (Coding::Brotli, false)] {
        let both = [compressed(coding, b"one, "), compressed(coding, b"two")].concat();
        let read = decoded(coding, ROOMY, &both).await;
        assert_eq!(read.ok(), is_good.then(|| b"one, two".to_vec()), "{coding:?}");
    }
}

#[test]
fn random_bytes_become_no_more_than_is_allowed() {
    let most = Decompress { max_size: 100_000, max_ratio: 10 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // The first byte tells the coding.
    let mut known = Vec::new();
    for (number, coding) in Coding::ALL.into_iter().enumerate() {
        for content in [&b"a"[..], &b"content, ".repeat(40), &[0; 50_000], &[0; 200_000]] {
            known.push([&[number as u8][..], &compressed(coding, content)].concat());
        }
    }
    random::fuzz_from(&known, |bytes| {
        let Some((number, content)) = bytes.split_first() else {
            return;
        };
        let coding = Coding::ALL[usize::from(*number) % Coding::ALL.len()];
        let read = runtime.block_on(decoded(coding, most, content));
        if let Ok(content) = read {
            assert!(content.len() <= 100_000);
        }
    });
}
