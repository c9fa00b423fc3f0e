//! What outlives lists and snapshots.

use super::*;
use crate::snapshot::model::{BalancePolicy, Hashing};
use crate::snapshot::samples;

fn configs(policy: BalancePolicy) -> HashMap<Arc<str>, Arc<model::Cluster>> {
    let names = ["orders", "orders/v1"].into_iter();
    names
        .map(|name| (name.into(), samples::shared(name, "orders", policy)))
        .collect()
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.retain(&configs(BalancePolicy::Random));
    registry
}

fn list(cluster: &str, version: u64, addresses: &[&str]) -> proto::EndpointsUpdate {
    proto::EndpointsUpdate {
        cluster: cluster.into(),
        version,
        endpoints: addresses
            .iter()
            .map(|address| proto::Endpoint {
                id: (*address).into(),
                address: (*address).into(),
                healthy: true,
                ..Default::default()
            })
            .collect(),
        forgotten: false,
    }
}

#[test]
fn an_older_list_is_ignored() {
    let mut registry = registry();
    assert!(
        registry
            .update(&list("orders", 2, &["127.0.0.1:1"]))
            .is_ok_and(|(_, new)| new)
    );
    let (members, new) = registry
        .update(&list("orders", 1, &[]))
        .expect("an older list is no error");
    assert!(!new);
    assert_eq!((members.version, members.endpoints.len()), (2, 1));
}

#[test]
fn a_list_that_nobody_follows_is_asked_for_again() {
    let mut registry = registry();
    let (cluster, _) = registry.get("orders").expect("known");
    assert!(cluster.first_wanted());
    registry.update(&list("orders", 1, &["127.0.0.1:1"])).expect("valid");
    assert!(!cluster.first_wanted());

    let forgotten = proto::EndpointsUpdate { forgotten: true, ..list("orders", 2, &[]) };
    let (members, _) = registry.update(&forgotten).expect("valid");
    assert_eq!((members.is_followed, members.endpoints.len()), (false, 1));
    assert!(cluster.first_wanted());

    let (members, _) = registry.update(&list("orders", 3, &[])).expect("valid");
    assert_eq!((members.is_followed, members.endpoints.len()), (true, 0));
}

#[test]
fn use_is_told_once() {
    let registry = registry();
    let (cluster, _) = registry.get("orders").expect("known");
    assert!(registry.take_used().is_empty());
    cluster.mark_used();
    cluster.mark_used();
    assert_eq!(registry.take_used(), ["orders"]);
    assert!(registry.take_used().is_empty());
}

#[test]
fn counts_are_shared_by_subsets_and_survive_new_lists() {
    let mut registry = registry();
    let (all, _) = registry.update(&list("orders", 1, &["127.0.0.1:1"])).expect("valid");
    let (subset, _) = registry.update(&list("orders/v1", 1, &["127.0.0.1:1"])).expect("valid");
    all.endpoints[0].counts.active.fetch_add(3, Relaxed);
    assert_eq!(subset.endpoints[0].counts.active.load(Relaxed), 3);
    let (newer, _) = registry
        .update(&list("orders", 2, &["127.0.0.1:2", "127.0.0.1:1"]))
        .expect("valid");
    assert_eq!(newer.endpoints[1].counts.active.load(Relaxed), 3);
}

#[test]
fn refusals_name_the_cluster_and_the_endpoint() {
    let mut registry = registry();
    let unknown = registry.update(&list("nowhere", 1, &[])).expect_err("unknown");
    assert!(unknown.to_string().contains("`nowhere`"));
    let bad = registry
        .update(&list("orders", 1, &["orders.example:1"]))
        .expect_err("not an address");
    assert!(bad.to_string().contains("`orders.example:1`"), "{bad}");
    assert_eq!(registry.get("orders").map(|(_, members)| members.version), Some(0));
}

#[test]
fn a_table_is_made_once_for_a_list_and_again_when_another_is_asked_for() {
    let (ring, maglev) = (Hashing::Ring { least: 64, most: 128 }, Hashing::Maglev);
    let mut registry = registry();
    let hashing = |registry: &Registry| {
        let table = registry.get("orders").and_then(|(_, members)| members.table.clone());
        table.map(|table| table.hashing())
    };
    registry.retain(&configs(BalancePolicy::Hash(ring)));
    assert_eq!(hashing(&registry), None, "there is no list yet");
    let (members, _) = registry.update(&list("orders", 1, &["127.0.0.1:1"])).expect("valid");
    assert_eq!(hashing(&registry), Some(ring));

    registry.retain(&configs(BalancePolicy::Hash(ring)));
    let (_, kept) = registry.get("orders").expect("known");
    assert!(Arc::ptr_eq(&members, &kept));
    registry.retain(&configs(BalancePolicy::Hash(maglev)));
    assert_eq!(hashing(&registry), Some(maglev));
    registry.retain(&configs(BalancePolicy::Random));
    assert_eq!(hashing(&registry), None);
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_or_comes_back_is_new_and_everybody_hears_of_it() {
    let mut registry = registry();
    let (cluster, _) = registry.get("orders/v1").expect("known");
    let mut list = list("orders", 1, &["127.0.0.1:1", "127.0.0.1:2"]);
    list.endpoints[1].healthy = false;
    let since = |members: &Members, index: usize| members.endpoints[index].counts.since();
    let (first, _) = registry.update(&list).expect("valid");
    assert_eq!(
        (since(&first, 0), since(&first, 1)),
        (0, 0),
        "they were there before us"
    );

    let before = cluster.changes();
    list.version = 2;
    list.endpoints[1].healthy = true;
    list.endpoints
        .push(proto::Endpoint { address: "127.0.0.1:3".into(), healthy: true, ..Default::default() });
    let (second, _) = registry.update(&list).expect("valid");
    assert_eq!(since(&second, 0), 0);
    assert!(since(&second, 1) > 0 && since(&second, 2) > 0);
    assert_ne!(
        cluster.changes(),
        before,
        "another cluster of the service hears of it too"
    );

    let before = cluster.changes();
    second.endpoints[0].counts.set_out(true);
    assert!(second.endpoints[0].counts.is_out() && cluster.changes() != before);
    let before = cluster.changes();
    second.endpoints[0].counts.set_out(true);
    assert_eq!(cluster.changes(), before);
}
