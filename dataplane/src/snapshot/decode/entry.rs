//! Who may come in, and with what.

use std::sync::Arc;

use http::{HeaderValue, Uri};

use super::{Checked, matchers};
use crate::proto;
use crate::snapshot::model::{ContentType, Listed, Network, Shape, Sources};

pub(super) fn sources(message: proto::Sources) -> Checked<Sources> {
    let proto::Sources { only, allow, deny, allow_lists, deny_lists } = message;
    let has_allowed = !allow.is_empty() || !allow_lists.is_empty();
    if has_allowed && !only {
        return Err("sources.allow has networks, and `only` says that all may come".to_owned());
    }
    let allow = listed("sources.allow", &allow, allow_lists)?;
    Ok(Sources { allow: only.then_some(allow), deny: listed("sources.deny", &deny, deny_lists)? })
}

fn listed(field: &str, texts: &[String], lists: Vec<String>) -> Checked<Listed> {
    let networks = texts.iter().map(|text| matchers::network(field, text));
    Ok(Listed {
        networks: networks.collect::<Checked<_>>()?,
        lists: lists.into_iter().map(Into::into).collect(),
    })
}

pub(super) fn balancers(message: &proto::ProxyProtocol) -> Checked<Arc<[Network]>> {
    if message.trusted.is_empty() {
        return Err("proxy_protocol trusts nobody: every connection would be refused".to_owned());
    }
    let networks = message
        .trusted
        .iter()
        .map(|text| matchers::network("proxy_protocol.trusted", text));
    networks.collect()
}

/// Of the form that paths of requests have when they are looked at.
pub(super) fn health_path(path: String) -> Checked<Option<Arc<str>>> {
    match path.parse::<Uri>() {
        _ if path.is_empty() => Ok(None),
        Ok(uri) if path.starts_with('/') && uri.path() == path => Ok(Some(path.into())),
        _ => Err(format!(
            "health_path {path:?} is no path; expected one like \"/healthz\""
        )),
    }
}

pub(super) fn shape(message: proto::Shape) -> Checked<Shape> {
    let methods = message.methods.iter().map(|method| matchers::method(method));
    let allow = HeaderValue::try_from(message.methods.join(", ")).map_err(|error| error.to_string())?;
    let content_types = message.content_types.iter().map(|text| content_type(text));
    Ok(Shape {
        methods: methods.collect::<Checked<_>>()?,
        allow,
        content_types: content_types.collect::<Checked<_>>()?,
    })
}

pub(super) fn content_type(text: &str) -> Checked<ContentType> {
    let legal = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"/;,*".contains(&byte))
    };
    match text.split_once('/') {
        Some((kind, "*")) if legal(kind) => Ok(ContentType::Of(format!("{kind}/").into())),
        Some((kind, rest)) if legal(kind) && legal(rest) => Ok(ContentType::Exact(text.into())),
        _ => Err(format!(
            "content type {text:?} is none; expected one like \"application/json\" or \"image/*\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        let of = |only, allow: &[&str], deny: &[&str]| {
            let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            sources(proto::Sources { only, allow: texts(allow), deny: texts(deny), ..proto::Sources::default() })
        };
        assert!(of(true, &["10.0.0.0/8"], &["::1/128"]).is_ok() && of(true, &[], &[]).is_ok());
        assert!(of(false, &["10.0.0.0/8"], &[]).is_err());
        assert!(of(true, &["10.0.0.0"], &[]).is_err() && of(false, &[], &["x/8"]).is_err());
        for text in ["", "json", "*/*", "a/b/c", "a/", "/b", "a/b;c", "a/*b"] {
            assert!(content_type(text).is_err(), "{text}");
        }
        let trusting = |trusted: &[&str]| {
            let trusted = trusted.iter().map(|text| (*text).to_owned()).collect();
            balancers(&proto::ProxyProtocol { trusted })
        };
        assert!(trusting(&["10.0.0.0/8", "::1/128"]).is_ok());
        assert!(trusting(&[]).is_err() && trusting(&["10.0.0.0"]).is_err());
        for path in ["healthz", "/a?b", "/a#b", "*", "/a b", "http://a/b"] {
            assert!(health_path(path.to_owned()).is_err(), "{path}");
        }
        assert_eq!(health_path(String::new()), Ok(None));
        assert_eq!(health_path("/healthz".to_owned()), Ok(Some("/healthz".into())));
        assert_eq!(content_type("image/*"), Ok(ContentType::Of("image/".into())));
        assert_eq!(content_type("a/b+c"), Ok(ContentType::Exact("a/b+c".into())));
    }
}
