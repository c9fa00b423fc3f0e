//! May this caller do that? Decided by the rules of the listener, in the order written.

use http::header::HeaderMap;
use http::request::Parts;

use crate::error::{Error, Reason};
use crate::http::path::reading;
use crate::route::matcher::path_matches;
use crate::snapshot::authorization::{Authorization, Condition, FieldTest, RuleSet, Text, TextTest, Verdict};

/// Fails, and says why, unless every rule set allows `peer` this request; `None`: a connection whose bytes nobody reads.
pub fn judge(rules: &Authorization, peer: Option<&str>, request: Option<&Parts>) -> Result<(), Error> {
    let Some(peer) = peer else {
        return match rules.nameless {
            true => Ok(()),
            false => Err(Error::new(Reason::NotAllowed).because("The caller showed no certificate of the mesh.")),
        };
    };
    match refusal(rules, &rules.rule_sets, peer, request) {
        None => Ok(()),
        Some(verdict) => {
            let cause = format_args!("{peer} is refused by {}.", verdict.by);
            Err(Error::new(Reason::NotAllowed).because(cause).decided_by(&verdict.by))
        }
    }
}

/// What each rule set says about this request.
pub fn verdicts<'a>(rules: &'a Authorization, peer: &str, request: &Parts) -> Vec<&'a Verdict> {
    let sets = rules.rule_sets.iter();
    let of = |set| {
        refusal(rules, std::slice::from_ref(set), peer, Some(request)).unwrap_or_else(|| {
            decide(
                set,
                service(peer, &rules.trust_domain),
                Some(request),
                request.uri.path(),
            )
        })
    };
    sets.map(of).collect()
}

/// True when a candidate would refuse what is allowed.
pub fn would_refuse(rules: &Authorization, peer: &str, request: Option<&Parts>) -> bool {
    refusal(rules, &rules.candidates, peer, request).is_some()
}

fn refusal<'a>(rules: &Authorization, sets: &'a [RuleSet], peer: &str, request: Option<&Parts>) -> Option<&'a Verdict> {
    let source = service(peer, &rules.trust_domain);
    let path = request.map_or("", |request| request.uri.path());
    let other = reading(path);
    let paths = || [Some(path), other.as_deref()].into_iter().flatten();
    let verdicts = sets
        .iter()
        .flat_map(|set| paths().map(move |path| decide(set, source, request, path)));
    let mut refusals = verdicts.filter(|verdict| !verdict.allow);
    refusals.next()
}

/// `source`: `None` for whom no rule can mean, any source neither.
fn decide<'a>(set: &'a RuleSet, source: Option<&str>, request: Option<&Parts>, path: &str) -> &'a Verdict {
    let Some(source) = source else {
        return &set.otherwise;
    };
    let rules = set.by_source.get(source).unwrap_or(&set.by_others);
    let takes = |condition: &Condition| request.is_some_and(|request| holds(condition, request, path));
    rules
        .iter()
        .find(|rule| rule.condition.as_ref().is_none_or(takes))
        .map_or(&set.otherwise, |rule| &rule.verdict)
}

/// The service that a SPIFFE id of this trust domain names, in any datacenter, as Envoy under Consul has it.
pub fn service<'a>(peer: &'a str, trust_domain: &str) -> Option<&'a str> {
    let path = peer.strip_prefix("spiffe://")?.strip_prefix(trust_domain)?;
    let (datacenter, service) = path.strip_prefix("/ns/default/dc/")?.split_once("/svc/")?;
    let is_one = |segment: &str| !segment.is_empty() && !segment.contains('/');
    (is_one(datacenter) && is_one(service)).then_some(service)
}

fn holds(condition: &Condition, request: &Parts, path: &str) -> bool {
    condition.path.as_ref().is_none_or(|wanted| path_matches(wanted, path))
        && (condition.methods.is_empty() || condition.methods.contains(&request.method))
        && condition.headers.iter().all(|test| field_holds(test, &request.headers))
}

fn field_holds(test: &FieldTest, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(&test.name).iter().peekable();
    if values.peek().is_none() {
        return test.invert && matches!(test.test, TextTest::Present);
    }
    values.any(|value| text_holds(&test.test, value.as_bytes())) != test.invert
}

fn text_holds(test: &TextTest, value: &[u8]) -> bool {
    let same = |wanted: &Text, part: Option<&[u8]>| {
        part.is_some_and(|part| match wanted.ignore_case {
            true => part.eq_ignore_ascii_case(wanted.text.as_bytes()),
            false => part == wanted.text.as_bytes(),
        })
    };
    match test {
        TextTest::Present => true,
        TextTest::Exact(wanted) => same(wanted, Some(value)),
        TextTest::Prefix(wanted) => same(wanted, value.get(..wanted.text.len())),
        TextTest::Suffix(wanted) => {
            let at = value.len().checked_sub(wanted.text.len());
            same(wanted, at.map(|at| &value[at..]))
        }
        TextTest::Contains(wanted) => {
            wanted.text.is_empty() || value.windows(wanted.text.len()).any(|part| same(wanted, Some(part)))
        }
        TextTest::Regex(regex) => std::str::from_utf8(value).is_ok_and(|text| regex.is_match(text)),
    }
}

#[cfg(test)]
mod tests;
