//! Routes of connections that are passed on as they are.

use super::*;

/// A snapshot with a TCP route "db" to a TCP cluster "db"; `change` may break it.
fn with_tcp(change: impl FnOnce(&mut proto::Snapshot)) -> Result<Snapshot, String> {
    let mut message = smallest();
    let mut cluster = message.clusters[0].clone();
    cluster.name = "db".into();
    cluster.protocol = proto::UpstreamProtocol::Tcp.into();
    message.clusters.push(cluster);
    let destination = proto::Destination { cluster: "db".into(), weight: 1, ..Default::default() };
    let route = proto::Route { name: "db".into(), destinations: vec![destination], ..proto::Route::default() };
    message.route_tables[0].tcp_routes.push(route);
    change(&mut message);
    decode(&message.encode_to_vec()).map_err(|rejected| rejected.to_string())
}

#[test]
fn a_tcp_route_has_its_default_and_its_bounds() {
    let snapshot = with_tcp(|_| {}).expect("it is valid");
    let (name, routes) = snapshot.route_tables.iter().next().expect("there is a table");
    assert_eq!((&**name, routes.tcp.len()), ("mesh", 1));
    assert_eq!(routes.tcp[0].idle_timeout, Duration::from_secs(3600));
    let told = with_tcp(|message| message.route_tables[0].tcp_routes[0].timeout_ms = 1);
    assert!(told.is_err_and(|words| words.contains("neither timeout nor rewrite")));
    let path = proto::PathMatch { kind: Some(proto::path_match::Kind::Exact("/".into())) };
    let told = with_tcp(|message| {
        message.route_tables[0].tcp_routes[0].r#match = Some(proto::Match { path: Some(path), ..Default::default() });
    });
    assert!(told.is_err_and(|words| words.contains("by hosts alone")));
    let told = with_tcp(|message| {
        let removed = proto::HeaderChange { name: "x-a".into(), kind: Some(proto::header_change::Kind::Remove(true)) };
        message.route_tables[0].tcp_routes[0].destinations[0].request_headers = vec![removed];
    });
    assert!(told.is_err_and(|words| words.contains("changes no headers")));
}

#[test]
fn bytes_and_requests_do_not_meet() {
    let told = with_tcp(|message| {
        let to = message.clusters[0].name.clone();
        message.route_tables[0].tcp_routes[0].destinations[0].cluster = to;
    });
    assert!(told.is_err_and(|words| words.contains("a TCP route leads to cluster")));
    let told = with_tcp(|message| message.route_tables[0].routes[0].destinations[0].cluster = "db".into());
    assert!(told.is_err_and(|words| words.contains("a route of requests leads to the TCP cluster \"db\"")));
}

#[test]
fn a_client_asks_for_a_protocol_where_it_speaks_tls() {
    let words = refusal(|message| message.listeners[0].mode = proto::ListenerMode::ByAlpn.into());
    assert!(words.contains("mode by ALPN needs tls"), "{words}");
}

#[test]
fn an_unknown_mode_is_refused() {
    let words = refusal(|message| message.listeners[0].mode = 9);
    assert!(words.contains("mode has the unknown value 9"), "{words}");
}
