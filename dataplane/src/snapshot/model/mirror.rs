//! Copies of requests.

use std::sync::Arc;

/// Who gets copies of requests.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Key of `Snapshot::clusters`; it takes requests.
    pub cluster: Arc<str>,
    /// In millionths.
    pub share: u32,
}
