//! What health checks have found of an endpoint.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[expect(
    clippy::disallowed_types,
    reason = "taken when a check ends and by those who ask what it found; never by an exchange"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// Bytes of words that an endpoint may have chosen.
const MOST_WORDS: usize = 512;

/// What is known by checks alone.
#[derive(Debug, Default)]
pub struct Checked {
    is_ill: AtomicBool,
    /// Why the last check failed, empty: it did not; None: none has ended yet.
    last: Mutex<Option<Box<str>>>,
}

impl Checked {
    /// Whether checks are believed that say so.
    pub fn is_ill(&self) -> bool {
        self.is_ill.load(Relaxed)
    }

    /// Returns whether that is new.
    pub(super) fn set_ill(&self, is_ill: bool) -> bool {
        self.is_ill.swap(is_ill, Relaxed) != is_ill
    }

    /// A check has ended: with an error, or well.
    pub(super) fn note(&self, error: Option<String>) {
        let mut words = error.unwrap_or_default();
        let end = (0..=MOST_WORDS.min(words.len()))
            .rev()
            .find(|&end| words.is_char_boundary(end));
        words.truncate(end.unwrap_or(0));
        *self.last() = Some(words.into());
    }

    /// There is no check any more.
    pub(super) fn forget(&self) {
        *self.last() = None;
    }

    /// Why the last check failed, empty: it did not; None: none has ended yet.
    pub fn error(&self) -> Option<Box<str>> {
        self.last().clone()
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Box<str>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
