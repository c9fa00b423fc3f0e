//! Who a caller is, and what the service is told of it.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::COOKIE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::jwt::Claims;
use super::shown::behind;
use crate::credentials::Consumer;
use crate::http::claims;
use crate::route::facts::Known;
use crate::snapshot::model::{Authentication, Carrier, Jwt};

/// As Kong and APISIX call them; what callers say by these names `http::claims` takes away.
const USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
const GROUPS: HeaderName = HeaderName::from_static("x-consumer-groups");
const ANONYMOUS: HeaderName = HeaderName::from_static("x-anonymous-consumer");

/// Bytes of a claim that a field may tell.
const MAX_TOLD: usize = 4096;

/// A caller whose credentials hold, or who is let in without.
#[derive(Debug)]
pub struct Identified {
    /// None: a token that is no consumer's.
    pub consumer: Option<Arc<Consumer>>,
    /// It has shown no credentials.
    is_anonymous: bool,
    /// What a token says; None: there was none.
    pub claims: Option<Claims>,
    /// Claims that the service is told.
    told: Vec<(HeaderName, HeaderValue)>,
}

impl Identified {
    /// By a key or a password.
    pub fn consumer(consumer: &Arc<Consumer>) -> Self {
        Identified {
            consumer: Some(Arc::clone(consumer)),
            is_anonymous: false,
            claims: None,
            told: Vec::new(),
        }
    }

    /// Nobody in particular.
    pub fn anonymous(consumer: &Arc<Consumer>) -> Self {
        Identified { is_anonymous: true, ..Identified::consumer(consumer) }
    }

    /// By a token.
    pub fn token(consumer: Option<&Arc<Consumer>>, claims: Claims, jwt: &Jwt) -> Self {
        let told = jwt.headers.iter();
        let told = told.filter_map(|(claim, name)| Some((name.clone(), told_value(claims.get(claim)?)?)));
        Identified {
            consumer: consumer.cloned(),
            is_anonymous: false,
            told: told.collect(),
            claims: Some(claims),
        }
    }

    /// Both, where they do not contradict each other.
    pub fn and(mut self, other: Identified) -> Option<Self> {
        match (&self.consumer, other.consumer) {
            (Some(one), Some(another)) if one.name != another.name => return None,
            (None, another) => self.consumer = another,
            _ => {}
        }
        self.claims = self.claims.or(other.claims);
        self.told.extend(other.told);
        Some(self)
    }

    /// The consumer whose credentials the request has shown.
    pub fn proven(&self) -> Option<&Consumer> {
        self.consumer.as_deref().filter(|_| !self.is_anonymous)
    }

    /// Tells the service who calls, and takes away what it must not see or not believe.
    pub fn apply(&self, asked: &Authentication, headers: &mut HeaderMap) {
        claims::forget_named(headers, &asked.own_fields);
        for carrier in &asked.hidden {
            hide(carrier, headers);
        }
        for (name, value) in &self.told {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(consumer) = &self.consumer {
            headers.insert(USERNAME, consumer.told_name.clone());
            if let Some(groups) = &consumer.told_groups {
                headers.insert(GROUPS, groups.clone());
            }
        }
        if self.is_anonymous {
            headers.insert(ANONYMOUS, HeaderValue::from_static("true"));
        }
    }
}

impl Known for Identified {
    fn consumer(&self) -> Option<&str> {
        self.consumer.as_ref().map(|consumer| &*consumer.name)
    }

    fn claim(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.claims.as_ref()?.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(Cow::Borrowed(text)),
            other => Some(Cow::Owned(other.to_string())),
        }
    }
}

/// The target without credentials in its query; None: it has none.
pub fn without_credentials(asked: &Authentication, target: &PathAndQuery) -> Option<PathAndQuery> {
    let query = target.query()?;
    let is_hidden = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        let mut hidden = asked.hidden.iter();
        hidden.any(|carrier| matches!(carrier, Carrier::Query(hidden) if **hidden == *name))
    };
    if !query.split('&').any(|pair| is_hidden(&pair)) {
        return None;
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| !is_hidden(pair)).collect();
    let target = match kept.is_empty() {
        true => target.path().to_owned(),
        false => format!("{}?{}", target.path(), kept.join("&")),
    };
    PathAndQuery::try_from(target).ok()
}

fn hide(carrier: &Carrier, headers: &mut HeaderMap) {
    match carrier {
        Carrier::Header(name, None) => drop(headers.remove(name)),
        Carrier::Header(name, Some(scheme)) => {
            let is_other = |field: &&HeaderValue| behind(scheme, field.as_bytes()).is_none();
            keep(name, headers, |fields| {
                fields.iter().filter(|field| is_other(field)).cloned().collect()
            });
        }
        Carrier::Query(_) => {}
        Carrier::Cookie(name) => keep(&COOKIE, headers, |fields| {
            let kept: Vec<&[u8]> = fields.iter().flat_map(|field| others(name, field)).collect();
            let joined = HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok();
            joined.filter(|joined| !joined.is_empty()).into_iter().collect()
        }),
    }
}

/// The cookies of a field but for that one.
fn others<'a>(name: &str, field: &'a HeaderValue) -> impl Iterator<Item = &'a [u8]> {
    let pairs = field.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let prefix = format!("{name}=").into_bytes();
    pairs.filter(move |pair| !pair.is_empty() && !pair.starts_with(&prefix))
}

/// Puts what `change` makes of the fields of a name in their place.
fn keep(name: &HeaderName, headers: &mut HeaderMap, change: impl Fn(&[HeaderValue]) -> Vec<HeaderValue>) {
    let before: Vec<_> = headers.get_all(name).into_iter().cloned().collect();
    if before.is_empty() {
        return;
    }
    headers.remove(name);
    for value in change(&before) {
        headers.append(name.clone(), value);
    }
}

/// Texts as they are, lists of them with commas; None: no field can say it.
fn told_value(claim: &Value) -> Option<HeaderValue> {
    let text = match claim {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => claim.to_string(),
        Value::Array(items) => {
            let texts = items
                .iter()
                .map(|item| item.as_str().filter(|text| !text.contains(',')));
            texts.collect::<Option<Vec<_>>>()?.join(",")
        }
        Value::Null | Value::Object(_) => return None,
    };
    let value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
    (value.len() <= MAX_TOLD).then_some(value)
}
