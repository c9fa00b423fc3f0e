mod authorization;
mod cors;
mod failures;
mod rewrite;
mod routes;
mod tcp;
mod tracing;

use std::time::Instant;

use super::*;
use crate::proto::{path_match, value_match};
use crate::snapshot::model::{HostMatch, PathChange, PathMatch, ValueMatch};

/// A snapshot that is accepted, with everything optional left out.
fn smallest() -> proto::Snapshot {
    proto::Snapshot {
        version: 7,
        listeners: vec![proto::Listener {
            name: "out".into(),
            address: "127.0.0.1:15001".into(),
            direction: proto::Direction::Outbound.into(),
            route_table: "mesh".into(),
            origin: at("mesh.yaml:3:1"),
            ..Default::default()
        }],
        route_tables: vec![proto::RouteTable {
            name: "mesh".into(),
            tcp_routes: Vec::new(),
            routes: vec![proto::Route {
                name: "to-orders".into(),
                destinations: vec![proto::Destination { cluster: "orders".into(), weight: 1, ..Default::default() }],
                origin: at("services/orders.yaml:12:3"),
                ..Default::default()
            }],
        }],
        clusters: vec![proto::Cluster {
            name: "orders".into(),
            protocol: proto::UpstreamProtocol::Http2.into(),
            balance: proto::BalancePolicy::RoundRobin.into(),
            origin: Some(proto::Origin { place: "sidecar/services/orders".into(), index: 41 }),
            ..Default::default()
        }],
        telemetry: None,
    }
}

fn at(place: &str) -> Option<proto::Origin> {
    Some(proto::Origin { place: place.into(), index: 0 })
}

fn client_tls() -> proto::ClientTls {
    proto::ClientTls {
        identity: "web".into(),
        trust_bundle: "mesh".into(),
        spiffe_ids: vec!["spiffe://mesh.local/service/orders".into()],
        server_name: "orders.mesh".into(),
    }
}

fn accepted(message: &proto::Snapshot) -> Snapshot {
    decode(&message.encode_to_vec()).unwrap()
}

/// What the snapshot is refused with after `change`.
fn refusal(change: impl FnOnce(&mut proto::Snapshot)) -> String {
    let mut message = smallest();
    change(&mut message);
    decode(&message.encode_to_vec()).unwrap_err().to_string()
}

/// What `text` says after `place`.
fn after(text: &str, place: &str) -> String {
    assert!(text.starts_with(place), "{text:?} does not start with {place:?}");
    text[place.len()..].to_owned()
}

fn route_refusal(change: impl FnOnce(&mut proto::Route)) -> String {
    let place = "route \"to-orders\" (services/orders.yaml:12:3): ";
    let text = refusal(|message| change(&mut message.route_tables[0].routes[0]));
    after(&text, place)
}

fn match_refusal(change: impl FnOnce(&mut proto::Match)) -> String {
    route_refusal(|route| change(route.r#match.get_or_insert_default()))
}

fn listener_refusal(change: impl FnOnce(&mut proto::Listener)) -> String {
    let place = "listener \"out\" (mesh.yaml:3:1): ";
    after(&refusal(|message| change(&mut message.listeners[0])), place)
}

fn cluster_refusal(change: impl FnOnce(&mut proto::Cluster)) -> String {
    let place = "cluster \"orders\" (sidecar/services/orders, index 41): ";
    after(&refusal(|message| change(&mut message.clusters[0])), place)
}

#[test]
fn the_smallest_snapshot_gets_every_default() {
    let snapshot = accepted(&smallest());
    assert_eq!(snapshot.version, 7);
    let listener = &snapshot.listeners[0];
    assert_eq!(listener.address, "127.0.0.1:15001".parse().unwrap());
    assert_eq!(listener.tls, None);
    assert_eq!(
        listener.limits,
        ListenerLimits {
            max_header_bytes: 61_440,
            max_request_line: 8 * 1024,
            max_headers: 100,
            max_streams: 256,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(3600),
            max_connection_age: Duration::from_secs(3600),
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
            max_connections: 16_384,
        }
    );
    let route = &snapshot.route_tables["mesh"].http[0];
    assert_eq!((route.timeout, route.retry.attempts, route.total_weight), (None, 3, 1));
    assert!(route.rewrite.is_none() && route.matcher.path.is_none() && route.matcher.hosts.is_empty());
    let cluster = &snapshot.clusters["orders"];
    assert_eq!(
        (cluster.connect_timeout, cluster.warm_timeout),
        (Duration::from_secs(5), Duration::from_secs(5))
    );
    assert_eq!(
        (cluster.max_connections, cluster.max_pending, cluster.max_requests),
        (1024, 1024, 1024)
    );
    assert_eq!(&*cluster.origin.place, "sidecar/services/orders");
    assert!(!snapshot.telemetry.tracing && snapshot.telemetry.access_log.logged.is_none());
}

#[test]
fn every_field_arrives() {
    let mut message = smallest();
    message.listeners[0].tls = Some(proto::ServerTls {
        identities: vec!["edge".into()],
        trust_bundle: "mesh".into(),
        require_client_certificate: true,
        min_version: proto::TlsVersion::TlsVersion13.into(),
        any_client_name: false,
        cleartext: true,
    });
    message.clusters[0].tls = Some(client_tls());
    let route = &mut message.route_tables[0].routes[0];
    route.timeout_ms = 1500;
    route.retry = Some(proto::RetryPolicy { attempts: 2, ..Default::default() });
    route.rewrite = Some(proto::PathRewrite { prefix: "/v2/".into(), ..Default::default() });
    route.r#match = Some(proto::Match {
        hosts: vec!["orders.mesh".into(), "*.example.com".into(), "[::1]".into()],
        path: Some(proto::PathMatch { kind: Some(path_match::Kind::Prefix("/api/".into())) }),
        methods: vec!["GET".into()],
        headers: vec![proto::ValueMatch {
            name: "x-user".into(),
            kind: Some(value_match::Kind::Regex("a|b".into())),
            ..Default::default()
        }],
        ..Default::default()
    });
    message.telemetry = Some(proto::Telemetry {
        tracing: Some(proto::Tracing {
            enabled: true,
            ratio: 0.25,
            resource: [
                ("service.name".to_owned(), "web".to_owned()),
                ("host.name".into(), "h".into()),
            ]
            .into(),
            ..Default::default()
        }),
        access_log: Some(proto::AccessLog { enabled: true, ..Default::default() }),
    });
    let snapshot = accepted(&message);
    let tls = snapshot.listeners[0].tls.as_ref().unwrap();
    assert_eq!(
        (&*tls.identities[0], tls.trust_bundle.as_deref()),
        ("edge", Some("mesh"))
    );
    assert_eq!(
        snapshot.clusters["orders"].tls.as_ref().unwrap().identity.as_deref(),
        Some("web")
    );
    let route = &snapshot.route_tables["mesh"].http[0];
    assert_eq!(route.retry.attempts, 2);
    assert_eq!(route.timeout, Some(Duration::from_millis(1500)));
    let Some(PathChange::Prefix(prefix)) = &route.rewrite.as_ref().unwrap().path else {
        panic!("{:?}", route.rewrite)
    };
    assert_eq!(&**prefix, "/v2", "a trailing slash would be doubled");
    assert_eq!(
        route.matcher.hosts,
        [
            HostMatch::Exact("orders.mesh".into()),
            HostMatch::Suffix(".example.com".into()),
            HostMatch::Exact("[::1]".into())
        ]
    );
    assert!(matches!(&route.matcher.path, Some(PathMatch::Prefix(prefix)) if **prefix == *"/api"));
    let ValueMatch::Regex(regex) = &route.matcher.headers[0].value else {
        panic!("{:?}", route.matcher.headers)
    };
    assert!(
        regex.is_match("b") && !regex.is_match("ab"),
        "a pattern is anchored as a whole"
    );
    assert_eq!(snapshot.telemetry.ratio, 0.25);
    assert_eq!(snapshot.telemetry.resource[0].0, "host.name", "sorted");
    assert!(snapshot.telemetry.tracing && snapshot.telemetry.access_log.logged.is_some());
}

#[test]
fn bytes_that_are_no_snapshot_are_refused() {
    let text = decode(b"\xff\xff\xff").unwrap_err().to_string();
    assert!(text.starts_with("not a Snapshot: "), "{text}");
}

#[test]
fn a_bad_listener_is_refused() {
    assert_eq!(listener_refusal(|l| l.direction = 0), "direction is not specified");
    assert_eq!(
        listener_refusal(|l| l.direction = 9),
        "direction has the unknown value 9; is this data plane older than its control side?"
    );
    assert_eq!(
        listener_refusal(|l| l.address = "localhost:80".into()),
        "address \"localhost:80\" is no IP address and port; expected one like \"127.0.0.1:8080\""
    );
    assert_eq!(
        listener_refusal(|l| l.route_table = "nope".into()),
        "there is no route table \"nope\""
    );
    let tls = |identities: &[&str], require_client_certificate| {
        let identities = identities.iter().map(|name| (*name).to_owned()).collect();
        Some(proto::ServerTls { identities, require_client_certificate, ..Default::default() })
    };
    assert_eq!(
        listener_refusal(|l| l.tls = tls(&[], false)),
        "tls has no identity, or one without name"
    );
    assert_eq!(
        listener_refusal(|l| l.tls = tls(&["a", ""], false)),
        "tls has no identity, or one without name"
    );
    assert_eq!(
        listener_refusal(|l| l.tls = tls(&["a"], true)),
        "tls requires a client certificate and names no trust_bundle to verify it"
    );
    assert_eq!(
        refusal(|message| message.listeners[0].name.clear()),
        "listener \"\" (mesh.yaml:3:1): it has no name"
    );
}

#[test]
fn two_things_of_one_name_or_address_are_refused() {
    let twice = |message: &mut proto::Snapshot| message.listeners.push(message.listeners[0].clone());
    assert_eq!(
        refusal(twice),
        "listener \"out\" (mesh.yaml:3:1): another listener has this name"
    );
    let address = refusal(|message| {
        twice(message);
        message.listeners[1].name = "other".into();
    });
    assert_eq!(
        address,
        "listener \"other\" (mesh.yaml:3:1): listener \"out\" has the same address 127.0.0.1:15001"
    );
    let mut free = smallest();
    twice(&mut free);
    free.listeners[1].name = "other".into();
    free.listeners
        .iter_mut()
        .for_each(|listener| listener.address = "127.0.0.1:0".into());
    assert_eq!(accepted(&free).listeners.len(), 2, "free ports are two ports");
    let tables = refusal(|message| message.route_tables.push(message.route_tables[0].clone()));
    assert_eq!(tables, "route table \"mesh\": another route table has this name");
    let clusters = refusal(|message| message.clusters.push(message.clusters[0].clone()));
    assert!(clusters.ends_with("another cluster has this name"), "{clusters}");
    assert_eq!(
        refusal(|message| message.route_tables[0].name.clear()),
        "route table \"\": it has no name"
    );
}

#[test]
fn a_bad_route_is_refused() {
    assert_eq!(route_refusal(|r| r.destinations.clear()), "it has no destination");
    assert_eq!(
        route_refusal(|r| r.destinations[0].cluster = "nope".into()),
        "there is no cluster \"nope\""
    );
    assert_eq!(
        route_refusal(|r| r.destinations[0].weight = 0),
        "the weight of \"orders\" is 0; leave the destination out to send nothing"
    );
    let heavy = route_refusal(|r| {
        r.destinations[0].weight = u32::MAX;
        r.destinations
            .push(proto::Destination { cluster: "orders".into(), weight: 1, ..Default::default() });
    });
    assert_eq!(heavy, "the sum of the weights is above 2^32 - 1");
    let attempts = route_refusal(|r| r.retry.get_or_insert_default().attempts = 17);
    assert_eq!(attempts, "retry.attempts is 17; at most 16 are allowed");
    assert!(refusal(|message| message.route_tables[0].routes[0].name.clear()).ends_with("it has no name"));
}

#[test]
fn a_bad_host_is_refused() {
    let long = "a".repeat(254);
    for host in [
        "",
        "Orders",
        "orders:80",
        "*",
        "*.",
        "a.*.b",
        "orders.",
        "a b",
        "a/b",
        &long,
        "www.*",
    ] {
        let text = match_refusal(|m| m.hosts = vec![host.into()]);
        assert!(text.starts_with(&format!("host {host:?} is not usable")), "{text}");
    }
}

#[test]
fn a_bad_path_is_refused() {
    let path = |kind| move |m: &mut proto::Match| m.path = Some(proto::PathMatch { kind });
    assert_eq!(
        match_refusal(path(None)),
        "path has no condition; expected exact, prefix or a template"
    );
    for bad in ["", "api", "/a?b", "/a#b", "/a b"] {
        let expected = format!("path.exact {bad:?} is no path; expected one like \"/api\"");
        assert_eq!(match_refusal(path(Some(path_match::Kind::Exact(bad.into())))), expected);
        let text = match_refusal(path(Some(path_match::Kind::Prefix(bad.into()))));
        assert!(text.starts_with("path.prefix "), "{text}");
    }
    let template = |text: &str| match_refusal(path(Some(path_match::Kind::Template(text.into()))));
    assert_eq!(
        template("/a/x{}"),
        "path.template \"/a/x{}\" is no path; expected one like \"/api\", and \"{}\" for a segment"
    );
    assert!(template("/{}?").starts_with("path.template \"/{}?\" is no path"));
    let condition = match_refusal(path(Some(path_match::Kind::Regex("/a".into()))));
    assert_eq!(condition, "path.begins and path.regex are of rules about callers");
    let regex = |pattern: &str| match_refusal(|m| m.path_regexes = vec![pattern.into()]);
    assert_eq!(regex("/(a"), "path_regex \"/(a\" is not usable: error: unclosed group");
    assert!(regex("a)|(b").contains("unopened group"));
    assert!(
        regex(r"\w{100000}").contains("exceeds size limit"),
        "{}",
        regex(r"\w{100000}")
    );
}

#[test]
fn a_bad_method_or_header_is_refused() {
    assert_eq!(
        match_refusal(|m| m.methods = vec!["GE T".into()]),
        "\"GE T\" is no method; expected one like \"GET\""
    );
    let header = |name: &str, kind| {
        match_refusal(|m| m.headers = vec![proto::ValueMatch { name: name.into(), kind, invert: false }])
    };
    let present = Some(value_match::Kind::Present(true));
    assert_eq!(
        header("X-User", present.clone()),
        "\"X-User\" is no header name; expected lower case, like \"x-user\""
    );
    assert!(header(":path", present.clone()).contains("is no header name"));
    assert_eq!(
        header("host", present),
        "a header condition on \"host\" does not hold in HTTP/2; use hosts"
    );
    assert_eq!(
        header("x-a", None),
        "header x-a has no condition; expected exact, prefix, regex or present"
    );
    let regex = header("x-a", Some(value_match::Kind::Regex("[".into())));
    assert!(regex.starts_with("header x-a \"[\" is not usable: "), "{regex}");
}

#[test]
fn a_bad_cluster_is_refused() {
    assert_eq!(cluster_refusal(|c| c.protocol = 0), "protocol is not specified");
    assert!(cluster_refusal(|c| c.protocol = 8).starts_with("protocol has the unknown value 8"));
    assert_eq!(cluster_refusal(|c| c.balance = 0), "balance is not specified");
    assert!(refusal(|message| message.clusters[0].name.clear()).ends_with("it has no name"));
    let tls = |change: fn(&mut proto::ClientTls)| cluster_refusal(|cluster| change(cluster.tls.insert(client_tls())));
    assert_eq!(
        tls(|t| t.trust_bundle.clear()),
        "tls names no trust_bundle to verify the peer"
    );
    assert_eq!(
        tls(|t| t.spiffe_ids.clear()),
        "tls names no spiffe_ids that the peer may have"
    );
    assert_eq!(
        tls(|t| t.spiffe_ids.push("https://x".into())),
        "\"https://x\" is no SPIFFE id; expected one like \"spiffe://mesh.local/service/orders\""
    );
    assert_eq!(
        tls(|t| t.server_name = "a b".into()),
        "tls.server_name \"a b\" is neither a DNS name nor an IP address"
    );
}

/// A service mesh of 1000 services with four routes each.
#[test]
fn a_large_snapshot_is_decoded_in_milliseconds() {
    let mut message = smallest();
    message.clusters = (0..1000)
        .map(|n| proto::Cluster {
            name: format!("service-{n}"),
            tls: Some(client_tls()),
            ..message.clusters[0].clone()
        })
        .collect();
    let destination =
        |n: usize| proto::Destination { cluster: format!("service-{n}"), weight: 1, ..Default::default() };
    message.route_tables[0].routes = (0..4000)
        .map(|n| proto::Route {
            name: format!("route-{n}"),
            r#match: Some(proto::Match {
                hosts: vec![format!("service-{}", n / 4), format!("service-{}.mesh", n / 4)],
                path: Some(proto::PathMatch { kind: Some(path_match::Kind::Prefix(format!("/v{}", n % 4))) }),
                ..Default::default()
            }),
            destinations: vec![destination(n / 4), destination(n % 1000)],
            timeout_ms: 15_000,
            origin: at("services/service.yaml:12:3"),
            ..Default::default()
        })
        .collect();
    let bytes = message.encode_to_vec();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        #[expect(clippy::disallowed_methods, reason = "measures real time")]
        let started = Instant::now();
        let snapshot = decode(&bytes).unwrap();
        best = best.min(started.elapsed());
        assert_eq!(snapshot.route_tables["mesh"].http.len(), 4000);
    }
    println!("1000 clusters, 4000 routes, {} bytes: decoded in {best:?}", bytes.len());
    // Measured: about 4 ms. The bound leaves room for a busy machine and an unoptimised build.
    assert!(best < Duration::from_millis(200), "{best:?}");
}

#[test]
fn random_bytes_are_refused_or_decoded_and_nothing_else() {
    crate::random::fuzz("snapshots", |bytes| {
        if let Ok(snapshot) = decode(bytes) {
            let known = |route: &Arc<crate::snapshot::model::Route>| {
                route
                    .destinations
                    .iter()
                    .all(|to| snapshot.clusters.contains_key(&to.cluster))
            };
            let mut routes = snapshot
                .route_tables
                .values()
                .flat_map(|table| table.http.iter().chain(table.tcp.iter()));
            assert!(routes.all(known), "a dangling name got through");
        }
    });
}
