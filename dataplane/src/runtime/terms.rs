//! TLS of the listeners, kept over snapshots and secrets that change nothing of it.

use std::sync::Arc;

use super::Refused;
use crate::error::Error;
use crate::snapshot::model::Snapshot;
use crate::tls::Secrets;
use crate::tls::server::Terms;
use crate::worker::ListenerTerms;

/// TLS of every listener, as it was where nothing of it has changed; everything that the snapshot names of the secrets must
/// be there.
pub(super) fn of(snapshot: &Snapshot, secrets: &Secrets, before: &ListenerTerms) -> Result<ListenerTerms, Refused> {
    let refused = |what, name: &Arc<str>, place: &str, error: Error| Refused::Identity {
        what,
        name: Arc::clone(name),
        place: place.to_owned(),
        error,
    };
    for cluster in snapshot.clusters.values() {
        if let Some(tls) = &cluster.tls {
            let identity = tls
                .identity
                .as_ref()
                .map_or(Ok(()), |name| secrets.identity(name).map(|_| ()));
            identity
                .and_then(|()| secrets.bundle(&tls.trust_bundle))
                .map_err(|error| refused("cluster", &cluster.name, &cluster.origin.place, error))?;
        }
    }
    let mut all = ListenerTerms::new();
    for listener in &snapshot.listeners {
        if let Some(tls) = &listener.tls {
            let terms = match before.get(&listener.name).filter(|terms| terms.hold(tls, secrets)) {
                Some(terms) => Arc::clone(terms),
                None => {
                    let terms = Terms::new(tls, secrets);
                    Arc::new(terms.map_err(|error| refused("listener", &listener.name, &listener.origin.place, error))?)
                }
            };
            all.insert(Arc::clone(&listener.name), terms);
        }
    }
    Ok(all)
}
