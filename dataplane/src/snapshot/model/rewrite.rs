//! What a route changes in the path and the host of its requests.

use http::uri::Authority;
use regex::Regex;

/// At least one of the two changes.
#[derive(Debug)]
pub struct Rewrite {
    /// None: the path stays.
    pub path: Option<PathChange>,
    /// None: the host stays.
    pub host: Option<HostChange>,
}

/// How the path changes; the query stays.
#[derive(Debug)]
pub enum PathChange {
    /// What the match's prefix or exact path matched becomes this.
    Prefix(Box<str>),
    /// The first segments become this.
    Template {
        /// One after the other.
        parts: Vec<Part>,
        /// How many segments; None: all.
        replaced: Option<usize>,
    },
    /// Parts of it become others.
    Substitution {
        /// Which parts.
        pattern: Regex,
        /// What each becomes; its groups are those of the pattern.
        parts: Vec<Part>,
    },
}

/// How the host changes.
#[derive(Debug)]
pub enum HostChange {
    /// It is always this one.
    Fixed(Authority),
    /// It is made of parameters of the match.
    Made(Vec<Part>),
}

/// A piece of what is made.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// As it stands here.
    Text(Box<str>),
    /// The parameter of the match, or the group of the pattern, of this number.
    Value(usize),
}
