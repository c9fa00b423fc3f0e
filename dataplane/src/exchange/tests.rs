//! The size of an exchange.

use super::*;

fn size_of_future<F>(_: impl FnOnce(Rc<Scope>, Rc<Caller>, Request<()>, Body, Responder, Step) -> F) -> usize {
    std::mem::size_of::<F>()
}

#[test]
fn an_exchange_stays_small() {
    // Each stream is one task of this size; 256 of them should leave room in a core's second-level cache.
    let size = size_of_future(exchange);
    assert!(size <= 2560, "an exchange takes {size} bytes");
}
