//! How content is coded on its way.

use super::{Checked, entry, unspecified};
use crate::proto;
use crate::snapshot::model::{Coding, Compress, Decompress};

pub(super) fn compress(message: proto::Compress) -> Checked<Compress> {
    if message.codings.is_empty() || message.content_types.is_empty() {
        return Err("compress has no coding or no type of content".to_owned());
    }
    let codings = message.codings.iter().map(|number| coding(*number));
    let content_types = message.content_types.iter().map(|text| entry::content_type(text));
    Ok(Compress {
        codings: codings.collect::<Checked<_>>()?,
        content_types: content_types.collect::<Checked<_>>()?,
        min_size: message.min_size,
    })
}

fn coding(number: i32) -> Checked<Coding> {
    match proto::Coding::try_from(number) {
        Ok(proto::Coding::Zstd) => Ok(Coding::Zstd),
        Ok(proto::Coding::Brotli) => Ok(Coding::Brotli),
        Ok(proto::Coding::Gzip) => Ok(Coding::Gzip),
        Ok(proto::Coding::Unspecified) | Err(_) => Err(unspecified("compress.codings", number)),
    }
}

pub(super) fn decompress(message: proto::Decompress) -> Checked<Decompress> {
    match message {
        proto::Decompress { max_size: 0, .. } | proto::Decompress { max_ratio: 0, .. } => {
            Err("decompress takes nothing: max_size and max_ratio are more than 0".to_owned())
        }
        proto::Decompress { max_size, max_ratio } => Ok(Decompress { max_size, max_ratio: max_ratio.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        let with = |codings: &[i32], types: &[&str]| {
            let content_types = types.iter().map(|text| (*text).to_owned()).collect();
            compress(proto::Compress { codings: codings.to_vec(), content_types, min_size: 1 })
        };
        assert_eq!(
            with(&[3, 1], &["text/*"]).unwrap().codings,
            [Coding::Gzip, Coding::Zstd]
        );
        for (codings, types) in [
            (&[][..], &["text/*"][..]),
            (&[1], &[]),
            (&[0], &["text/*"]),
            (&[9], &["text/*"]),
            (&[1], &["x"]),
        ] {
            assert!(with(codings, types).is_err(), "{codings:?} {types:?}");
        }
        let bounded = |max_size, max_ratio| decompress(proto::Decompress { max_size, max_ratio });
        assert!(bounded(1, 1).is_ok() && bounded(0, 1).is_err() && bounded(1, 0).is_err());
    }
}
