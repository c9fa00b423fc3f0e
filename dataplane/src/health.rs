//! Endpoints are asked whether they are well, whether requests go there or not.
//!
//! A check belongs to one of the workers, whatever cluster or list mentions its endpoint, and what it finds stands in the
//! endpoint's [`Counts`](crate::cluster::Counts) for all of them: balancing takes it as it takes discovery's word, and
//! both must be good. An endpoint whose first check has not ended yet counts as well; from then on so many checks in a
//! row have to say the same before they are believed.

mod probe;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use self::probe::Probe;
use crate::clock;
use crate::cluster::{Counts, Endpoint};
use crate::events::Events;
use crate::proto::{self, event::Kind};
use crate::random;
use crate::snapshot::model::{Cluster, HealthCheck};
use crate::upstream::Upstream;

/// The first check comes within this, so that a list that arrives does not make them all at once.
const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// A check comes a tenth of the interval earlier or later.
const JITTER: u32 = 10;

/// The checks of one worker.
#[derive(Debug)]
pub struct Checks {
    /// This worker's place, and how many there are.
    share: (u64, u64),
    events: Arc<Events>,
    /// By the address of the endpoint's counts, which they hold.
    running: HashMap<*const Counts, Running>,
}

#[derive(Debug)]
struct Running {
    /// Its settings stand there; another cluster that mentions the endpoint has the same.
    config: Arc<Cluster>,
    counts: Arc<Counts>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// None yet; of all checks every `of`-th is this worker's.
    pub fn new((index, of): (u32, u32), events: Arc<Events>) -> Self {
        Checks { share: (index.into(), of.max(1).into()), events, running: HashMap::new() }
    }

    /// Checks the endpoints of these clusters from now on, and no others; of a cluster whose list nobody follows none. One
    /// that goes on is not disturbed.
    pub fn follow<'a>(&mut self, upstreams: impl Iterator<Item = &'a Rc<Upstream>>) {
        let mut checked: Vec<&Rc<Upstream>> = upstreams
            .filter(|upstream| upstream.config.check.is_some() && upstream.is_warm())
            .collect();
        if checked.is_empty() && self.running.is_empty() {
            return;
        }
        // Of clusters that share an endpoint always the same one has its check.
        checked.sort_unstable_by(|a, b| a.config.name.cmp(&b.config.name));
        let mut before = std::mem::take(&mut self.running);
        for upstream in checked {
            for endpoint in &upstream.members().endpoints {
                let key = Arc::as_ptr(&endpoint.counts);
                if !self.is_ours(endpoint) || self.running.contains_key(&key) {
                    continue;
                }
                let kept = before
                    .remove(&key)
                    .filter(|running| is_same_check(&running.config, &upstream.config));
                let running = kept.unwrap_or_else(|| self.start(upstream, endpoint));
                self.running.insert(key, running);
            }
        }
        for ended in before.into_values() {
            if !self.running.contains_key(&Arc::as_ptr(&ended.counts)) {
                ended.counts.unchecked();
            }
        }
    }

    fn is_ours(&self, endpoint: &Endpoint) -> bool {
        let mut hasher = DefaultHasher::new();
        endpoint.address.hash(&mut hasher);
        let (index, of) = self.share;
        hasher.finish() % of == index
    }

    fn start(&self, upstream: &Rc<Upstream>, endpoint: &Arc<Endpoint>) -> Running {
        let (config, counts) = (Arc::clone(&upstream.config), Arc::clone(&endpoint.counts));
        let watch = Watch {
            probe: Probe::new(upstream, endpoint),
            config: Arc::clone(&config),
            endpoint: Arc::clone(endpoint),
            events: Arc::clone(&self.events),
        };
        let task = tokio::task::spawn_local(watch.run()).abort_handle();
        Running { config, counts, task }
    }
}

/// Whether a check that goes on for `before` is what `after` wants.
fn is_same_check(before: &Arc<Cluster>, after: &Arc<Cluster>) -> bool {
    let settings = |config: &Cluster| {
        (
            config.check.clone(),
            config.protocol,
            config.tls.clone(),
            config.connect_timeout,
        )
    };
    Arc::ptr_eq(before, after) || settings(before) == settings(after)
}

/// The check of one endpoint.
struct Watch {
    probe: Probe,
    config: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
    events: Arc<Events>,
}

impl Watch {
    async fn run(self) {
        let Some(check) = self.config.check.clone() else {
            return;
        };
        clock::sleep(part_of(check.interval.min(FIRST_WITHIN))).await;
        let mut streak = Streak::default();
        loop {
            let found = self.probe.ask(&check).await;
            if let Some(found) = found {
                let changed = streak.says(&check, found.is_ok());
                self.note(found.err(), changed);
            }
            let tenth = check.interval / JITTER;
            clock::sleep(check.interval - tenth + part_of(2 * tenth)).await;
        }
    }

    /// `changed`: what is believed from now on; None: what was believed before.
    fn note(&self, error: Option<String>, changed: Option<bool>) {
        let cause = error.clone().unwrap_or_default();
        if self.endpoint.counts.checked(error, changed.map(|is_well| !is_well)) {
            self.events.push(Kind::Health(proto::Health {
                cluster: self.config.name.to_string(),
                endpoint: self.endpoint.id.to_string(),
                address: self.endpoint.label.to_string(),
                cause,
            }));
        }
    }
}

/// How many checks in a row have said the same.
#[derive(Debug, Default)]
struct Streak {
    /// What is believed; None: nothing yet.
    believed: Option<bool>,
    /// Checks that said otherwise.
    others: u32,
}

impl Streak {
    /// One more has said that it `is_well`; returns what is believed from now on, if that is new.
    fn says(&mut self, check: &HealthCheck, is_well: bool) -> Option<bool> {
        if self.believed == Some(is_well) {
            self.others = 0;
            return None;
        }
        self.others += 1;
        let enough = match (self.believed, is_well) {
            (None, _) => 1,
            (_, true) => check.healthy_threshold,
            (_, false) => check.unhealthy_threshold,
        };
        if self.others < enough {
            return None;
        }
        *self = Streak { believed: Some(is_well), others: 0 };
        self.believed
    }
}

fn part_of(most: Duration) -> Duration {
    Duration::from_nanos(random::part_of(most.as_nanos() as u64))
}
