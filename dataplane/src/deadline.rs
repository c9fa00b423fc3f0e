//! How long an exchange may take.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::clock::{self, Instant, Sleep};
use crate::error::{Error, Reason};
use crate::tls::term::Term;

/// When the exchange must be over: the route's timeout after the last progress of the request, so that a long upload has
/// the time it needs, or what the caller asked for, whichever is earlier.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    /// The lives of the connections at both ends.
    client: Option<Term>,
    endpoint: Option<Term>,
    asked: Option<Instant>,
    /// How long that was.
    given: Duration,
    timeout: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// The route's timeout, and the time that the caller gives, which runs on when another route follows.
    pub fn begin(&mut self, timeout: Option<Duration>, asked: Option<Duration>) {
        self.asked = self.asked.or_else(|| asked.map(|asked| clock::now() + asked));
        let given = asked.unwrap_or_default();
        let (client, endpoint) = (self.client.take(), self.endpoint.take());
        *self = Deadline { at: self.asked, client, endpoint, asked: self.asked, given, timeout, timer: None };
        self.progress();
    }

    /// The request has moved on: the route's timeout begins again.
    pub fn progress(&mut self) {
        if let Some(timeout) = self.timeout {
            let at = clock::now() + timeout;
            self.at = Some(self.asked.map_or(at, |asked| asked.min(at)));
        }
    }

    /// No longer than the client's connection may live.
    pub fn of_client(term: Option<Term>) -> Self {
        Deadline { client: term, ..Deadline::default() }
    }

    /// Nor than the endpoint's that it goes by now.
    pub fn endpoint(&mut self, term: Option<Term>) {
        self.endpoint = term;
    }

    /// Takes as long as it likes, but for certificates.
    pub fn lift(&mut self) {
        *self = Deadline {
            client: self.client.take(),
            endpoint: self.endpoint.take(),
            ..Deadline::default()
        };
    }

    /// The time that is left; `None`: no limit.
    pub fn left(&self) -> Option<Duration> {
        self.at.map(|at| at.saturating_duration_since(clock::now()))
    }

    /// The caller's own time has passed but for an eighth: it may measure it a little earlier.
    pub fn is_as_good_as_over(&self) -> bool {
        self.asked
            .is_some_and(|asked| asked.saturating_duration_since(clock::now()) <= self.given / 8)
    }

    /// An endpoint knows the deadline too: when it breaks off at that time, the time is why.
    pub fn explain(&self, error: Error) -> Error {
        match error.reason {
            Reason::UpstreamReset if self.left().is_some_and(|left| left.is_zero()) => Error::new(Reason::Timeout),
            _ => error,
        }
    }

    /// Ready when it is over.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let term = match (&self.client, &self.endpoint) {
            (Some(one), Some(other)) => Some(if one.end() < other.end() { one } else { other }),
            (one, other) => one.as_ref().or(other.as_ref()),
        };
        let certificates = term.map(Term::end);
        let Some(at) = earlier(self.at, certificates) else {
            return Poll::Pending;
        };
        let is_near = self.timeout.is_some_and(|timeout| timeout <= Term::GRACE);
        let look = || match term {
            // It may become shorter meanwhile.
            Some(_) if !is_near => at.min(clock::now() + Term::GRACE),
            _ => at,
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(clock::sleep_until(look())));
        if timer.deadline() > at {
            // A certificate that ends sooner has joined.
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= at {
                return Poll::Ready(match term {
                    Some(term) if term.end() == at => term.over(),
                    _ => Error::new(Reason::Timeout),
                });
            }
            // There was progress meanwhile, or this was a look.
            timer.as_mut().reset(look());
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn over(deadline: &mut Deadline) -> Duration {
        let started = clock::now();
        poll_fn(|cx| deadline.poll(cx)).await;
        clock::now() - started
    }

    async fn is_waiting(deadline: &mut Deadline) -> bool {
        poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_moves_on_has_more_time_and_one_that_stands_still_has_not() {
        let mut deadline = Deadline::default();
        deadline.begin(Some(2 * SECOND), None);
        for _ in 0..5 {
            assert!(is_waiting(&mut deadline).await);
            clock::sleep(SECOND).await;
            deadline.progress();
        }
        assert_eq!(over(&mut deadline).await.as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_outlives_the_certificates() {
        let term = |seconds| Some(Term::until(clock::now() + seconds * SECOND));
        let mut deadline = Deadline::of_client(term(5));
        deadline.begin(Some(9 * SECOND), None);
        assert!(is_waiting(&mut deadline).await);
        deadline.endpoint(term(1));
        deadline.endpoint(term(3));
        let started = clock::now();
        let error = poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(
            (error.reason, (clock::now() - started).as_secs()),
            (Reason::CertificateEnded, 3)
        );

        let mut lifted = Deadline::of_client(term(3));
        lifted.begin(Some(SECOND), None);
        lifted.lift();
        assert_eq!(over(&mut lifted).await.as_secs(), 3);

        let mut sooner = Deadline::of_client(term(3));
        sooner.begin(Some(SECOND), None);
        assert_eq!(poll_fn(|cx| sooner.poll(cx)).await.reason, Reason::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn a_life_that_becomes_shorter_is_noticed_in_time() {
        let term = Term::until(clock::now() + 1000 * SECOND);
        let mut deadline = Deadline::of_client(Some(term.clone()));
        deadline.begin(None, None);
        let cut = async {
            clock::sleep(70 * SECOND).await;
            term.cut("Nobody vouches for it.");
        };
        let started = clock::now();
        let (error, ()) = tokio::join!(poll_fn(|cx| deadline.poll(cx)), cut);
        assert_eq!((clock::now() - started).as_secs(), 100);
        assert_eq!(error.reason, Reason::CertificateEnded);
        assert!(error.to_string().contains("Nobody vouches"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_caller_asked_for_is_no_longer_for_any_progress() {
        let mut deadline = Deadline::default();
        deadline.begin(Some(2 * SECOND), Some(3 * SECOND));
        assert_eq!(deadline.left().map(|left| left.as_secs()), Some(2));
        clock::sleep(SECOND).await;
        deadline.progress();
        clock::sleep(SECOND).await;
        deadline.progress();
        assert!(!deadline.is_as_good_as_over());
        assert_eq!(over(&mut deadline).await.as_secs(), 1);
        assert!(deadline.is_as_good_as_over());
    }
}
