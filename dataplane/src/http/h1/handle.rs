//! What reaches a connection for the time of one exchange, and nothing after it.

use std::cell::RefCell;
use std::rc::Rc;

/// A connection that numbers its exchanges.
pub(super) trait Exchanges {
    /// The number of the current one.
    fn exchange(&self) -> u64;
}

/// One exchange's way to its connection.
#[derive(Debug)]
pub(super) struct Handle<W> {
    wire: Rc<RefCell<W>>,
    exchange: u64,
}

impl<W: Exchanges> Handle<W> {
    /// For the exchange numbered `exchange`.
    pub(super) fn new(wire: &Rc<RefCell<W>>, exchange: u64) -> Self {
        Handle { wire: Rc::clone(wire), exchange }
    }

    /// Another one for the same exchange.
    pub(super) fn again(&self) -> Self {
        Handle::new(&self.wire, self.exchange)
    }

    /// Does `act`, or `otherwise` when the exchange is over.
    pub(super) fn with<T>(&self, otherwise: impl FnOnce() -> T, act: impl FnOnce(&mut W) -> T) -> T {
        let mut wire = self.wire.borrow_mut();
        if wire.exchange() == self.exchange {
            act(&mut wire)
        } else {
            otherwise()
        }
    }
}
