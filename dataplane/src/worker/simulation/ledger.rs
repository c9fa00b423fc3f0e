//! What happened in a simulated world, as those outside the proxy saw it, and what must be true of it.

use std::collections::HashMap;

use crate::clock::{self, Instant};

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
}

/// When an endpoint may not be asked, from and to; `None`: it lasts.
#[derive(Debug)]
struct Absence {
    endpoint: usize,
    from: Instant,
    to: Option<Instant>,
}

/// All of it, in order.
#[derive(Debug, Default)]
pub struct Ledger {
    calls: Vec<Call>,
    arrivals: Vec<Arrival>,
    absences: Vec<Absence>,
}

impl Ledger {
    /// A call begins; returns its number.
    pub fn begin(&mut self) -> usize {
        self.calls.push(Call { began: clock::now(), ends: 0, end: End::Open });
        self.calls.len() - 1
    }

    /// A call has ended.
    pub fn end(&mut self, call: usize, end: End) {
        self.calls[call].ends += 1;
        self.calls[call].end = end;
    }

    /// A request has come to an endpoint.
    pub fn arrived(&mut self, path: &str, endpoint: usize) {
        let call = number(path).expect("callers send numbers");
        self.arrivals.push(Arrival { call, endpoint, at: clock::now() });
    }

    /// From now on an endpoint may not be asked.
    pub fn leaves(&mut self, endpoint: usize) {
        self.absences.push(Absence { endpoint, from: clock::now(), to: None });
    }

    /// From now on it may.
    pub fn returns(&mut self, endpoint: usize) {
        let lasting = self.absences.iter_mut().rev();
        for absence in lasting.filter(|absence| absence.endpoint == endpoint && absence.to.is_none()) {
            absence.to = Some(clock::now());
        }
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

    /// No call that began after an endpoint had left comes there before it has returned.
    pub fn the_absent_are_left_alone(&self) -> Result<(), String> {
        for arrival in &self.arrivals {
            let began = self.calls[arrival.call].began;
            let absent = |absence: &&Absence| {
                absence.endpoint == arrival.endpoint
                    && absence.from < began
                    && absence.to.is_none_or(|to| arrival.at < to)
            };
            if let Some(absence) = self.absences.iter().find(absent) {
                return Err(format!("{arrival:?} of a call of {began:?} during {absence:?}"));
            }
        }
        Ok(())
    }
}

/// The call that a path names.
fn number(path: &str) -> Option<usize> {
    path.strip_prefix("/call/")?.parse().ok()
}
