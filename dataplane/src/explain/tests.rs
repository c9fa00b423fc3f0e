use prost::Message;

use super::*;

const WEB: &str = "spiffe://mesh.local/ns/default/dc/dc1/svc/web";

fn route(name: &str, hosts: &[&str], path: Option<&str>) -> proto::Route {
    let path = path.map(|prefix| proto::PathMatch { kind: Some(proto::path_match::Kind::Prefix(prefix.into())) });
    proto::Route {
        name: name.into(),
        r#match: Some(proto::Match {
            hosts: hosts.iter().map(|&host| host.into()).collect(),
            path,
            ..Default::default()
        }),
        destinations: vec![proto::Destination { cluster: "orders".into(), weight: 1, ..Default::default() }],
        ..Default::default()
    }
}

/// An inbound listener with three routes, and a rule for the caller `web`.
fn snapshot() -> proto::Snapshot {
    let mut rewriting = route("api", &["orders"], Some("/api"));
    rewriting.rewrite = Some(proto::PathRewrite { prefix: "/v2".into(), ..Default::default() });
    let verdict = |allow, by: &str| Some(proto::Verdict { allow, by: by.into() });
    let rule = proto::Rule { source: "web".into(), condition: None, verdict: verdict(true, "web may") };
    let set = proto::RuleSet { rules: vec![rule], otherwise: verdict(false, "the default") };
    proto::Snapshot {
        version: 1,
        listeners: vec![proto::Listener {
            name: "inbound".into(),
            address: "127.0.0.1:0".into(),
            direction: proto::Direction::Inbound.into(),
            route_table: "all".into(),
            tls: Some(proto::ServerTls {
                identities: vec!["mesh".into()],
                trust_bundle: "mesh".into(),
                require_client_certificate: true,
                ..Default::default()
            }),
            authorization: Some(proto::Authorization {
                trust_domain: "mesh.local".into(),
                rule_sets: vec![set],
                candidates: Vec::new(),
            }),
            ..Default::default()
        }],
        route_tables: vec![proto::RouteTable {
            name: "all".into(),
            routes: vec![
                route("other", &["web"], None),
                route("exact", &["orders"], Some("/exact")),
                rewriting,
                route("rest", &[], None),
            ],
            tcp_routes: Vec::new(),
        }],
        clusters: vec![proto::Cluster {
            name: "orders".into(),
            protocol: proto::UpstreamProtocol::Http1.into(),
            balance: proto::BalancePolicy::RoundRobin.into(),
            ..Default::default()
        }],
        telemetry: None,
    }
}

fn asked(url: &str, peer: &str) -> Result<proto::Explanation, Unexplained> {
    explain(&proto::ExplainQuery {
        snapshot: snapshot().encode_to_vec(),
        listener: "inbound".into(),
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        peer: peer.into(),
        client: String::new(),
    })
}

#[test]
fn the_route_is_named_and_why_the_others_do_not_take_it() {
    let explanation = asked("http://Orders:80/api/tea?x=1", WEB).unwrap();
    assert_eq!((&*explanation.host, explanation.route), ("orders", Some(2)));
    assert_eq!(explanation.target, "/v2/tea?x=1");
    let missed: Vec<_> = explanation
        .missed
        .iter()
        .map(|missed| (missed.route, &missed.conditions[..]))
        .collect();
    // That of another host is not among them; the last one takes it too, and comes later.
    assert_eq!(
        missed,
        [(1, &["path /api/tea is not /exact/*".to_owned()][..]), (3, &[])]
    );
    assert_eq!(explanation.refused, "");
}

#[test]
fn a_path_of_two_readings_is_refused_as_it_would_be() {
    let explanation = asked("http://orders/rest/..;/api", WEB).unwrap();
    assert!(explanation.refused.contains("hides"), "{}", explanation.refused);
    let explanation = asked("http://orders/api%2Ftea", WEB).unwrap();
    assert!(
        explanation.refused.contains("has another route"),
        "{}",
        explanation.refused
    );
    assert_eq!(explanation.route, None);
}

#[test]
fn each_rule_set_says_what_decided() {
    let allowed = asked("http://orders/", WEB).unwrap().verdicts;
    assert_eq!((allowed.len(), allowed[0].allow, &*allowed[0].by), (1, true, "web may"));
    let other = asked("http://orders/", &WEB.replace("web", "other")).unwrap();
    assert_eq!(
        (other.verdicts[0].allow, &*other.verdicts[0].by),
        (false, "the default")
    );
    assert!(other.refused.contains("refused by the default"), "{}", other.refused);
    assert!(
        asked("http://orders/", "")
            .unwrap()
            .refused
            .contains("showed no certificate")
    );
}

#[test]
fn what_is_no_request_is_named() {
    for (url, words) in [
        ("/path", "expected a URL with a host"),
        ("http://a b/", "http://a b/: "),
    ] {
        let error = asked(url, WEB).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let query = proto::ExplainQuery {
        listener: "no".into(),
        snapshot: snapshot().encode_to_vec(),
        ..Default::default()
    };
    assert_eq!(explain(&query).unwrap_err().to_string(), r#"there is no listener "no""#);
}
