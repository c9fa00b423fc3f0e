//! What is changed in the fields of requests and answers.

use http::{HeaderName, HeaderValue};

/// One change; none is of a field that frames a message or is of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderChange {
    /// The field.
    pub name: HeaderName,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is the one field of its name, with this value.
    Set(HeaderValue),
    /// One more of its name.
    Add(HeaderValue),
    /// None of its name is left.
    Remove,
}
