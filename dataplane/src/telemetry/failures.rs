//! The last failures, kept to be asked for.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::bounded::cut;
use super::finished::{Attempt, Finished};
use crate::proto;

#[expect(
    clippy::disallowed_types,
    reason = "taken by readers; exchanges push into the queue beside it"
)]
type Mutex<T> = std::sync::Mutex<T>;

/// Bytes of a value that a caller chooses.
const MAX_VALUE: usize = 4096;

/// Exchanges push without waiting; the newest push out the oldest.
#[derive(Debug)]
pub struct Failures {
    arriving: ArrayQueue<Arc<Finished>>,
    kept: Mutex<VecDeque<Arc<Finished>>>,
}

impl Failures {
    /// Keeps `capacity`, at least one.
    pub fn new(capacity: usize) -> Self {
        Failures { arriving: ArrayQueue::new(capacity.max(1)), kept: Mutex::default() }
    }

    /// Keeps one more.
    pub fn push(&self, failure: Arc<Finished>) {
        self.arriving.force_push(failure);
    }

    /// The newest first, at most `limit`; 0 = all.
    pub fn read(&self, limit: usize) -> Vec<proto::Failure> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        self.newest(limit).iter().map(|failure| explain(failure)).collect()
    }

    fn newest(&self, limit: usize) -> Vec<Arc<Finished>> {
        // A panic while it was held cannot leave the deque half changed.
        let mut kept = self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // No more than arrived until now: pushing goes on.
        for _ in 0..self.arriving.len() {
            kept.extend(self.arriving.pop());
        }
        let surplus = kept.len().saturating_sub(self.arriving.capacity());
        kept.drain(..surplus);
        kept.iter().rev().take(limit).cloned().collect()
    }
}

fn explain(failure: &Finished) -> proto::Failure {
    let context = failure.context.as_ref();
    proto::Failure {
        unix_nanos: failure.started_unix_nanos,
        request_id: failure.request_id.to_string(),
        trace_id: context.map_or_else(String::new, |context| format!("{:032x}", context.trace_id)),
        method: match failure.tcp {
            true => String::new(),
            false => cut(failure.method.as_str(), MAX_VALUE).to_owned(),
        },
        authority: cut(&failure.authority(), MAX_VALUE).to_owned(),
        path: cut(failure.uri.path(), MAX_VALUE).to_owned(),
        status: failure.status.map_or(0, |status| u32::from(status.as_u16())),
        grpc_status: failure.grpc_status.map_or("", |status| status.name()).to_owned(),
        reason: failure.reason.map_or("", |reason| reason.name()).to_owned(),
        detail: detail(failure),
        route: failure.route_name().to_owned(),
        cluster: failure.cluster_name().to_owned(),
        attempts: failure.attempts.iter().map(attempt).collect(),
        candidates_total: failure.candidates.total,
        candidates_healthy: failure.candidates.healthy,
        candidates_ejected: failure.candidates.ejected,
        candidates_ill: failure.candidates.ill,
        candidates_priority: failure.candidates.priority,
        candidates_panic: failure.candidates.is_panic,
        origin: failure
            .route
            .as_ref()
            .map_or_else(String::new, |route| route.origin.place.to_string()),
        duration_us: u64::try_from(failure.duration.as_micros()).unwrap_or(u64::MAX),
    }
}

/// The reason's sentence, the particulars, what to look at next.
fn detail(failure: &Finished) -> String {
    let Some(reason) = failure.reason else {
        return String::new();
    };
    match &failure.detail {
        Some(detail) => format!(
            "{} {} {}",
            reason.sentence(),
            cut(detail, MAX_VALUE),
            reason.next_step()
        ),
        None => format!("{} {}", reason.sentence(), reason.next_step()),
    }
}

fn attempt(attempt: &Attempt) -> proto::Attempt {
    proto::Attempt {
        endpoint: attempt.endpoint.to_string(),
        why: attempt.why.map_or("", |reason| reason.name()).to_owned(),
        duration_us: u64::try_from(attempt.duration().as_micros()).unwrap_or(u64::MAX),
    }
}
