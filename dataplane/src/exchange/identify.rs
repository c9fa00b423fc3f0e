//! Who calls, and may that one use the route?

use http::request::Parts;

use super::Call;
use crate::authenticate::access;
use crate::error::Error;
use crate::scope::Scope;
use crate::snapshot::model::Route;

impl Call {
    /// Finds out by the credentials that the request shows, where the route asks. Fails when nobody may come in with them.
    pub(super) async fn identify(&mut self, scope: &Scope, route: &Route, parts: &Parts) -> Result<(), Error> {
        // What an earlier snapshot's route has asked is not this one's.
        self.identified = None;
        if let Some(asked) = &route.authentication {
            if let Some(check) = scope.callers.pending(asked, parts)? {
                // Boxed, as every rare wait. What it has found is known from then on.
                let _known = self.patiently(Box::pin(check), parts).await?;
            }
            let identified = scope.callers.identify(asked, parts)?;
            if let Some(consumer) = &identified.consumer {
                self.record.consumer(&consumer.name);
            }
            self.identified = Some(Box::new(identified));
        }
        match &route.access {
            Some(access) => access::allow(access, self.identified.as_deref()),
            None => Ok(()),
        }
    }
}
