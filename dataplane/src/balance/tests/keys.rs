//! What of a request is hashed, and which cookies its client gets.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::*;
use crate::snapshot::model::{Cookie, HashKey, KeySource};

fn keyed(sources: Vec<KeySource>) -> Balance {
    let keys = sources.into_iter().map(|source| HashKey { source, is_terminal: false });
    Balance { keys: keys.collect(), ..balance(RING) }
}

fn header(name: &'static str) -> KeySource {
    KeySource::Header(HeaderName::from_static(name))
}

fn cookie(name: &str, ttl: Option<u64>) -> Cookie {
    Cookie { name: name.into(), path: "/".into(), ttl: ttl.map(Duration::from_secs) }
}

fn of(balance: &Balance, fields: &[(&'static str, &str)], target: &str, source: [u8; 4]) -> Key {
    let fields = fields.iter();
    let headers: HeaderMap = fields
        .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    let uri: Uri = target.parse().unwrap();
    Key::of(
        balance,
        Origin { headers: Some(&headers), uri: Some(&uri), source: source.into() },
    )
}

#[test]
fn each_part_of_a_request_can_be_the_key() {
    let user = |name: &str| of(&keyed(vec![header("x-user")]), &[("x-user", name)], "/", [1; 4]).hash;
    assert_eq!(user("ann"), user("ann"));
    assert_ne!(user("ann"), user("bob"));
    assert_eq!(of(&keyed(vec![header("x-user")]), &[], "/", [1; 4]).hash, None);

    let query = |target: &str| of(&keyed(vec![KeySource::Query("id".into())]), &[], target, [1; 4]).hash;
    assert_eq!(query("/?a=1&id=7"), query("/other?id=7&id=8"));
    assert_ne!(query("/?id=7"), query("/?id=8"));
    assert_eq!(query("/?identity=7"), None);

    let source = |source| of(&keyed(vec![KeySource::Address]), &[], "/", source).hash;
    assert_eq!(source([10, 0, 0, 1]), source([10, 0, 0, 1]));
    assert_ne!(source([10, 0, 0, 1]), source([10, 0, 0, 2]));

    let session = |text: &str| {
        of(
            &keyed(vec![KeySource::Cookie(cookie("id", None))]),
            &[("cookie", text)],
            "/",
            [1; 4],
        )
        .hash
    };
    assert_eq!(session("a=1; id=7"), session("id=\"7\"; b=2"));
    assert_ne!(session("id=7"), session("id=8"));
    assert_eq!(session("xid=7"), None);
}

#[test]
fn several_parts_count_together_unless_one_ends_the_list() {
    let mut two = keyed(vec![header("x-user"), header("x-shard")]);
    let fields = |user, shard| [("x-user", user), ("x-shard", shard)];
    let hash = |balance: &Balance, user, shard| of(balance, &fields(user, shard), "/", [1; 4]).hash;
    assert_ne!(hash(&two, "a", "1"), hash(&two, "a", "2"));
    assert_ne!(hash(&two, "a", "b"), hash(&two, "b", "a"));
    assert_ne!(
        hash(&two, "a", "a"),
        hash(&two, "b", "b"),
        "equal values do not cancel each other out"
    );
    two.keys[0].is_terminal = true;
    assert_eq!(hash(&two, "a", "1"), hash(&two, "a", "2"));
    assert!(
        of(&two, &[("x-shard", "1")], "/", [1; 4]).hash.is_some(),
        "a part that is absent ends nothing"
    );
}

#[test]
fn who_has_no_cookie_gets_one_that_leads_to_where_he_was() {
    let balance = keyed(vec![KeySource::Cookie(cookie("id", Some(60)))]);
    let endpoint = endpoint(1, 1, true, 0);
    let first = of(&balance, &[], "/", [1; 4]);
    let given: Vec<_> = first.cookies(&balance, &endpoint, true).collect();
    let text = given[0].to_str().unwrap();
    assert!(text.ends_with("; Path=/; HttpOnly; Max-Age=60; Secure"), "{text}");
    let again = of(&balance, &[("cookie", text.split(';').next().unwrap())], "/", [1; 4]);
    assert_eq!((given.len(), first.hash), (1, again.hash));
    assert_eq!(again.cookies(&balance, &endpoint, true).count(), 0);
}

#[test]
fn a_session_is_told_once_and_again_when_it_moves() {
    let balance = Balance { sticky: Some(cookie("at", None)), ..balance(BalancePolicy::Random) };
    let (one, two) = (endpoint(1, 1, true, 0), endpoint(2, 1, true, 0));
    let given: Vec<_> = of(&balance, &[], "/", [1; 4]).cookies(&balance, &one, false).collect();
    let text = given[0].to_str().unwrap().to_owned();
    assert!(
        !text.contains("127.0.0.1") && text.ends_with("; Path=/; HttpOnly"),
        "{text}"
    );
    let again = of(&balance, &[("cookie", text.split(';').next().unwrap())], "/", [1; 4]);
    assert_eq!(again.session, Some(session::digest(&one)));
    assert_eq!(again.cookies(&balance, &one, false).count(), 0);
    assert_eq!(again.cookies(&balance, &two, false).count(), 1);
    // What nobody here has made is nobody's session.
    for odd in ["at=", "at=7", "at=ZZZZZZZZZZZZZZZZ", "at=00000000000000000"] {
        assert_eq!(of(&balance, &[("cookie", odd)], "/", [1; 4]).session, None, "{odd}");
    }
}
