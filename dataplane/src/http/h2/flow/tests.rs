//! The rule against a budget of its own and a peer that notes what it is told.

use super::*;

/// What a peer was told.
#[derive(Default)]
struct Told {
    connection: u32,
    streams: u32,
}

impl Windows for Told {
    fn set_connection(&mut self, bytes: u32) {
        self.connection = bytes;
    }

    fn set_streams(&mut self, bytes: u32) -> bool {
        self.streams = bytes;
        true
    }
}

fn budget(limit: u32) -> &'static Budget {
    Box::leak(Box::new(Budget::new(limit.into())))
}

fn taken(budget: &Budget) -> u64 {
    budget.taken.load(Relaxed)
}

fn poll(flow: &mut Flow, told: &mut Told) {
    flow.poll(&mut Context::from_waker(Waker::noop()), told, None, 1);
}

/// A stream on which so many bytes lie.
fn stalled(flow: &Flow, bytes: u32) -> Account {
    let mut account = Account::new(&flow.ledger);
    account.hold(&Bytes::from(vec![0; bytes as usize]));
    account
}

#[test]
fn what_stalled_readers_hold_takes_nothing_from_the_others() {
    let budget = budget(1 << 30);
    let (mut flow, mut told) = (Flow::new(budget, true), Told::default());
    let stalled: Vec<_> = (0..100).map(|_| stalled(&flow, STREAM_WINDOW)).collect();
    poll(&mut flow, &mut told);
    assert!(told.connection >= 100 * STREAM_WINDOW + CONNECTION_WINDOW);

    drop(stalled);
    poll(&mut flow, &mut told);
    assert_eq!((told.connection, taken(budget)), (CONNECTION_WINDOW, 0));
}

#[test]
fn windows_grow_while_few_streams_are_open_and_few_are_opened_when_they_have_grown() {
    let (mut flow, mut told) = (Flow::new(budget(1 << 30), true), Told::default());
    assert_eq!(flow.ledger.max_streams(), 128);
    flow.judge(&mut told, 65, 0, u32::MAX);
    assert_eq!(flow.ledger.window.get(), STREAM_WINDOW);
    flow.judge(&mut told, 64, 0, u32::MAX);
    assert_eq!(
        (flow.ledger.window.get(), flow.ledger.max_streams()),
        (2 * STREAM_WINDOW, 64)
    );
    for _ in 0..100 {
        flow.judge(&mut told, 1, 0, u32::MAX);
    }
    assert_eq!(
        (flow.ledger.window.get(), flow.ledger.max_streams()),
        (*STREAM.end(), 8)
    );
}

#[test]
fn the_driver_is_woken_when_much_is_held_and_not_before() {
    let flow = Flow::new(budget(0), true);
    flow.ledger.watch(&Context::from_waker(Waker::noop()));
    let _few = stalled(&flow, CONNECTION_WINDOW / 4);
    assert!(flow.ledger.driver.borrow().is_some());
    let _more = stalled(&flow, 1);
    assert!(flow.ledger.driver.borrow().is_none());
}

#[test]
fn the_driver_is_woken_again_after_what_woke_it_was_passed_on_before_it_looked() {
    let (mut flow, mut told) = (Flow::new(budget(1 << 30), true), Told::default());
    poll(&mut flow, &mut told);
    let mut passing = stalled(&flow, CONNECTION_WINDOW / 4 + 1);
    assert!(flow.ledger.driver.borrow().is_none());
    passing.release(CONNECTION_WINDOW / 4 + 1);
    poll(&mut flow, &mut told);

    let _stays = stalled(&flow, CONNECTION_WINDOW / 4 + 1);
    assert!(flow.ledger.driver.borrow().is_none(), "woken");
    poll(&mut flow, &mut told);
    assert!(told.connection > CONNECTION_WINDOW, "and made up for");
}

#[test]
fn without_budget_a_client_slows_itself_down_and_a_server_is_still_made_up_for() {
    let budget = budget(CONNECTION_WINDOW);
    for (is_shared, expected) in [(false, 0), (true, 2 * CONNECTION_WINDOW)] {
        let (mut flow, mut told) = (Flow::new(budget, is_shared), Told::default());
        let _stalled = stalled(&flow, CONNECTION_WINDOW + 1);
        poll(&mut flow, &mut told);
        assert!(told.connection >= expected && (is_shared || told.connection == expected));
    }
    assert_eq!(taken(budget), 0, "given back at the end of the connections");
}

#[test]
fn a_window_grows_when_two_thirds_of_it_were_used_in_a_round_trip() {
    let budget = budget(1 << 30);
    let (mut flow, mut told) = (Flow::new(budget, true), Told::default());
    let little = STREAM_WINDOW / 2;
    flow.judge(&mut told, 1, little, little);
    assert_eq!(
        (flow.ledger.window.get(), flow.free, flow.patience),
        (STREAM_WINDOW, CONNECTION_WINDOW, 2)
    );

    let enough = STREAM_WINDOW / 3 * 2;
    flow.judge(&mut told, 1, enough, enough);
    assert_eq!(
        (flow.ledger.window.get(), flow.free, flow.patience),
        (2 * STREAM_WINDOW, CONNECTION_WINDOW, 1)
    );

    for _ in 0..100 {
        flow.judge(&mut told, 1, u32::MAX, u32::MAX);
    }
    assert_eq!(
        (flow.ledger.window.get(), flow.free),
        (*STREAM.end(), *CONNECTION.end())
    );
    assert_eq!((told.connection, taken(budget)), (flow.free, u64::from(flow.taken())));

    poll(&mut flow, &mut told);
    assert_eq!(told.streams, flow.ledger.window.get());

    flow.rest(&mut told);
    poll(&mut flow, &mut told);
    assert_eq!(
        (told.streams, told.connection, taken(budget)),
        (*STREAM.end(), CONNECTION_WINDOW, 0)
    );
}

#[test]
fn windows_stop_growing_when_half_of_the_budget_is_taken() {
    let budget = budget(4 * CONNECTION_WINDOW);
    let (mut flow, mut told) = (Flow::new(budget, false), Told::default());
    budget.take(2 * CONNECTION_WINDOW + 1);
    flow.judge(&mut told, 1, u32::MAX, u32::MAX);
    assert_eq!(
        (flow.ledger.window.get(), flow.free),
        (STREAM_WINDOW, CONNECTION_WINDOW)
    );
    budget.give(CONNECTION_WINDOW + 1);
    flow.judge(&mut told, 1, u32::MAX, u32::MAX);
    assert_eq!(flow.free, 2 * CONNECTION_WINDOW);
}

#[test]
fn only_what_is_passed_on_counts_in_a_round() {
    let flow = Flow::new(budget(0), true);
    let (mut one, mut other) = (stalled(&flow, 1000), stalled(&flow, 1000));
    assert_eq!((flow.ledger.passed.get(), flow.ledger.fastest.get()), (0, 0));
    one.release(600);
    other.release(300);
    assert_eq!((flow.ledger.passed.get(), flow.ledger.fastest.get()), (900, 600));
    flow.ledger.begin_round();
    other.release(300);
    one.release(100);
    assert_eq!((flow.ledger.passed.get(), flow.ledger.fastest.get()), (400, 300));
}
