use std::time::Duration;

use super::*;
use crate::snapshot::model::{BucketRate, WindowRate};

const MILLI: u64 = NANOS_PER_MILLI;
/// 10 a second, 5 at once.
const RATE: BucketRate = BucketRate { interval: 100 * MILLI, burst: 5 };

/// A key as a hash would be.
fn spread(n: u64) -> u64 {
    (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}

/// How many tokens there are.
fn tokens(buckets: &Table<Bucket>, key: u64) -> usize {
    (0..).take_while(|_| buckets.take(key, RATE).wait.is_none()).count()
}

#[tokio::test(start_paused = true)]
async fn a_bucket_holds_its_burst_and_fills_with_time() {
    let buckets = Table::<Bucket>::new(false);
    assert_eq!(
        buckets.take(1, RATE),
        Left { requests: 4, full: 100 * MILLI, wait: None }
    );
    assert_eq!(tokens(&buckets, 1), 4);
    assert_eq!(
        buckets.take(1, RATE),
        Left { requests: 0, full: 500 * MILLI, wait: Some(100 * MILLI) }
    );
    clock::sleep(Duration::from_millis(250)).await;
    assert_eq!(tokens(&buckets, 1), 2);
    assert_eq!(buckets.take(1, RATE).wait, Some(50 * MILLI));
    clock::sleep(Duration::from_secs(3600)).await;
    assert_eq!(tokens(&buckets, 1), 5, "no more than it holds");
}

#[tokio::test(start_paused = true)]
async fn over_time_the_rate_is_kept_whatever_is_asked_for() {
    let buckets = Table::<Bucket>::new(false);
    let mut taken = 0;
    for _ in 0..1000 {
        taken += tokens(&buckets, 1);
        clock::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(taken, 5 + 99);
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_bucket_of_its_own() {
    let buckets = Table::<Bucket>::new(true);
    for key in 0..1000 {
        assert_eq!(tokens(&buckets, spread(key)), 5, "{key}");
    }
    for key in 0..1000 {
        assert_eq!(tokens(&buckets, spread(key)), 0, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_takes_no_more_room_and_forgets_first_what_is_full_first() {
    let buckets = Table::<Bucket>::new(false);
    assert_eq!(tokens(&buckets, 1), 5);
    // Seven others beside it, each nearer to full.
    for key in 2..=WAYS as u64 {
        buckets.take(key, RATE);
    }
    for key in 100..1000 {
        assert!(buckets.take(key, RATE).wait.is_none(), "a new key is never refused");
    }
    assert_eq!(buckets.slots.len(), WAYS);
    assert_eq!(tokens(&buckets, 1), 0, "the emptiest bucket is kept");
}

#[test]
fn workers_share_a_bucket_to_the_token() {
    let buckets = Table::<Bucket>::new(true);
    let rate = BucketRate { interval: u64::from(u32::MAX) * 1000, burst: 1000 };
    let taken: usize = std::thread::scope(|scope| {
        let take = || (0..1000).filter(|_| buckets.take(7, rate).wait.is_none()).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 1000);
}

mod windows {
    use super::*;

    /// 10 in 100 ms.
    const RATE: WindowRate = WindowRate { period: 100 * MILLI, requests: 10 };

    /// How many come in at `now` (in ms) before one does not, and what that one is told.
    fn let_in(window: &Window, now: u64) -> (u64, Left) {
        let mut taken = 0;
        loop {
            let left = window.take(RATE, now * MILLI);
            if left.wait.is_some() {
                return (taken, left);
            }
            taken += 1;
        }
    }

    #[test]
    fn so_many_come_in_at_once_and_the_rest_hears_when_there_is_room() {
        let window = Window::default();
        let first = window.take(RATE, 1000 * MILLI);
        assert_eq!(first, Left { requests: 9, full: 200 * MILLI, wait: None });
        let (taken, left) = let_in(&window, 1030);
        // The ten are taken to have come evenly: the first leaves the window half a tenth after the end of this period.
        assert_eq!((taken, left.requests, left.wait), (9, 0, Some(75 * MILLI + 1)));
        assert_eq!(let_in(&window, 1105).0, 0);
        assert_eq!(let_in(&window, 1106).0, 1);
        assert_eq!(let_in(&window, 1149).0, 4);
        assert_eq!(let_in(&window, 1155).0, 0);
        assert_eq!(let_in(&window, 1156).0, 1);
        assert_eq!(let_in(&window, 1400).0, 10, "nothing of it is covered any more");
    }

    #[test]
    fn who_waits_as_long_as_it_is_told_is_let_in_and_not_a_moment_before() {
        let window = Window::default();
        let mut now = 1_000_017 * MILLI;
        for _ in 0..500 {
            let left = window.take(RATE, now);
            if let Some(wait) = left.wait {
                assert!(window.take(RATE, now + wait - 1).wait.is_some(), "at {now}");
                now += wait;
                assert_eq!(window.take(RATE, now).wait, None, "at {now}");
            }
        }
    }

    #[test]
    fn one_in_a_period_comes_once_in_each() {
        let window = Window::default();
        let rate = WindowRate { period: 100 * MILLI, requests: 1 };
        let let_in: Vec<u64> = (1000..2000)
            .filter(|now| window.take(rate, now * MILLI).wait.is_none())
            .collect();
        assert_eq!(let_in[..3], [1000, 1151, 1251]);
        assert_eq!(let_in.len(), 10);
    }

    /// Two limits at once around the end of a period: what a window that does not slide would let in.
    #[test]
    fn the_end_of_a_period_brings_no_second_burst() {
        let window = Window::default();
        assert_eq!(let_in(&window, 1099).0, 10);
        assert_eq!(let_in(&window, 1100).0, 0);
        assert_eq!(let_in(&window, 1104).0, 0);
        let bucket = Bucket::default();
        let rate = BucketRate { interval: 10 * MILLI, burst: 10 };
        let burst = (0..20)
            .filter(|_| bucket.take(rate, 1100 * MILLI).wait.is_none())
            .count();
        assert_eq!(burst, 10, "a bucket knows no periods");
    }

    #[test]
    fn a_steady_stream_gets_its_rate_and_no_period_has_more() {
        let window = Window::default();
        let taken: Vec<u64> = (0..1000).map(|now| let_in(&window, 5000 + now).0).collect();
        for begin in 0..10 {
            let period = &taken[begin * 100..][..100];
            assert!(period.iter().sum::<u64>() <= 10, "{begin}");
        }
        let all: u64 = taken.iter().sum();
        assert!((95..=100).contains(&all), "{all}");
        // Of the same stream a counter that begins anew with each period would let in ten in its first moment.
        assert!(taken[100..].iter().all(|at_once| *at_once <= 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_keys_begins_anew_where_it_takes_a_place() {
        let table = Table::<Window>::new(false);
        let rate = WindowRate { period: 60_000 * MILLI, requests: 5 };
        let tokens = |key: u64| (0..100).take_while(|_| table.take(key, rate).wait.is_none()).count();
        for key in 1..=100 {
            assert_eq!(tokens(key), 5, "{key}");
        }
        assert_eq!(tokens(100), 0);
    }

    #[test]
    fn workers_share_a_window_to_the_request() {
        let window = Window::default();
        let rate = WindowRate { period: 1_000_000 * MILLI, requests: 1000 };
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| window.take(rate, 7).wait.is_none()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }
}
