//! Whom a request can go to at all: by priority, health, and when nearly nobody is left, panic.

use std::sync::Arc;

use crate::cluster::Endpoint;
use crate::telemetry::finished::Candidates;

/// The endpoints of one priority that can be picked.
#[derive(Debug)]
pub struct Tier {
    /// By their places in the list, in order.
    pub indices: Vec<usize>,
    /// The ejected ones, of it and of those before it, of all when there is panic: a request can bring them back.
    pub ejected: Vec<usize>,
    /// The same for records.
    pub candidates: Candidates,
}

impl Tier {
    /// The first priority of which at least `threshold` per cent are available; those count that discovery and their
    /// health checks call well. When there is none, what was taken out here is picked all the same: most of it is rather
    /// not broken, and those that are left would not bear the load of all. So are those whose checks fail, when all do.
    /// `ejects`: who is ejected is not available.
    pub fn choose(endpoints: &[Arc<Endpoint>], threshold: u32, ejects: bool) -> Tier {
        let is_ejected = |endpoint: &Endpoint| ejects && endpoint.counts.circuit.is_open();
        let counted = Counted::of(endpoints);
        let mut priorities: Vec<u32> = counted.all.iter().map(|(_, endpoint)| endpoint.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let of = |priority| {
            counted
                .all
                .iter()
                .filter(move |(_, endpoint)| endpoint.priority == priority)
        };
        for &priority in &priorities {
            let is_available = |endpoint: &Endpoint| !endpoint.counts.is_out() && !is_ejected(endpoint);
            let available = of(priority).filter(|(_, endpoint)| is_available(endpoint));
            let indices: Vec<usize> = available.map(|&(index, _)| index).collect();
            if !indices.is_empty() && indices.len() * 100 >= of(priority).count() * threshold as usize {
                return Tier::new(&counted, indices, is_ejected, (priority, counted.is_nobody_well));
            }
        }
        let first = priorities.first().copied().unwrap_or(0);
        let indices: Vec<usize> = of(first).map(|&(index, _)| index).collect();
        let is_panic = !indices.is_empty();
        Tier::new(&counted, indices, is_ejected, (first, is_panic))
    }

    fn new(
        counted: &Counted<'_>,
        indices: Vec<usize>,
        is_ejected: impl Fn(&Endpoint) -> bool,
        (priority, is_panic): (u32, bool),
    ) -> Tier {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut ejected: Vec<(usize, &Endpoint)> = counted.all.clone();
        ejected.retain(|(_, endpoint)| is_ejected(endpoint));
        let candidates = Candidates {
            total: count(counted.total),
            healthy: count(indices.len()),
            ejected: count(ejected.len()),
            ill: count(counted.ill),
            priority,
            is_panic,
        };
        ejected.retain(|(_, endpoint)| is_panic || (endpoint.priority <= priority && !endpoint.counts.is_out()));
        let ejected = ejected.into_iter().map(|(index, _)| index).collect();
        Tier { indices, ejected, candidates }
    }

    /// For each of so many endpoints, whether it can be picked.
    pub fn marks(&self, count: usize) -> Vec<bool> {
        let mut marks = vec![false; count];
        self.indices.iter().for_each(|&index| marks[index] = true);
        marks
    }
}

/// Those of a list that count, with their places.
struct Counted<'a> {
    /// In order.
    all: Vec<(usize, &'a Endpoint)>,
    /// How many the list has.
    total: usize,
    /// Those whose health checks fail.
    ill: usize,
    /// They are all that discovery calls healthy: then they count.
    is_nobody_well: bool,
}

impl<'a> Counted<'a> {
    fn of(endpoints: &'a [Arc<Endpoint>]) -> Self {
        let all = endpoints.iter().map(|endpoint| &**endpoint).enumerate();
        let known: Vec<(usize, &Endpoint)> = all.filter(|(_, endpoint)| endpoint.healthy).collect();
        let mut well = known.clone();
        well.retain(|(_, endpoint)| !endpoint.counts.check.is_ill());
        let ill = known.len() - well.len();
        let is_nobody_well = well.is_empty() && ill > 0;
        let all = if is_nobody_well { known } else { well };
        Counted { all, total: endpoints.len(), ill, is_nobody_well }
    }
}
