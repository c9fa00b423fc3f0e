//! May the request come in? What its route and listener ask of it, in the order of what the answers cost.

use http::request::Parts;

use super::Call;
use crate::admission::{self, Asker};
use crate::authenticate::identified::Identified;
use crate::error::Error;
use crate::filter::{alive, entry, front};
use crate::reply::Reply;
use crate::scope::{Caller, Scope, Target};
use crate::telemetry::record::Record;

impl Call {
    /// Answers balancers that ask how we are; sends a request to TLS if it came in the clear and the listener wants none of
    /// that. Fails when its client may not come in.
    pub(super) fn at_the_door(&self, scope: &Scope, parts: &Parts) -> Result<Option<Reply>, Error> {
        if let Some(answer) = alive::answer(scope, parts) {
            return answer.map(Some);
        }
        entry::comes_from(
            scope.sources.as_deref(),
            &scope.lists.borrow(),
            self.record.client_address(),
        )?;
        front::to_https(self.front.as_deref(), parts)
    }

    /// Fails when the request may not come in.
    pub(super) async fn enter(
        &mut self,
        scope: &Scope,
        caller: &Caller,
        target: &Target,
        parts: &Parts,
    ) -> Result<(), Error> {
        admission::spare(self.step, parts)?;
        let route = &*target.route;
        entry::comes_from(
            route.sources.as_deref(),
            &scope.lists.borrow(),
            self.record.client_address(),
        )?;
        if let Some(shape) = &route.shape {
            entry::is_like(shape, parts, self.upload.has_content())?;
        }
        // A request counts once, though another snapshot takes its route away while it waits.
        let is_new = self.admitted.is_none();
        if is_new {
            self.count(target, caller, parts, false)?;
        }
        self.identify(scope, route, parts).await?;
        if is_new {
            self.count_consumer(scope, caller, parts)?;
            self.count(target, caller, parts, true)?;
            if let Some(gate) = &scope.gate {
                let asker = Asker { peer: caller.peer.as_deref(), address: caller.hop.peer, identified: None };
                gate.ask(self.admitted.get_or_insert_default(), asker, parts)?;
            }
        }
        Ok(())
    }

    /// Asks the quotas of the route: before anybody has asked who calls, or those that must know it.
    fn count(&mut self, target: &Target, caller: &Caller, parts: &Parts, is_known: bool) -> Result<(), Error> {
        for meter in target.meters.iter().filter(|meter| meter.needs_caller() == is_known) {
            let asker = asker(&self.record, caller, self.identified.as_deref());
            meter.ask(self.admitted.get_or_insert_default(), asker, parts)?;
        }
        Ok(())
    }

    /// Asks the quota of the consumer that calls.
    fn count_consumer(&mut self, scope: &Scope, caller: &Caller, parts: &Parts) -> Result<(), Error> {
        let identified = self.identified.as_deref();
        let consumer = identified.and_then(|identified| identified.consumer.as_ref());
        if let Some(limit) = consumer.and_then(|consumer| consumer.limit.as_ref()) {
            let asker = asker(&self.record, caller, identified);
            let admitted = self.admitted.get_or_insert_default();
            scope.consumers.ask(limit, admitted, asker, parts)?;
        }
        Ok(())
    }
}

fn asker<'a>(record: &Record, caller: &'a Caller, identified: Option<&'a Identified>) -> Asker<'a> {
    let (peer, address) = (caller.peer.as_deref(), record.client_address());
    Asker { peer, address, identified }.of_network()
}
