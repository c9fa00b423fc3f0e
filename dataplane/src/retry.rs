//! May this request be tried again?

use crate::error::{Again, Error};

/// Tries that one request may have at most, whatever its route says; bounds what is kept about them.
pub const MOST_ATTEMPTS: usize = 8;

/// The attempts of one request.
#[derive(Debug)]
pub struct Attempts {
    tried: [usize; MOST_ATTEMPTS],
    made: usize,
    allowed: usize,
}

impl Attempts {
    /// `allowed` counts the first.
    pub fn new(allowed: u32) -> Self {
        Attempts {
            tried: [0; MOST_ATTEMPTS],
            made: 0,
            allowed: (allowed as usize).clamp(1, MOST_ATTEMPTS),
        }
    }

    /// Endpoints tried so far, by their place in the list.
    pub fn tried(&self) -> &[usize] {
        &self.tried[..self.made]
    }

    /// Counts a try of the endpoint at `index`.
    pub fn made(&mut self, index: usize) {
        if let Some(slot) = self.tried.get_mut(self.made) {
            *slot = index;
            self.made += 1;
        }
    }

    /// True when another try is due: the endpoint did not process the request, it can be sent again, and a try is left.
    pub fn again(&self, error: &Error, can_replay: bool) -> bool {
        error.again == Again::Unprocessed && can_replay && self.made < self.allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    #[test]
    fn only_an_unprocessed_request_is_tried_again_and_only_as_often_as_allowed() {
        let refused = Error::unprocessed(Reason::RefusedStream);
        let mut attempts = Attempts::new(2);
        attempts.made(4);
        assert!(attempts.again(&refused, true));
        assert!(!attempts.again(&refused, false));
        assert!(!attempts.again(&Error::new(Reason::UpstreamReset), true));
        attempts.made(1);
        assert_eq!(attempts.tried(), [4, 1]);
        assert!(!attempts.again(&refused, true));
    }

    #[test]
    fn a_request_has_one_try_at_least_and_a_bounded_number_at_most() {
        let attempts = |allowed| {
            let mut attempts = Attempts::new(allowed);
            attempts.made(0);
            let mut made = 1;
            while attempts.again(&Error::unprocessed(Reason::ConnectFailure), true) {
                attempts.made(0);
                made += 1;
            }
            made
        };
        assert_eq!(attempts(0), 1);
        assert_eq!(attempts(u32::MAX), MOST_ATTEMPTS);
    }
}
