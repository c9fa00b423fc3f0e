//! How content is coded on its way.

use super::ContentType;

/// A coding of content (RFC 9110 section 8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// Every one; of equal value to a client the first.
    pub const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

    /// Its name in fields.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }

    /// That of this name, or of the older one (RFC 9110 section 8.4.1.3). Case does not count.
    pub fn named(name: &[u8]) -> Option<Coding> {
        let is_it = |coding: &Coding| name.eq_ignore_ascii_case(coding.name().as_bytes());
        let found = Coding::ALL.into_iter().find(is_it);
        found.or_else(|| name.eq_ignore_ascii_case(b"x-gzip").then_some(Coding::Gzip))
    }
}

/// Which answers are compressed, and by what.
#[derive(Debug)]
pub struct Compress {
    /// In our order; at least one.
    pub codings: Vec<Coding>,
    /// Any of these.
    pub content_types: Vec<ContentType>,
    /// Bytes of content from which on; one that does not tell its length is compressed.
    pub min_size: u64,
}

/// What compressed requests may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decompress {
    /// Bytes of content.
    pub max_size: u64,
    /// So many times what was sent.
    pub max_ratio: u64,
}
