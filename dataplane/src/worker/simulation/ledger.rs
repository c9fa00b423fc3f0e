//! What happened in a simulated world, as those outside the proxy saw it, and what must be true of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::endpoint::{Endpoint, Trouble};
use crate::clock::{self, Instant};
use crate::events::Events;
use crate::proto::event::Kind;

/// Retries in ten seconds that need no requests.
const FLOOR: usize = 30;
/// What was spent fades away over the window of the budget, so that within one window twice as much may go out.
const FADING: usize = 2;
const WINDOW: Duration = Duration::from_secs(10);

/// In the place of an endpoint: whoever it is.
const ALL: usize = usize::MAX;

/// One call of one caller.
#[derive(Debug)]
pub struct Call {
    began: Instant,
    /// How often it ended, and how at last.
    ends: usize,
    end: End,
}

/// How a call ended for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Not yet.
    Open,
    /// With what the endpoint says when all is well.
    Well,
    /// With an error that was told, or by breaking off.
    Badly,
    /// The caller gave up.
    GivenUp,
}

/// A request at an endpoint.
#[derive(Debug)]
struct Arrival {
    call: usize,
    endpoint: usize,
    at: Instant,
    /// What is wrong there.
    trouble: Option<Trouble>,
}

/// When an endpoint may not be asked, from and to; `None`: it lasts.
#[derive(Debug)]
struct Absence {
    endpoint: usize,
    from: Instant,
    to: Option<Instant>,
}

impl Absence {
    /// True when it lasts from one moment to the other.
    fn spans(&self, from: Instant, to: Instant) -> bool {
        self.from < from && self.to.is_none_or(|end| to < end)
    }

    /// True when it has a moment between them.
    fn touches(&self, from: Instant, to: Instant) -> bool {
        self.from <= to && self.to.is_none_or(|end| from <= end)
    }
}

/// All of it, in order.
#[derive(Debug, Default)]
pub struct Ledger {
    calls: Vec<Call>,
    arrivals: Vec<Arrival>,
    absences: Vec<Absence>,
    /// When an ejected endpoint gets no request at all: until the time that was told is over, or it is back.
    ejections: Vec<Absence>,
    /// When an endpoint is out, or may be: until it is back.
    doubts: Vec<Absence>,
    /// When nobody gets a request: until the time that was told is over, or the circuit is closed.
    open: Vec<Absence>,
    /// Where the proxy tells of ejections and circuits, and when it was asked last.
    events: Option<(Arc<Events>, Instant)>,
    /// Believes ten times what is told.
    exaggerates: bool,
}

impl Ledger {
    /// Hears of ejections and circuits from now on.
    pub fn listen(&mut self, events: Arc<Events>, exaggerates: bool) {
        self.events = Some((events, clock::now()));
        self.exaggerates = exaggerates;
    }

    /// Takes what the proxy has told since this was last asked; it happened somewhere in between.
    fn hear(&mut self) {
        let Some((events, asked)) = &mut self.events else {
            return;
        };
        let (before, now) = (std::mem::replace(asked, clock::now()), clock::now());
        let exaggerated = if self.exaggerates { 10 } else { 1 };
        for event in events.poll(usize::MAX, Duration::ZERO).events {
            let told = match event.kind {
                Some(Kind::Ejection(told)) => told,
                Some(Kind::Circuit(told)) => {
                    close(&mut self.open, ALL, now);
                    if !told.cause.is_empty() {
                        let lasts = Duration::from_millis(told.open_ms) * exaggerated;
                        self.open
                            .push(Absence { endpoint: ALL, from: now, to: Some(before + lasts) });
                    }
                    continue;
                }
                _ => continue,
            };
            let endpoint = told.endpoint.parse().expect("endpoints are named by their place");
            close(&mut self.ejections, endpoint, now);
            if told.cause.is_empty() {
                close(&mut self.doubts, endpoint, now);
                continue;
            }
            let lasts = Duration::from_millis(told.ejected_ms) * exaggerated;
            self.ejections
                .push(Absence { endpoint, from: now, to: Some(before + lasts) });
            self.doubts.push(Absence { endpoint, from: before, to: None });
        }
    }

    /// How often an endpoint was ejected, and how often the circuit was opened.
    pub fn failures(&self) -> (usize, usize) {
        (self.ejections.len(), self.open.len())
    }

    /// A call begins; returns its number.
    pub fn begin(&mut self) -> usize {
        self.hear();
        self.calls.push(Call { began: clock::now(), ends: 0, end: End::Open });
        self.calls.len() - 1
    }

    /// A call has ended.
    pub fn end(&mut self, call: usize, end: End) {
        self.calls[call].ends += 1;
        self.calls[call].end = end;
    }

    /// A request has come to an endpoint.
    pub fn arrived(&mut self, path: &str, endpoint: usize, trouble: Option<Trouble>) {
        self.hear();
        let call = number(path).expect("callers send numbers");
        self.arrivals
            .push(Arrival { call, endpoint, at: clock::now(), trouble });
    }

    /// From now on an endpoint may not be asked.
    pub fn leaves(&mut self, endpoint: usize) {
        self.absences.push(Absence { endpoint, from: clock::now(), to: None });
    }

    /// From now on it may.
    pub fn returns(&mut self, endpoint: usize) {
        close(&mut self.absences, endpoint, clock::now());
    }

    /// How many calls there were, and how many ended well.
    pub fn counts(&self) -> (usize, usize) {
        let well = self.calls.iter().filter(|call| call.end == End::Well).count();
        (self.calls.len(), well)
    }

    /// How many requests came to endpoints.
    pub fn arrivals(&self) -> usize {
        self.arrivals.len()
    }

    /// Every call ends once: for its caller, and in the access log of the proxies (`log`, its lines).
    pub fn every_call_ends_once(&self, log: &str) -> Result<(), String> {
        let mut recorded: HashMap<usize, usize> = HashMap::new();
        for line in log.lines() {
            let path = line.split("\"path\":\"").nth(1).and_then(|rest| rest.split('"').next());
            let call = path.and_then(number).ok_or_else(|| format!("no call: {line}"))?;
            *recorded.entry(call).or_default() += 1;
        }
        for (number, call) in self.calls.iter().enumerate() {
            if call.ends != 1 {
                return Err(format!(
                    "call {number} ended {} times for its caller: {call:?}",
                    call.ends
                ));
            }
            let records = recorded.remove(&number).unwrap_or_default();
            // Of one that was given up the proxy may never have heard.
            let expected = if call.end == End::GivenUp { 0..=1 } else { 1..=1 };
            if !expected.contains(&records) {
                return Err(format!("call {number} was recorded {records} times: {call:?}"));
            }
        }
        match recorded.is_empty() {
            true => Ok(()),
            false => Err(format!("records of calls that nobody made: {recorded:?}")),
        }
    }

    /// No call is sent to endpoints more often than it may be.
    pub fn attempts_are_bounded(&self, allowed: usize) -> Result<(), String> {
        let mut sent: HashMap<usize, usize> = HashMap::new();
        for arrival in &self.arrivals {
            let times = sent.entry(arrival.call).or_default();
            *times += 1;
            if *times > allowed {
                return Err(format!("call {} was sent {times} times of {allowed}", arrival.call));
            }
        }
        Ok(())
    }

    /// Among the calls of each window of the budget there are no more retries of what an endpoint had begun to process
    /// than `share`, in thousandths, and the floor.
    pub fn retries_stay_within_budget(&self, share: u32) -> Result<(), String> {
        let mut last: HashMap<usize, &Arrival> = HashMap::new();
        let mut retried = Vec::new();
        for arrival in &self.arrivals {
            let before = last.insert(arrival.call, arrival).and_then(|before| before.trouble);
            // What else may be tried again may also have been unprocessed.
            if matches!(before, Some(Trouble::Fails | Trouble::Hangs)) {
                retried.push(arrival.at);
            }
        }
        for (index, &end) in retried.iter().enumerate() {
            let retries = retried[..=index].iter().filter(|&&at| at + WINDOW > end).count();
            let is_of_it = |call: &&Call| call.began <= end && call.began + WINDOW > end;
            let calls = self.calls.iter().filter(is_of_it).count();
            if retries > FADING * (FLOOR + calls * share as usize / 1000) {
                return Err(format!("{retries} retries within {WINDOW:?}, of {calls} calls"));
            }
        }
        Ok(())
    }

    /// No call that began after an endpoint had left comes there before it has returned.
    pub fn the_absent_are_left_alone(&self) -> Result<(), String> {
        for arrival in &self.arrivals {
            let began = self.calls[arrival.call].began;
            if spanning(&self.absences, arrival.endpoint, began, arrival.at) {
                return Err(format!(
                    "{arrival:?} of a call of {began:?} at an endpoint that had left"
                ));
            }
        }
        Ok(())
    }

    /// No call that began after an endpoint was ejected comes there before its time is over, unless so few are left that
    /// there may be panic.
    pub fn the_ejected_are_left_alone(&self, endpoints: &[Endpoint]) -> Result<(), String> {
        for arrival in &self.arrivals {
            let began = self.calls[arrival.call].began;
            if !spanning(&self.ejections, arrival.endpoint, began, arrival.at) {
                continue;
            }
            let mut priorities = endpoints.iter().map(|endpoint| endpoint.priority);
            if let Some(priority) = priorities.find(|&priority| self.serves(endpoints, priority, began, arrival.at)) {
                return Err(format!(
                    "{arrival:?} of a call of {began:?} at an endpoint that was ejected, and of priority {priority} enough \
                     were not"
                ));
            }
        }
        Ok(())
    }

    /// Nobody of a later priority is asked while enough of an earlier one are available.
    pub fn the_later_are_left_alone(&self, endpoints: &[Endpoint]) -> Result<(), String> {
        for arrival in &self.arrivals {
            let began = self.calls[arrival.call].began;
            let mut earlier = 0..endpoints[arrival.endpoint].priority;
            if earlier.any(|priority| self.serves(endpoints, priority, began, arrival.at)) {
                return Err(format!(
                    "{arrival:?} of a call of {began:?} at an endpoint of a later priority, and enough of the first were there"
                ));
            }
        }
        Ok(())
    }

    /// No call that began after the circuit was opened comes anywhere before its time is over.
    pub fn an_open_circuit_lets_nobody_pass(&self) -> Result<(), String> {
        for arrival in &self.arrivals {
            let began = self.calls[arrival.call].began;
            if spanning(&self.open, ALL, began, arrival.at) {
                return Err(format!("{arrival:?} of a call of {began:?} through an open circuit"));
            }
        }
        Ok(())
    }

    /// Whether half of a priority's endpoints were available all the time, whatever of the others.
    fn serves(&self, endpoints: &[Endpoint], priority: u32, from: Instant, to: Instant) -> bool {
        let of_it = || endpoints.iter().filter(|endpoint| endpoint.priority == priority);
        let is_away = |endpoint: &&Endpoint| spanning(&self.absences, endpoint.index, from, to);
        let is_free = |endpoint: &&Endpoint| {
            let mut out = self.absences.iter().chain(&self.doubts);
            !out.any(|absence| absence.endpoint == endpoint.index && absence.touches(from, to))
        };
        let (free, known) = (
            of_it().filter(is_free).count(),
            of_it().filter(|one| !is_away(one)).count(),
        );
        free > 0 && free * 2 >= known
    }
}

fn close(absences: &mut [Absence], endpoint: usize, at: Instant) {
    let of_it = absences.iter_mut().filter(|absence| absence.endpoint == endpoint);
    for absence in of_it.filter(|absence| absence.to.is_none_or(|to| at < to)) {
        absence.to = Some(at);
    }
}

fn spanning(absences: &[Absence], endpoint: usize, from: Instant, to: Instant) -> bool {
    let mut of_it = absences.iter().filter(|absence| absence.endpoint == endpoint);
    of_it.any(|absence| absence.spans(from, to))
}

/// The call that a path names.
fn number(path: &str) -> Option<usize> {
    path.strip_prefix("/call/")?.parse().ok()
}
