//! How long connections may live: no longer than the certificate at the other end, and not much longer than a root that
//! vouches for it is trusted.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};

use super::peer::Peer;
use super::verify::{self, By, refusal};
use super::{PROVIDER, Secrets, TrustBundle};
use crate::clock::{self, Instant};
use crate::error::{Error, Reason};

/// The life of one connection. It can become shorter, but always leaves [`Term::GRACE`]: who waits for its end and looks
/// at it that often misses nothing.
#[derive(Clone)]
pub struct Term(Rc<Life>);

struct Life {
    /// From then on the connection gets no new request.
    last_call: Cell<Instant>,
    /// Whatever is on it ends.
    end: Cell<Instant>,
    /// Why nobody vouches for the peer any more.
    cut: RefCell<Option<Box<str>>>,
    /// Wants to know of a cut at once.
    waker: RefCell<Option<Waker>>,
    by: By,
    /// The certificates that it has shown, leaf first, and the roots that they were held against.
    chain: Vec<CertificateDer<'static>>,
    bundle: Arc<str>,
}

impl Term {
    /// Time for requests to end, as `--grace` gives them; of a connection that has little left to live a quarter of that.
    pub const GRACE: Duration = Duration::from_secs(30);

    /// From then on its connection gets no new request.
    pub fn last_call(&self) -> Instant {
        self.0.last_call.get()
    }

    /// Whatever is on its connection ends then.
    pub fn end(&self) -> Instant {
        self.0.end.get()
    }

    /// True when no trusted root vouches for the peer any more.
    pub fn is_cut(&self) -> bool {
        self.0.cut.borrow().is_some()
    }

    /// Ready once it was cut. Wants to be polled by one task.
    pub fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_cut() {
            return Poll::Ready(());
        }
        let mut waker = self.0.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Its end is near, for this reason.
    pub fn cut(&self, why: &str) {
        let (now, life) = (clock::now(), &self.0);
        life.last_call.set(now.min(life.last_call.get()));
        life.end.set((now + Term::GRACE).min(life.end.get()));
        *life.cut.borrow_mut() = Some(why.into());
        if let Some(waker) = life.waker.take() {
            waker.wake();
        }
    }

    /// What ends with it.
    pub fn over(&self) -> Error {
        let error = Error::new(Reason::CertificateEnded);
        match &*self.0.cut.borrow() {
            Some(why) => error.because(why),
            None => error,
        }
    }

    fn new(now: Instant, left: Duration, by: By, bundle: Arc<str>, chain: Vec<CertificateDer<'static>>) -> Self {
        // What ends in years does not end in the life of a process; far off a timer would overflow.
        let end = now + left.min(Duration::from_secs(365 * 86400));
        Term(Rc::new(Life {
            last_call: Cell::new(end - Self::GRACE.min(left / 4)),
            end: Cell::new(end),
            cut: RefCell::new(None),
            waker: RefCell::new(None),
            by,
            chain,
            bundle,
        }))
    }

    /// One that ends then.
    #[cfg(test)]
    pub fn until(end: Instant) -> Self {
        Term::new(clock::now(), end - clock::now(), By::Client, "mesh".into(), Vec::new())
    }
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term").field("end", &self.end()).finish_non_exhaustive()
    }
}

impl Life {
    /// Says why, when these roots do not vouch for its peer.
    fn judge(&self, bundle: &TrustBundle) -> Result<(), String> {
        let Some((leaf, intermediates)) = self.chain.split_first() else {
            return Ok(());
        };
        let judge = |at| match self.by {
            By::Client => WebPkiClientVerifier::builder_with_provider(Arc::clone(&bundle.roots), Arc::clone(&PROVIDER))
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?
                .verify_client_cert(leaf, intermediates, at)
                .map(|_| ()),
            By::Server => {
                let algorithms = PROVIDER.signature_verification_algorithms.all;
                let leaf = ParsedCertificate::try_from(leaf)?;
                verify_server_cert_signed_by_trust_anchor(&leaf, &bundle.roots, intermediates, at, algorithms)
            }
        };
        let now = UnixTime::since_unix_epoch(Duration::from_nanos(clock::unix_nanos()));
        let expected = || "a peer of an authority that is still trusted".to_owned();
        verify::chain(leaf, now, expected, judge)
            .map_err(|error| refusal(&error).map_or_else(|| error.to_string(), ToString::to_string))
    }
}

/// A peer that has proved who it is, at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Verified {
    /// See [`Peer::uri`].
    pub uri: Arc<str>,
    /// How long the connection may live.
    pub term: Term,
}

/// One worker's key material, and the terms of the connections that it was used for.
#[derive(Debug, Default)]
pub struct Trust {
    secrets: RefCell<Arc<Secrets>>,
    terms: RefCell<Vec<Weak<Life>>>,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").finish_non_exhaustive()
    }
}

impl Trust {
    /// The material that is in force.
    pub fn secrets(&self) -> Arc<Secrets> {
        Arc::clone(&self.secrets.borrow())
    }

    /// From now on; peers that a removed root alone has vouched for are let go.
    pub fn change(&self, secrets: Arc<Secrets>) {
        let before = self.secrets.replace(secrets);
        let secrets = self.secrets();
        let poorer = |bundle: &&TrustBundle| before.bundle(&bundle.name).is_ok_and(|held| bundle.lacks_root_of(held));
        let bundles: HashMap<_, _> = secrets
            .bundles
            .values()
            .filter(poorer)
            .map(|bundle| (Arc::clone(&bundle.name), bundle.clone()))
            .collect();
        if bundles.is_empty() {
            return;
        }
        let open = self.terms.borrow().iter().filter_map(Weak::upgrade).map(Term).collect();
        tokio::task::spawn_local(review(open, bundles));
    }

    /// Of a connection that a client has opened, whose chain `bundle` has vouched for.
    pub fn of_client(&self, peer: &Peer, bundle: &Arc<str>, chain: Vec<CertificateDer<'static>>) -> Verified {
        self.verified(peer, By::Client, bundle, chain)
    }

    /// Of a connection to an endpoint.
    pub fn of_endpoint(&self, peer: &Peer, bundle: &Arc<str>, chain: Vec<CertificateDer<'static>>) -> Verified {
        self.verified(peer, By::Server, bundle, chain)
    }

    /// How many terms are held, over or not.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.terms.borrow().len()
    }

    fn verified(&self, peer: &Peer, by: By, bundle: &Arc<str>, chain: Vec<CertificateDer<'static>>) -> Verified {
        let term = Term::new(clock::now(), peer.left(), by, Arc::clone(bundle), chain);
        let mut terms = self.terms.borrow_mut();
        if terms.len() == terms.capacity() {
            // What is gone makes room; where little is, the list doubles.
            terms.retain(|life| life.strong_count() > 0);
        }
        terms.push(Rc::downgrade(&term.0));
        Verified { uri: Arc::clone(&peer.uri), term }
    }
}

/// Cuts what no root vouches for any more. Each chain is verified once, and others work between two of them.
async fn review(open: Vec<Term>, bundles: HashMap<Arc<str>, TrustBundle>) {
    let mut known = HashMap::new();
    for term in &open {
        let Term(life) = term;
        let Some(bundle) = bundles.get(&life.bundle) else {
            continue;
        };
        let shown = (life.by, &bundle.name, &life.chain);
        if let Entry::Vacant(place) = known.entry(shown) {
            place.insert(life.judge(bundle));
            tokio::task::yield_now().await;
        }
        if let Some(Err(why)) = known.get(&shown) {
            term.cut(why);
        }
    }
}
