//! What is done to a request on purpose, before it is sent anywhere.

use http::request::Parts;

use super::Call;
use crate::clock;
use crate::error::Error;
use crate::filter::fault;
use crate::snapshot::model::Fault;

impl Call {
    /// Does what the fault says; fails when the request goes no further.
    pub(super) async fn inject(&mut self, fault: &Fault, parts: &Parts) -> Result<(), Error> {
        let injected = fault::inject(fault, parts, self.record.client_address(), self.trusted);
        if let Some(delay) = injected.delay {
            self.patiently(Box::pin(clock::sleep(delay)), parts).await?;
        }
        injected.end.map_or(Ok(()), Err)
    }
}
