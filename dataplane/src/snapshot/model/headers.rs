//! What is changed in the fields of requests and answers.

use http::HeaderName;

use super::template::Change;

/// One change; none is of a field that frames a message or is of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderChange {
    /// The field.
    pub name: HeaderName,
    /// What becomes of it.
    pub change: Change,
}
