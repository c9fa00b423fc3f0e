//! The rules that a listener's callers stand under now, and all who go on by them: each is judged again when they change.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::request::Parts;

use crate::authorize::{judge, service, would_refuse};
use crate::error::Error;
use crate::snapshot::authorization::Authorization;

/// Of one listener of one worker.
#[derive(Debug, Default)]
pub struct Standing {
    /// None: whoever has come in may call.
    rules: RefCell<Option<Arc<Authorization>>>,
    /// Moves with every change of the rules.
    generation: Cell<u64>,
    /// Places of those who go on; free ones are reused.
    waiting: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<u32>>,
}

impl Standing {
    /// From now on these rules hold; everybody who goes on is judged by them.
    pub fn change(&self, rules: Option<Arc<Authorization>>) {
        if rules.is_none() && self.rules.borrow().is_none() {
            return;
        }
        *self.rules.borrow_mut() = rules;
        self.generation.set(self.generation.get() + 1);
        for waker in self.waiting.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// The caller to whom a candidate would refuse this, if one would.
    pub fn would_refuse(&self, peer: Option<&str>, request: Option<&Parts>) -> Option<Box<str>> {
        let rules = self.rules.borrow();
        let (rules, peer) = (rules.as_ref()?, peer?);
        let is_refused = !rules.candidates.is_empty() && would_refuse(rules, peer, request);
        is_refused.then(|| service(peer, &rules.trust_domain).unwrap_or(peer).into())
    }

    fn judge(&self, peer: Option<&str>, request: Option<&Parts>) -> Result<(), Error> {
        match &*self.rules.borrow() {
            Some(rules) => judge(rules, peer, request),
            None => Ok(()),
        }
    }

    fn wait(&self, waker: &Waker) -> u32 {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(place) = self.free.borrow_mut().pop() {
            waiting[place as usize] = Some(waker.clone());
            return place;
        }
        waiting.push(Some(waker.clone()));
        (waiting.len() - 1) as u32
    }

    fn go(&self, place: u32) {
        self.waiting.borrow_mut()[place as usize] = None;
        self.free.borrow_mut().push(place);
    }
}

/// One request's, or one connection's, leave to go on.
#[derive(Debug)]
pub struct Leave {
    standing: Rc<Standing>,
    peer: Option<Arc<str>>,
    generation: u64,
    place: Option<u32>,
}

impl Leave {
    /// Asks for it. `request`: `None` for a connection whose bytes nobody reads.
    pub fn ask(standing: &Rc<Standing>, peer: Option<&Arc<str>>, request: Option<&Parts>) -> Result<Leave, Error> {
        standing.judge(peer.map(|peer| &**peer), request)?;
        Ok(Leave {
            standing: Rc::clone(standing),
            peer: peer.cloned(),
            generation: standing.generation.get(),
            place: None,
        })
    }

    /// Ready, with the reason, when it is taken away. Wants to be polled by one task with the request of `ask`.
    pub fn poll(&mut self, cx: &mut Context<'_>, request: Option<&Parts>) -> Poll<Error> {
        let generation = self.standing.generation.get();
        if generation != self.generation {
            self.generation = generation;
            if let Err(error) = self.standing.judge(self.peer.as_deref(), request) {
                return Poll::Ready(error);
            }
        }
        if self.place.is_none() {
            self.place = Some(self.standing.wait(cx.waker()));
        }
        Poll::Pending
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.standing.go(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::future::poll_fn;

    use super::*;
    use crate::snapshot::authorization::{RuleSet, Verdict};

    const WEB: &str = "spiffe://mesh.local/ns/default/dc/dc1/svc/web";

    fn everybody(allow: bool) -> Option<Arc<Authorization>> {
        let otherwise = Verdict { allow, by: "the default".into() };
        let set = RuleSet { by_source: HashMap::new(), by_others: Vec::new(), otherwise };
        Some(Arc::new(Authorization {
            trust_domain: "mesh.local".into(),
            rule_sets: vec![set],
            candidates: Vec::new(),
            nameless: false,
        }))
    }

    #[tokio::test]
    async fn who_goes_on_is_woken_and_judged_again() {
        let local = tokio::task::LocalSet::new();
        let standing = Rc::new(Standing::default());
        let web: Arc<str> = WEB.into();
        let mut leave = Leave::ask(&standing, Some(&web), None).unwrap();
        let going_on = local.spawn_local(async move { poll_fn(|cx| leave.poll(cx, None)).await });
        local
            .run_until(async {
                for allow in [None, everybody(true), everybody(true)] {
                    standing.change(allow);
                    tokio::task::yield_now().await;
                    assert!(!going_on.is_finished());
                }
                standing.change(everybody(false));
                let error = going_on.await.unwrap();
                assert!(error.to_string().contains("refused by the default"), "{error}");
            })
            .await;
        assert!(Leave::ask(&standing, Some(&web), None).is_err());
        standing.change(None);
        assert!(Leave::ask(&standing, Some(&web), None).is_ok());
    }

    #[tokio::test]
    async fn the_places_of_those_who_are_done_are_used_again() {
        let standing = Rc::new(Standing::default());
        for _ in 0..3 {
            let leaves: Vec<_> = (0..4).map(|_| Leave::ask(&standing, None, None).unwrap()).collect();
            for mut leave in leaves {
                assert!(poll_fn(|cx| Poll::Ready(leave.poll(cx, None))).await.is_pending());
            }
        }
        assert_eq!((standing.waiting.borrow().len(), standing.free.borrow().len()), (1, 1));
    }
}
