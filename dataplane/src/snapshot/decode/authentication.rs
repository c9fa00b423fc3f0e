//! How callers prove who they are.

use http::{HeaderName, HeaderValue};

use super::Checked;
use crate::proto;
use crate::snapshot::model::{Access, AccessRule, Algorithm, Authentication, Carrier, Jwt, Method};

/// Each may cost a signature.
const MAX_METHODS: usize = 16;
/// Each is asked per request.
const MAX_RULES: usize = 64;

pub(super) fn authentication(message: proto::Authentication) -> Checked<Authentication> {
    if message.realm.contains(['"', '\\']) {
        return Err(format!("authentication: {:?} is no realm", message.realm));
    }
    let (mut hidden, mut challenges, mut own_fields) = (Vec::new(), Vec::new(), Vec::new());
    let mut alternatives = Vec::new();
    for alternative in message.alternatives {
        let mut all = Vec::new();
        for message_of_one in alternative.all {
            let is_hidden = !message_of_one.forward;
            let method = method(message_of_one)?;
            if is_hidden {
                hidden.extend_from_slice(method.carriers());
            }
            let challenge = challenge(&method, &message.realm)?;
            if !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
            if let Method::Jwt(jwt) = &method {
                own_fields.extend(jwt.headers.iter().map(|(_, name)| name.clone()));
            }
            all.push(method);
        }
        if all.is_empty() {
            return Err("authentication has an alternative that asks for nothing".to_owned());
        }
        alternatives.push(all);
    }
    let methods = alternatives.iter().map(Vec::len).sum::<usize>();
    if methods == 0 || methods > MAX_METHODS {
        return Err(format!(
            "authentication has {methods} methods; expected 1 to {MAX_METHODS}"
        ));
    }
    Ok(Authentication {
        alternatives,
        anonymous: Some(message.anonymous).filter(|name| !name.is_empty()).map(Into::into),
        challenges,
        hidden,
        own_fields,
    })
}

pub(super) fn access(message: proto::Access) -> Checked<Access> {
    if message.rules.len() > MAX_RULES {
        return Err(format!("access has more than {MAX_RULES} rules"));
    }
    let texts = |texts: Vec<String>| texts.into_iter().map(Into::into).collect::<Vec<Box<str>>>();
    let rule = |rule: proto::AccessRule| {
        let claims = rule.claims.into_iter().map(|test| match test.values.is_empty() {
            true => Err(format!("access: no value of the claim {:?} would do", test.claim)),
            false => Ok((test.claim.into(), texts(test.values))),
        });
        Ok(AccessRule {
            consumers: texts(rule.consumers),
            groups: texts(rule.groups),
            claims: claims.collect::<Checked<_>>()?,
        })
    };
    Ok(Access { rules: message.rules.into_iter().map(rule).collect::<Checked<_>>()? })
}

fn method(message: proto::Method) -> Checked<Method> {
    use proto::method::Kind;
    match message.kind {
        Some(Kind::Key(message)) => Ok(Method::Key(carriers(message.carriers)?)),
        Some(Kind::Basic(proto::BasicMethod {})) => {
            let authorization = http::header::AUTHORIZATION;
            Ok(Method::Basic(vec![Carrier::Header(
                authorization,
                Some("Basic".into()),
            )]))
        }
        Some(Kind::Jwt(message)) => jwt(message).map(Box::new).map(Method::Jwt),
        None => Err("a method of authentication says nothing; expected key, basic or jwt".to_owned()),
    }
}

fn jwt(message: proto::JwtMethod) -> Checked<Jwt> {
    if message.issuer.is_empty() || message.key_set.is_empty() || message.algorithms.is_empty() {
        return Err("jwt needs an issuer, a key set and algorithms".to_owned());
    }
    let algorithm =
        |name: String| Algorithm::of(&name).ok_or_else(|| format!("jwt: {name:?} is no algorithm of this data plane"));
    let header = |told: proto::ClaimHeader| Ok((told.claim.into(), field(&told.header)?));
    Ok(Jwt {
        carriers: carriers(message.carriers)?,
        issuer: message.issuer.into(),
        audiences: message.audiences.into_iter().map(Into::into).collect(),
        algorithms: message.algorithms.into_iter().map(algorithm).collect::<Checked<_>>()?,
        key_set: message.key_set.into(),
        leeway: message.leeway_s,
        needs_end: !message.without_end,
        headers: message.headers.into_iter().map(header).collect::<Checked<_>>()?,
    })
}

fn carriers(messages: Vec<proto::Carrier>) -> Checked<Vec<Carrier>> {
    use proto::carrier::Place;
    let carrier = |message: proto::Carrier| match message.place {
        Some(Place::Header(name)) => {
            let scheme = Some(message.scheme).filter(|scheme| !scheme.is_empty());
            Ok(Carrier::Header(field(&name)?, scheme.map(Into::into)))
        }
        Some(Place::Query(name)) if !name.is_empty() => Ok(Carrier::Query(name.into())),
        Some(Place::Cookie(name)) if !name.is_empty() => Ok(Carrier::Cookie(name.into())),
        _ => Err("a carrier of credentials names no place".to_owned()),
    };
    let carriers: Vec<_> = messages.into_iter().map(carrier).collect::<Checked<_>>()?;
    match carriers.is_empty() {
        true => Err("nothing says where credentials stand".to_owned()),
        false => Ok(carriers),
    }
}

fn field(name: &str) -> Checked<HeaderName> {
    HeaderName::from_lowercase(name.as_bytes())
        .map_err(|_| format!("{name:?} is no header name; expected lower case, like \"x-api-key\""))
}

/// RFC 9110 section 11.6.1. Of keys there is no registered scheme; Kong calls it so.
fn challenge(method: &Method, realm: &str) -> Checked<HeaderValue> {
    let text = match method {
        Method::Key(_) => format!("Key realm=\"{realm}\""),
        Method::Basic(_) => format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
        Method::Jwt(_) => format!("Bearer realm=\"{realm}\""),
    };
    HeaderValue::try_from(text).map_err(|_| format!("authentication: {realm:?} is no realm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(alternatives: Vec<Vec<proto::method::Kind>>) -> Checked<Authentication> {
        let method = |kind| proto::Method { kind: Some(kind), forward: false };
        let all = |kinds: Vec<_>| proto::Alternative { all: kinds.into_iter().map(method).collect() };
        authentication(proto::Authentication {
            alternatives: alternatives.into_iter().map(all).collect(),
            anonymous: String::new(),
            realm: "shop".into(),
        })
    }

    fn key(header: &str) -> proto::method::Kind {
        let place = Some(proto::carrier::Place::Header(header.into()));
        let carriers = vec![proto::Carrier { place, scheme: String::new() }];
        proto::method::Kind::Key(proto::KeyMethod { carriers })
    }

    #[test]
    fn each_scheme_is_told_once() {
        let basic = || proto::method::Kind::Basic(proto::BasicMethod {});
        let asked = of(vec![vec![key("x-api-key"), basic()], vec![basic()]]).expect("valid");
        assert_eq!(
            asked.challenges,
            ["Key realm=\"shop\"", "Basic realm=\"shop\", charset=\"UTF-8\""]
        );
        assert_eq!(asked.hidden.len(), 3);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(of(vec![]).is_err() && of(vec![vec![]]).is_err());
        assert!(of(vec![vec![key("X-Api-Key")]]).is_err());
        assert!(of((0..17).map(|_| vec![key("x-api-key")]).collect()).is_err());
        let jwt = |algorithm: &str| {
            let place = Some(proto::carrier::Place::Cookie("token".into()));
            proto::method::Kind::Jwt(proto::JwtMethod {
                carriers: vec![proto::Carrier { place, scheme: String::new() }],
                issuer: "i".into(),
                key_set: "k".into(),
                algorithms: vec![algorithm.into()],
                ..Default::default()
            })
        };
        assert!(of(vec![vec![jwt("RS256")]]).is_ok());
        for algorithm in ["none", "None", "rs256", "RS1", ""] {
            assert!(of(vec![vec![jwt(algorithm)]]).is_err(), "{algorithm}");
        }
    }
}
