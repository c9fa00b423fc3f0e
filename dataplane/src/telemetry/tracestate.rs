//! What our proxies tell each other along a trace. It goes in `tracestate`, for applications pass that on with
//! `traceparent` to whom they call, and fields that they do not know they do not.
//!
//! There is one thing to tell: whoever sends this request tries it again. Our member is then `sidecar=retry:1`.

use http::header::{HeaderMap, HeaderValue};

use super::propagation::w3c::{MAX_TRACESTATE_MEMBERS, TRACESTATE, trim};

const MEMBER: &str = "sidecar=retry:1";
const KEY: &[u8] = b"sidecar=";

/// Whether someone above tries the request again.
pub fn is_marked_retried(headers: &HeaderMap) -> bool {
    members(headers).any(|member| member == MEMBER.as_bytes())
}

/// Says that this request is tried again here. Without a trace it stands alone: to begin one would decide for
/// applications whether theirs are sampled.
pub fn mark_retried(headers: &mut HeaderMap) {
    if !headers.contains_key(TRACESTATE) {
        headers.insert(TRACESTATE, HeaderValue::from_static(MEMBER));
    } else if !is_marked_retried(headers) {
        write(headers, Some(MEMBER));
    }
}

/// Forgets what a caller says who is not believed.
pub fn forget(headers: &mut HeaderMap) {
    if headers.contains_key(TRACESTATE) && members(headers).any(|member| member.starts_with(KEY)) {
        write(headers, None);
    }
}

/// Ours in front, as the last that changed (Level 1 section 3.5), then those of others, of which the last give way.
fn write(headers: &mut HeaderMap, ours: Option<&str>) {
    let others = members(headers).filter(|member| !member.starts_with(KEY));
    let all = ours.map(str::as_bytes).into_iter().chain(others);
    let all: Vec<&[u8]> = all.take(MAX_TRACESTATE_MEMBERS).collect();
    match HeaderValue::try_from(all.join(&b',')) {
        Ok(value) if !all.is_empty() => drop(headers.insert(TRACESTATE, value)),
        _ => drop(headers.remove(TRACESTATE)),
    }
}

fn members(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(TRACESTATE).into_iter();
    fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
        .map(trim)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(states: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for state in states {
            headers.append(TRACESTATE, state.parse().unwrap());
        }
        headers
    }

    fn states(headers: &HeaderMap) -> Vec<&str> {
        let fields = headers.get_all(TRACESTATE).iter();
        fields.map(|field| field.to_str().unwrap()).collect()
    }

    #[test]
    fn the_mark_goes_in_front_of_what_others_say_and_stands_once() {
        for (before, after) in [
            (&[][..], "sidecar=retry:1"),
            (&["a=1"], "sidecar=retry:1,a=1"),
            (&["a=1 , b=2", "t@c=3"], "sidecar=retry:1,a=1,b=2,t@c=3"),
            (&["a=1,sidecar=else"], "sidecar=retry:1,a=1"),
            (&["a=1,sidecar=retry:1"], "a=1,sidecar=retry:1"),
        ] {
            let mut headers = headers(before);
            mark_retried(&mut headers);
            assert_eq!(states(&headers), [after], "{before:?}");
            assert!(is_marked_retried(&headers));
        }
    }

    #[test]
    fn a_full_list_loses_its_last_member() {
        let full: Vec<String> = (0..32).map(|n| format!("k{n}=v")).collect();
        let mut headers = headers(&[&full.join(",")]);
        mark_retried(&mut headers);
        assert_eq!(states(&headers), [format!("{MEMBER},{}", full[..31].join(","))]);
    }

    #[test]
    fn who_is_not_believed_leaves_no_mark_and_keeps_the_rest() {
        for (before, after) in [
            (&["a=1,sidecar=retry:1"][..], &["a=1"][..]),
            (&["sidecar=retry:1"], &[]),
            (&["a=1 ,b=2", "c=3"], &["a=1 ,b=2", "c=3"]),
        ] {
            let mut headers = headers(before);
            forget(&mut headers);
            assert_eq!(states(&headers), after, "{before:?}");
        }
    }
}
