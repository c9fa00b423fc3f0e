//! Requests that show credentials, and what is made of them.

mod tokens;

use std::sync::Arc;

use http::Request;

use super::*;
use crate::credentials::samples::{consumer, credentials};
use crate::snapshot::model::Carrier;
use crate::telemetry::Hub;

const ISSUER: &str = "https://id.test";

fn header(name: &'static str, scheme: Option<&str>) -> Carrier {
    Carrier::Header(http::HeaderName::from_static(name), scheme.map(Into::into))
}

fn key() -> Method {
    Method::Key(vec![
        header("x-api-key", None),
        Carrier::Query("key".into()),
        Carrier::Cookie("key".into()),
    ])
}

fn basic() -> Method {
    Method::Basic(vec![header("authorization", Some("Basic"))])
}

fn asked(alternatives: Vec<Vec<Method>>, anonymous: Option<&str>) -> Authentication {
    let hidden = alternatives.iter().flatten().flat_map(Method::carriers).cloned();
    Authentication {
        hidden: hidden.collect(),
        alternatives,
        anonymous: anonymous.map(Into::into),
        challenges: vec![
            HeaderValue::from_static("Basic realm=\"x\""),
            HeaderValue::from_static("Bearer realm=\"x\""),
        ],
        own_fields: vec![http::HeaderName::from_static("x-mail")],
    }
}

pub(super) fn callers(key_sets: Vec<proto::KeySet>) -> Callers {
    let hub = Hub::new(&proto::Options::default());
    let callers = Callers::new(Arc::new(Events::new(0, hub)));
    let known = vec![consumer("ann", &["a", "b"], ISSUER), consumer("bob", &[], ISSUER)];
    callers.change(credentials(known, key_sets));
    callers
}

pub(super) fn request(target: &str, fields: &[(&str, &str)]) -> Parts {
    let request = fields.iter().fold(Request::get(target), |request, (name, value)| {
        request.header(*name, *value)
    });
    request.body(()).expect("a legal request").into_parts().0
}

fn password(user: &str, password: &str) -> String {
    let text = crate::http::base64::encode(format!("{user}:{password}").as_bytes());
    format!("Basic {}", String::from_utf8(text).unwrap())
}

/// The consumer's name, or the reason.
async fn outcome(asked: &Authentication, parts: &Parts) -> Result<String, Reason> {
    let callers = callers(Vec::new());
    let check = callers.pending(asked, parts).map_err(|error| error.reason)?;
    if let Some(check) = check {
        check.await.unwrap();
    }
    let identified = callers.identify(asked, parts);
    identified
        .map(|identified| {
            identified
                .consumer
                .map_or(String::new(), |consumer| consumer.name.to_string())
        })
        .map_err(|error| error.reason)
}

#[tokio::test]
async fn a_key_may_stand_in_each_of_its_places_and_once() {
    let asked = asked(vec![vec![key()]], None);
    let of = |target: &str, fields: &[(&str, &str)]| request(target, fields);
    for (parts, expected) in [
        (of("/", &[("x-api-key", "ann-key")]), Ok("ann")),
        (of("/?a=1&key=bob-key", &[]), Ok("bob")),
        (of("/", &[("cookie", "a=1; key=ann-key")]), Ok("ann")),
        (of("/?key=bob-key", &[("x-api-key", "ann-key")]), Ok("ann")),
        (of("/", &[]), Err(Reason::NoCredentials)),
        (
            of("/?keys=ann-key", &[("x-api-keys", "ann-key")]),
            Err(Reason::NoCredentials),
        ),
        (of("/", &[("x-api-key", "")]), Err(Reason::UnknownKey)),
        (of("/", &[("x-api-key", "ann-password")]), Err(Reason::UnknownKey)),
        (
            of("/", &[("x-api-key", "ann-key"), ("x-api-key", "ann-key")]),
            Err(Reason::AmbiguousCredentials),
        ),
        (of("/?key=ann-key&key=x", &[]), Err(Reason::AmbiguousCredentials)),
        (
            of("/", &[("cookie", "key=x"), ("cookie", "key=ann-key")]),
            Err(Reason::AmbiguousCredentials),
        ),
    ] {
        let found = outcome(&asked, &parts).await;
        assert_eq!(found.as_deref().map_err(|reason| *reason), expected, "{parts:?}");
    }
}

#[tokio::test]
async fn a_password_is_that_of_its_name() {
    let asked = asked(vec![vec![basic()]], None);
    for (field, expected) in [
        (password("ann", "ann-password"), Ok("ann")),
        (password("ann", "ann-password").replace("Basic", "bAsIc"), Ok("ann")),
        (password("ann", "bob-password"), Err(Reason::WrongPassword)),
        (password("eve", "ann-password"), Err(Reason::WrongPassword)),
        (password("", ""), Err(Reason::WrongPassword)),
        ("Basic ?".to_owned(), Err(Reason::WrongPassword)),
        ("Basic".to_owned(), Err(Reason::NoCredentials)),
        ("Bearer abc".to_owned(), Err(Reason::NoCredentials)),
        (password("ann", &"x".repeat(2000)), Err(Reason::WrongPassword)),
    ] {
        let found = outcome(&asked, &request("/", &[("authorization", &field)])).await;
        assert_eq!(found.as_deref().map_err(|reason| *reason), expected, "{field}");
    }
}

#[tokio::test]
async fn a_good_password_is_waited_for_once() {
    let (asked, callers) = (asked(vec![vec![basic()]], None), callers(Vec::new()));
    let parts = request("/", &[("authorization", &password("ann", "ann-password"))]);
    let check = callers.pending(&asked, &parts).unwrap().expect("it is not known yet");
    assert!(check.await.unwrap());
    assert!(callers.pending(&asked, &parts).unwrap().is_none());
    assert!(callers.identify(&asked, &parts).is_ok());
    let of_nobody = request("/", &[("authorization", &password("eve", "ann-password"))]);
    let check = callers.pending(&asked, &of_nobody).unwrap();
    let check = check.expect("a name that nobody has takes as long");
    assert!(!check.await.unwrap(), "with the password of somebody, too");
}

#[tokio::test]
async fn any_in_their_order_all_together_and_who_shows_nothing() {
    let (ann, bob) = (("x-api-key", "ann-key"), password("bob", "bob-password"));
    let (bob, eve) = (("authorization", &*bob), ("x-api-key", "eve-key"));
    let any = asked(vec![vec![key()], vec![basic()]], Some("bob"));
    let all = asked(vec![vec![key(), basic()]], None);
    let gone = asked(vec![vec![key()]], Some("nobody"));
    let own = password("ann", "ann-password");
    for (asked, fields, expected) in [
        (&any, vec![ann, bob], Ok("ann")),
        (&any, vec![bob], Ok("bob")),
        (&any, vec![eve, bob], Ok("bob")),
        (&any, vec![eve], Err(Reason::UnknownKey)),
        (&any, vec![], Ok("bob")),
        (&gone, vec![], Err(Reason::NoCredentials)),
        (&all, vec![ann, ("authorization", &own)], Ok("ann")),
        (&all, vec![ann, bob], Err(Reason::CredentialsDiffer)),
        (&all, vec![ann], Err(Reason::NoCredentials)),
        (&all, vec![bob], Err(Reason::NoCredentials)),
        (&all, vec![eve, ("authorization", &own)], Err(Reason::UnknownKey)),
        (&all, vec![], Err(Reason::NoCredentials)),
    ] {
        let found = outcome(asked, &request("/", &fields)).await;
        assert_eq!(found.as_deref().map_err(|reason| *reason), expected, "{fields:?}");
    }
}

#[test]
fn the_service_is_told_who_calls_and_sees_no_credentials() {
    let asked = asked(vec![vec![key()], vec![basic()]], Some("bob"));
    let callers = callers(Vec::new());
    let fields = [
        ("x-api-key", "ann-key"),
        ("authorization", "Basic abc"),
        ("cookie", "a=1; key=ann-key; b=2"),
        ("cookie", "key=x"),
        ("x-mail", "forged@id.test"),
        ("x-own", "kept"),
    ];
    let parts = request("/things?a=1&key=ann-key&b", &fields);
    let mut headers = parts.headers.clone();
    callers.identify(&asked, &parts).unwrap().apply(&asked, &mut headers);
    let mut told: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "cookie: a=1; b=2",
            "x-consumer-groups: a,b",
            "x-consumer-username: ann",
            "x-own: kept"
        ]
    );
    let target = parts.uri.path_and_query().unwrap();
    let target = identified::without_credentials(&asked, target).unwrap();
    assert_eq!(target, "/things?a=1&b");
    let alone = http::uri::PathAndQuery::from_static("/things?key=x");
    assert_eq!(identified::without_credentials(&asked, &alone).unwrap(), "/things");
    let none = http::uri::PathAndQuery::from_static("/things?keys=x");
    assert!(identified::without_credentials(&asked, &none).is_none());

    let mut headers = HeaderMap::new();
    let nobody = callers.identify(&asked, &request("/", &[])).unwrap();
    nobody.apply(&asked, &mut headers);
    assert_eq!(
        (&headers["x-consumer-username"], &headers["x-anonymous-consumer"]),
        (&HeaderValue::from_static("bob"), &HeaderValue::from_static("true"))
    );
}

#[test]
fn an_answer_for_want_of_credentials_says_which() {
    let asked = asked(vec![vec![key()]], None);
    let told = |reason| {
        let mut answer = HeaderMap::new();
        challenge(&asked, &Error::new(reason), &mut answer);
        let told = answer.get_all(WWW_AUTHENTICATE).into_iter();
        told.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(told(Reason::NoCredentials), ["Basic realm=\"x\"", "Bearer realm=\"x\""]);
    assert_eq!(
        told(Reason::TokenExpired)[1],
        "Bearer realm=\"x\", error=\"invalid_token\""
    );
    assert!(told(Reason::KeysUnavailable).is_empty() && told(Reason::NotAllowed).is_empty());
}
