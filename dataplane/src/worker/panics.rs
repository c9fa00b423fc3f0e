//! A mistake of ours ends the task in which it shows, and with it one connection or stream; it is counted and told.

use std::cell::RefCell;
use std::sync::{Arc, Once};

use crate::events::Events;
use crate::proto::{self, event::Kind};
use crate::telemetry::Hub;

thread_local! {
    /// Where panics of this thread are counted; only workers have it.
    static PANICS: RefCell<Option<(Arc<Hub>, Arc<Events>)>> = const { RefCell::new(None) };
}

/// Counts the panics of this thread's tasks from now on.
pub fn report(hub: &Arc<Hub>, events: &Arc<Events>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow(|reported| {
                if let Some((hub, events)) = reported {
                    hub.panicked();
                    events.push(Kind::Panicked(proto::Panicked { message: panic.to_string() }));
                }
            });
            before(panic);
        }));
    });
    PANICS.set(Some((Arc::clone(hub), Arc::clone(events))));
}
