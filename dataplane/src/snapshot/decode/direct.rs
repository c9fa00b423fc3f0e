//! What a gateway answers by itself.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Checked;
use super::clusters::status_range;
use super::headers::is_framing;
use super::matchers::{host_match, path};
use crate::proto::{self, redirect};
use crate::snapshot::model::{
    Direct, Direction, ErrorPage, Front, HostMatch, HttpsRedirect, Matcher, NewPath, PathMatch, Redirect, Respond,
};

/// Bytes of a body: small enough for any codec's buffer.
const MAX_BODY: usize = 16 * 1024;
const HTTPS: u16 = 443;

/// How the route answers by itself; `None`: it leads somewhere.
pub(super) fn direct(message: &mut proto::Route, matcher: &Matcher) -> Checked<Option<Direct>> {
    let redirect = message.redirect.take().map(|message| redirect_of(message, matcher));
    let respond = message.respond.take().map(respond_of);
    let direct = match (message.preflight, redirect, respond) {
        (false, None, None) => return Ok(None),
        (true, None, None) if message.cors.is_some() => Direct::Preflight,
        (true, None, None) => return Err("a preflight route has cors and no destinations".to_owned()),
        (false, Some(redirect), None) => Direct::Redirect(Box::new(redirect?)),
        (false, None, Some(respond)) => Direct::Respond(Box::new(respond?)),
        _ => return Err("it has more than one of preflight, redirect and respond".to_owned()),
    };
    match message.destinations.is_empty() {
        true => Ok(Some(direct)),
        false => Err(
            "it answers by itself: a preflight route has no destinations, nor has one with redirect or respond"
                .to_owned(),
        ),
    }
}

fn redirect_of(message: proto::Redirect, matcher: &Matcher) -> Checked<Redirect> {
    let new_path = match message.path {
        None => None,
        Some(redirect::Path::Whole(whole)) => Some(NewPath::Whole(path("redirect.whole", whole)?.into())),
        Some(redirect::Path::Prefix(_)) if !has_prefix(matcher) => {
            return Err("redirect.prefix needs a path prefix to replace".to_owned());
        }
        Some(redirect::Path::Prefix(prefix)) if prefix.is_empty() => Some(NewPath::Prefix(prefix.into())),
        Some(redirect::Path::Prefix(prefix)) => {
            let prefix = path("redirect.prefix", prefix)?;
            Some(NewPath::Prefix(prefix.trim_end_matches('/').into()))
        }
    };
    let host = Some(message.host).filter(|host| !host.is_empty());
    if let Some(host) = &host
        && !matches!(host_match(host)?, HostMatch::Exact(_))
    {
        return Err(format!("redirect.host {host:?} is a pattern; expected one host"));
    }
    Ok(Redirect {
        status: redirect_status(message.status)?,
        scheme: match &*message.scheme {
            "" => None,
            "http" => Some(Scheme::HTTP),
            "https" => Some(Scheme::HTTPS),
            other => return Err(format!("redirect.scheme is {other:?}; expected \"http\" or \"https\"")),
        },
        host: host.map(Into::into),
        port: port("redirect.port", message.port)?,
        path: new_path,
        strip_query: message.strip_query,
    })
}

fn has_prefix(matcher: &Matcher) -> bool {
    matches!(
        matcher.path,
        None | Some(PathMatch::Prefix(_) | PathMatch::Template { is_open: true, .. })
    )
}

fn redirect_status(status: u32) -> Checked<StatusCode> {
    match u16::try_from(status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok())
    {
        Some(status) if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) => Ok(status),
        _ => Err(format!(
            "{status} is no status of a redirect; expected 301, 302, 303, 307 or 308"
        )),
    }
}

/// `None`: 0.
fn port(field: &str, port: u32) -> Checked<Option<u16>> {
    let port = u16::try_from(port).map_err(|_| format!("{field} is {port}; expected at most 65535"))?;
    Ok((port > 0).then_some(port))
}

fn respond_of(message: proto::DirectResponse) -> Checked<Respond> {
    let status = u16::try_from(message.status)
        .ok()
        .filter(|status| (200..=599).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.ok_or_else(|| format!("respond.status is {}; expected 200 to 599", message.status))?;
    let has_none = matches!(status.as_u16(), 204 | 205 | 304);
    let body = body("respond.body", message.body)?;
    if has_none && !body.is_empty() {
        return Err(format!("respond.body: an answer with status {status} has no content"));
    }
    let mut headers = HeaderMap::new();
    for field in message.headers {
        let name = HeaderName::from_lowercase(field.name.as_bytes()).ok();
        let Some(name) = name.filter(|name| !is_framing(name)) else {
            return Err(format!(
                "respond: {:?} is no name of a header that can be set",
                field.name
            ));
        };
        headers.insert(name, value("respond", &field.value)?);
    }
    if !has_none {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    Ok(Respond { status, headers, body: (!body.is_empty()).then_some(body) })
}

fn value(field: &str, text: &str) -> Checked<HeaderValue> {
    HeaderValue::try_from(text).map_err(|_| format!("{field}: {text:?} is no value of a header; expected visible text"))
}

fn body(field: &str, body: Vec<u8>) -> Checked<Bytes> {
    match body.len() {
        0..=MAX_BODY => Ok(body.into()),
        more => Err(format!("{field} has {more} bytes; expected at most {MAX_BODY}")),
    }
}

/// In their order.
pub(super) fn error_pages(messages: Vec<proto::ErrorPage>) -> Checked<Vec<ErrorPage>> {
    let page = |message: proto::ErrorPage| {
        if message.statuses.is_empty() || message.content_type.is_empty() {
            return Err(format!("error_pages: expected statuses and {CONTENT_TYPE}"));
        }
        let range = |range| status_range("error_pages", range);
        Ok(ErrorPage {
            statuses: message.statuses.into_iter().map(range).collect::<Checked<_>>()?,
            content_type: value("error_pages", &message.content_type)?,
            body: body("error_pages", message.body)?,
        })
    };
    messages.into_iter().map(page).collect()
}

/// What a listener answers by itself; `None`: nothing.
pub(super) fn front(message: &mut proto::Listener, direction: Direction) -> Checked<Option<Front>> {
    let https_redirect = message.https_redirect.take().map(https_redirect).transpose()?;
    let hsts = match &*message.hsts {
        "" => None,
        hsts => Some(value(STRICT_TRANSPORT_SECURITY.as_str(), hsts)?),
    };
    let error_pages = error_pages(std::mem::take(&mut message.error_pages))?;
    if https_redirect.is_none() && hsts.is_none() && error_pages.is_empty() {
        return Ok(None);
    }
    match direction {
        Direction::Edge => Ok(Some(Front { https_redirect, hsts, error_pages })),
        _ => Err("https_redirect, hsts and error_pages are of listeners at the edge".to_owned()),
    }
}

fn https_redirect(message: proto::HttpsRedirect) -> Checked<HttpsRedirect> {
    Ok(HttpsRedirect {
        status: redirect_status(message.status)?,
        port: port("https_redirect.port", message.port)?.unwrap_or(HTTPS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> proto::Route {
        proto::Route { destinations: Vec::new(), ..proto::Route::default() }
    }

    fn redirect(change: impl FnOnce(&mut proto::Redirect)) -> proto::Route {
        let mut redirect = proto::Redirect { status: 302, ..Default::default() };
        change(&mut redirect);
        proto::Route { redirect: Some(redirect), ..route() }
    }

    fn respond(change: impl FnOnce(&mut proto::DirectResponse)) -> proto::Route {
        let mut respond = proto::DirectResponse { status: 200, ..Default::default() };
        change(&mut respond);
        proto::Route { respond: Some(respond), ..route() }
    }

    fn refused(mut message: proto::Route, matcher: Matcher) -> Option<String> {
        direct(&mut message, &matcher).err()
    }

    #[test]
    fn a_route_answers_in_one_way_or_leads_somewhere() {
        let any = Matcher::default;
        assert!(matches!(direct(&mut route(), &any()), Ok(None)));
        assert!(refused(redirect(|_| {}), any()).is_none());
        assert!(refused(respond(|_| {}), any()).is_none());
        let both = proto::Route { redirect: redirect(|_| {}).redirect, ..respond(|_| {}) };
        assert!(refused(both, any()).is_some_and(|words| words.contains("more than one")));
        let leads = proto::Route { destinations: vec![proto::Destination::default()], ..respond(|_| {}) };
        assert!(refused(leads, any()).is_some_and(|words| words.contains("no destinations")));
        let exact = Matcher { path: Some(PathMatch::Exact("/a".into())), ..any() };
        let prefix = redirect(|redirect| redirect.path = Some(redirect::Path::Prefix("/b".into())));
        assert!(refused(prefix, exact).is_some_and(|words| words.contains("needs a path prefix")));
    }

    #[test]
    fn what_no_answer_can_be_is_refused() {
        for message in [
            redirect(|redirect| redirect.status = 304),
            redirect(|redirect| redirect.scheme = "ftp".into()),
            redirect(|redirect| redirect.host = "*.example.com".into()),
            redirect(|redirect| redirect.host = "a\r\nb".into()),
            redirect(|redirect| redirect.port = 65_536),
            redirect(|redirect| redirect.path = Some(redirect::Path::Whole("b c".into()))),
            respond(|respond| respond.status = 101),
            respond(|respond| respond.body = vec![b'a'; MAX_BODY + 1]),
            respond(|respond| (respond.status, respond.body) = (204, vec![b'a'])),
            respond(|respond| respond.headers = vec![field("content-length", "7")]),
            respond(|respond| respond.headers = vec![field("x-a", "b\r\nset-cookie: c")]),
        ] {
            assert!(refused(message.clone(), Matcher::default()).is_some(), "{message:?}");
        }
    }

    fn field(name: &str, value: &str) -> proto::direct_response::Field {
        proto::direct_response::Field { name: name.into(), value: value.into() }
    }

    #[test]
    fn a_front_is_of_the_edge() {
        let listener = || proto::Listener { hsts: "max-age=1".into(), ..Default::default() };
        assert!(front(&mut listener(), Direction::Edge).is_ok_and(|front| front.is_some()));
        assert!(front(&mut listener(), Direction::Outbound).is_err());
        assert!(front(&mut proto::Listener::default(), Direction::Outbound).is_ok_and(|front| front.is_none()));
        assert!(
            error_pages(vec![proto::ErrorPage {
                content_type: "a/b".into(),
                ..Default::default()
            }])
            .is_err()
        );
    }
}
