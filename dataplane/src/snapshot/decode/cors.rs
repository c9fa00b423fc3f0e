//! Policies for pages of other origins, and the fields that tell them.

use http::HeaderValue;

use super::Checked;
use crate::proto;
use crate::snapshot::model::{Cors, OriginMatch};

pub(super) fn cors(message: proto::Cors) -> Checked<Cors> {
    let is_any = |items: &[String]| items.iter().any(|item| item == "*");
    if message.allow_origins.is_empty() {
        return Err("cors has no allow_origins".to_owned());
    }
    let (any, lists) = (
        is_any(&message.allow_origins),
        [&message.allow_methods, &message.allow_headers, &message.expose_headers],
    );
    // With credentials browsers take no star (https://fetch.spec.whatwg.org/#cors-protocol-and-credentials).
    if message.allow_credentials && (any || lists.into_iter().any(|list| is_any(list))) {
        return Err("cors allows credentials and holds a \"*\"".to_owned());
    }
    let origins = message.allow_origins.iter().map(|origin| origin_match(origin));
    Ok(Cors {
        origins: (!any).then(|| origins.collect::<Checked<_>>()).transpose()?,
        methods: list("allow_methods", &message.allow_methods)?,
        headers: list("allow_headers", &message.allow_headers)?,
        exposed: list("expose_headers", &message.expose_headers)?,
        max_age: message.max_age.map(HeaderValue::from),
        credentials: message.allow_credentials,
    })
}

/// "https://shop.example.com", "https://*.example.com:8443".
fn origin_match(origin: &str) -> Checked<OriginMatch> {
    let unusable = || format!("cors origin {origin:?} is not usable; expected one like \"https://shop.example.com\"");
    let (scheme, host) = origin.split_once("://").ok_or_else(unusable)?;
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    let below = host.strip_prefix("*.");
    if !is_plain(scheme) || !is_plain(below.unwrap_or(host)) || below.unwrap_or(host).contains('*') {
        return Err(unusable());
    }
    Ok(match below {
        Some(below) => OriginMatch::Label(format!("{scheme}://").into(), format!(".{below}").into()),
        None => OriginMatch::Exact(origin.into()),
    })
}

fn list(field: &str, items: &[String]) -> Checked<HeaderValue> {
    HeaderValue::try_from(items.join(", ")).map_err(|_| format!("cors.{field} holds what no field can"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy for these origins.
    fn of(origins: &[&str]) -> proto::Cors {
        proto::Cors {
            allow_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn origins_become_conditions() {
        let decoded = cors(of(&["https://shop.test", "https://*.shop.test:8443"])).unwrap();
        assert_eq!(
            decoded.origins.unwrap(),
            [
                OriginMatch::Exact("https://shop.test".into()),
                OriginMatch::Label("https://".into(), ".shop.test:8443".into()),
            ]
        );
        assert!(cors(of(&["*"])).unwrap().origins.is_none());
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        for origins in [
            &[][..],
            &["shop.test"],
            &["https://"],
            &["https://a/b"],
            &["https://a.*.test"],
        ] {
            assert!(cors(of(origins)).is_err(), "{origins:?}");
        }
        let credentials = |cors: proto::Cors| proto::Cors { allow_credentials: true, ..cors };
        assert!(cors(credentials(of(&["https://shop.test"]))).is_ok());
        assert!(cors(credentials(of(&["*"]))).is_err());
        let starred = proto::Cors { allow_headers: vec!["*".to_owned()], ..of(&["https://shop.test"]) };
        assert!(cors(credentials(starred)).is_err());
        let broken = proto::Cors { expose_headers: vec!["x\n".to_owned()], ..of(&["*"]) };
        assert!(cors(broken).is_err());
    }
}
