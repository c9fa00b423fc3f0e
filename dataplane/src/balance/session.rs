//! Sticky sessions: a cookie leads a client back to the endpoint that it had.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cluster::Endpoint;
use crate::hashing;

/// What a cookie says of an endpoint: a hash of its name, which tells nobody its address.
pub fn digest(endpoint: &Endpoint) -> u64 {
    hashing::hash(endpoint.id.as_bytes())
}

/// The endpoints that can be picked, by digest.
#[derive(Debug)]
pub struct Sessions(HashMap<u64, usize>);

impl Sessions {
    /// Of the endpoints at `indices`.
    pub fn of(indices: &[usize], endpoints: &[Arc<Endpoint>]) -> Self {
        Sessions(
            indices
                .iter()
                .map(|&index| (digest(&endpoints[index]), index))
                .collect(),
        )
    }

    /// Whom a session is with; `None`: he cannot be picked now.
    pub fn find(&self, session: u64) -> Option<usize> {
        self.0.get(&session).copied()
    }
}
