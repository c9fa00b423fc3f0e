//! What a pick costs. Nothing is asserted of times: `cargo test --release -- --ignored --nocapture picks_cost` prints them.

use std::hint::black_box;
use std::time::Instant;

use super::*;

const PICKS: u64 = 200_000;

#[test]
#[ignore = "prints times"]
fn picks_cost() {
    for policy in POLICIES {
        for count in [3, 100, 10_000] {
            let endpoints = even(count);
            let members = members(policy, &endpoints);
            let config = balance(policy);
            let made = now();
            let balancer = Balancer::new(&config, &members, true);
            let made = made.elapsed();
            let started = now();
            for n in 0..PICKS {
                black_box(balancer.pick(&endpoints, &key(n), &[]));
            }
            let each = started.elapsed().as_nanos() as f64 / PICKS as f64;
            let table = members.table.as_ref().map_or(0, |table| table.size());
            println!(
                "{policy:?} of {count}: {each:.1} ns a pick, made in {made:?}, table {} bytes each",
                table / count
            );
        }
    }
    let (endpoint, counts) = (size_of::<Endpoint>(), size_of::<crate::cluster::Counts>());
    println!("an endpoint: {endpoint} bytes, its state {counts}");
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "measures real time")]
    Instant::now()
}
