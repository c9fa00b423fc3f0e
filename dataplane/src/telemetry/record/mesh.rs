//! How what happens to the proxy itself touches an exchange. Only spans tell of it: nobody asks for another exchange.

use super::Record;
use crate::telemetry::finished::Circuits;

impl Record {
    /// Spans are made of it.
    pub fn is_sampled(&self) -> bool {
        self.exchange.sampled().is_some()
    }

    /// How the circuits of its cluster stand.
    pub fn circuits(&mut self, circuits: Circuits) {
        self.exchange.touched.get_or_insert_default().circuits = circuits;
    }

    /// The last attempt took an endpoint out; `span` is that of the ejection in the mesh's trace. 0: it did not.
    pub fn ejected(&mut self, span: u64) {
        if let Some(last) = self.exchange.attempts.last_mut().filter(|_| span != 0) {
            last.ejection = span;
        }
    }

    /// The exchange opened the circuit of its cluster; `span` likewise.
    pub fn tripped(&mut self, span: u64) {
        if span != 0 {
            self.exchange.touched.get_or_insert_default().circuits.trip = span;
        }
    }
}
