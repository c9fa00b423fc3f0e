//! All routes of a listener, found by host first.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::matcher::{self, Asked, MAX_HOST, request_matches};
use crate::http::path::reading;
use crate::snapshot::model::{HostMatch, Route};

/// The path may be taken for this one, too.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("The path may be taken for {0:?}, which has another route.")]
pub struct Unclear(String);

/// Routes in the order written, each with what a worker keeps for it. The first that matches wins.
#[derive(Debug)]
pub struct RouteTable<T> {
    entries: Vec<(Arc<Route>, Rc<T>)>,
    /// Positions in `entries`, ascending, of the routes that name a host exactly.
    exact: HashMap<Box<str>, Vec<u32>>,
    /// The same by suffix; the key starts with a dot.
    suffix: HashMap<Box<str>, Vec<u32>>,
    /// The same for routes that take any host.
    any: Vec<u32>,
}

impl<T> RouteTable<T> {
    /// Indexes `routes`, which come in the order written.
    pub fn build(routes: impl Iterator<Item = (Arc<Route>, T)>) -> Self {
        let mut table = RouteTable {
            entries: Vec::new(),
            exact: HashMap::new(),
            suffix: HashMap::new(),
            any: Vec::new(),
        };
        for (position, (route, payload)) in (0u32..).zip(routes) {
            if route.matcher.hosts.is_empty() {
                table.any.push(position);
            }
            for host in &route.matcher.hosts {
                let positions = match host {
                    HostMatch::Exact(name) => table.exact.entry(name.clone()).or_default(),
                    HostMatch::Suffix(suffix) => table.suffix.entry(suffix.clone()).or_default(),
                };
                positions.push(position);
            }
            table.entries.push((route, Rc::new(payload)));
        }
        table
    }

    /// The first route that takes the request. `host` is the `:authority` or `Host` field as it came.
    pub fn find(&self, host: &str, asked: &Asked<'_>) -> Option<&Rc<T>> {
        self.search(host, |route| request_matches(&route.matcher, asked))
    }

    /// The same; fails where an application may take the path for one that has another route.
    pub fn find_clear(&self, host: &str, asked: &Asked<'_>) -> Result<Option<&Rc<T>>, Unclear> {
        let found = self.entry(host, |route| request_matches(&route.matcher, asked));
        if let Some((route, payload)) = found
            && let Some(path) = reading(asked.path)
            && !matcher::names_escapes(&route.matcher)
        {
            let other = self.find(host, &Asked { path: &path, ..*asked });
            if !other.is_some_and(|other| Rc::ptr_eq(other, payload)) {
                return Err(Unclear(path));
            }
        }
        Ok(found.map(|(_, payload)| payload))
    }

    /// The first route that takes requests for `host`, whatever else it asks of them.
    pub fn find_host(&self, host: &str) -> Option<&Rc<T>> {
        self.search(host, |_| true)
    }

    fn search(&self, host: &str, takes: impl Fn(&Route) -> bool) -> Option<&Rc<T>> {
        self.entry(host, takes).map(|(_, payload)| payload)
    }

    fn entry(&self, host: &str, takes: impl Fn(&Route) -> bool) -> Option<&(Arc<Route>, Rc<T>)> {
        let mut buffer = [0; MAX_HOST];
        let host = matcher::host(host, &mut buffer);
        // The first match of all is the earliest among the first matches of each list.
        let mut best = None;
        if let Some(positions) = self.exact.get(host) {
            best = self.first(positions, best, &takes);
        }
        if !self.suffix.is_empty() {
            // From the longest suffix to the shortest; a suffix needs something before it.
            for (at, _) in host.match_indices('.').filter(|(at, _)| *at > 0) {
                if let Some(positions) = self.suffix.get(&host[at..]) {
                    best = self.first(positions, best, &takes);
                }
            }
        }
        best = self.first(&self.any, best, &takes);
        best.map(|position| &self.entries[position as usize])
    }

    /// The first of `positions` that `takes` the request, if it comes before `best`; else `best`.
    fn first(&self, positions: &[u32], best: Option<u32>, takes: impl Fn(&Route) -> bool) -> Option<u32> {
        let bound = best.unwrap_or(u32::MAX);
        positions
            .iter()
            .copied()
            .take_while(|position| *position < bound)
            .find(|position| takes(&self.entries[*position as usize].0))
            .or(best)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use http::request::Parts;
    use http::{HeaderName, Method, Request};

    use super::*;
    use crate::random;
    use crate::snapshot::model::{HeaderMatch, Matcher, NamedMatch, Network, Origin, PathMatch, ValueMatch};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn route(name: String, matcher: Matcher) -> Arc<Route> {
        Arc::new(Route {
            name: name.into(),
            matcher,
            destinations: Vec::new(),
            total_weight: 0,
            timeout: None,
            retry: crate::snapshot::model::Retry::once(),
            fault: None,
            authentication: None,
            access: None,
            sources: None,
            shape: None,
            quotas: Vec::new(),
            compress: None,
            decompress: None,
            mirror: None,
            rewrite_prefix: None,
            max_request_body: u64::MAX,
            cors: None,
            direct: None,
            error_pages: Vec::new(),
            query: Box::default(),
            cookies: Box::default(),
            idle_timeout: Duration::from_secs(3600),
            origin: Origin::default(),
        })
    }

    fn table(matchers: Vec<Matcher>) -> (Vec<Arc<Route>>, RouteTable<usize>) {
        let routes: Vec<_> = matchers
            .into_iter()
            .enumerate()
            .map(|(i, m)| route(format!("r{i}"), m))
            .collect();
        let table = RouteTable::build(routes.iter().cloned().enumerate().map(|(i, route)| (route, i)));
        (routes, table)
    }

    /// The host condition by itself, without an index.
    fn host_matches(matcher: &Matcher, host: &str) -> bool {
        matcher.hosts.is_empty()
            || matcher.hosts.iter().any(|condition| match condition {
                HostMatch::Exact(name) => **name == *host,
                HostMatch::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
            })
    }

    fn one_of<T: Clone>(choices: &[T]) -> T {
        choices[random::below(choices.len())].clone()
    }

    fn random_matcher() -> Matcher {
        let host = || match random::below(3) {
            0 => HostMatch::Suffix(one_of(&[".mesh", ".example.com", ".com", ".shop.example.com"]).into()),
            _ => HostMatch::Exact(one_of(&["orders", "orders.mesh", "shop.example.com", "example.com"]).into()),
        };
        Matcher {
            hosts: (0..random::below(3)).map(|_| host()).collect(),
            path: match random::below(3) {
                0 => Some(PathMatch::Exact(one_of(&["/", "/a", "/a/b"]).into())),
                1 => Some(PathMatch::Prefix(one_of(&["", "/a", "/a/b", "/c"]).into())),
                _ => None,
            },
            methods: if random::below(4) == 0 {
                vec![one_of(&[Method::GET, Method::POST])]
            } else {
                Vec::new()
            },
            headers: (0..random::below(2))
                .map(|_| HeaderMatch {
                    name: HeaderName::from_static("x-beta"),
                    value: if random::below(2) == 0 {
                        ValueMatch::Exact("1".into())
                    } else {
                        ValueMatch::Present(false)
                    },
                    is_inverted: false,
                })
                .collect(),
            query: (0..random::below(4) / 3)
                .map(|_| NamedMatch { name: "v".into(), value: ValueMatch::Exact(one_of(&["1", "2"]).into()) })
                .collect(),
            cookies: Vec::new(),
            sources: (0..random::below(4) / 3)
                .map(|_| Network { address: one_of(&["127.0.0.0", "10.0.0.0"]).parse().unwrap(), length: 8 })
                .collect(),
        }
    }

    fn random_request() -> (String, Parts, IpAddr) {
        let host = one_of(&[
            "orders",
            "Orders.Mesh:80",
            "v1.orders.mesh",
            "shop.example.com",
            "eu.shop.example.com.",
            "example.com",
            "other",
            "",
            ".com",
            "a..com",
        ]);
        let mut request = Request::builder().method(one_of(&["GET", "POST"])).uri(one_of(&[
            "/", "/a", "/a/b", "/a/b/c?d", "/ab", "/c/", "/?v=1", "/a?v=2",
        ]));
        if random::below(2) == 0 {
            request = request.header("x-beta", "1");
        }
        let source = one_of(&["127.0.0.1", "10.0.0.1"]).parse().unwrap();
        (host.to_owned(), request.body(()).unwrap().into_parts().0, source)
    }

    #[test]
    fn the_index_finds_what_a_scan_in_order_finds() {
        random::seed(7);
        let mut found = 0;
        for _ in 0..500 {
            let (routes, table) = table((0..random::below(12)).map(|_| random_matcher()).collect());
            for _ in 0..40 {
                let (host, parts, source) = random_request();
                let mut buffer = [0; MAX_HOST];
                let name = matcher::host(&host, &mut buffer);
                let scan = routes.iter().position(|route| {
                    host_matches(&route.matcher, name) && request_matches(&route.matcher, &Asked::of(&parts, source))
                });
                let indexed = table.find(&host, &Asked::of(&parts, source)).map(|position| **position);
                assert_eq!(indexed, scan, "{host} {} {:?} in {routes:#?}", parts.method, parts.uri);
                found += usize::from(scan.is_some());
            }
        }
        assert!(
            (5_000..19_000).contains(&found),
            "both outcomes must be exercised, not {found} of 20000 found"
        );
    }

    #[test]
    fn an_earlier_route_without_hosts_wins_over_a_later_exact_host() {
        let health = Matcher { path: Some(PathMatch::Exact("/health".into())), ..Matcher::default() };
        let orders = Matcher { hosts: vec![HostMatch::Exact("orders".into())], ..Matcher::default() };
        let (_, table) = table(vec![health, orders, Matcher::default()]);
        let get = |host: &str, path: &str| {
            let parts = Request::get(path).body(()).unwrap().into_parts().0;
            **table.find(host, &Asked::of(&parts, HERE)).unwrap()
        };
        assert_eq!(get("orders", "/health"), 0);
        assert_eq!(get("orders:8080", "/"), 1);
        assert_eq!(get("web", "/"), 2);
    }

    #[test]
    fn a_host_is_known_whatever_else_its_routes_ask_for() {
        let orders = Matcher {
            hosts: vec![HostMatch::Exact("orders".into())],
            methods: vec![Method::POST],
            ..Matcher::default()
        };
        let wildcard = Matcher { hosts: vec![HostMatch::Suffix(".example.com".into())], ..Matcher::default() };
        let (_, table) = table(vec![orders, wildcard]);
        for (host, expected) in [("Orders:80", Some(0)), ("a.example.com:1", Some(1)), ("web:80", None)] {
            assert_eq!(table.find_host(host).map(|position| **position), expected, "{host}");
        }
    }

    #[test]
    fn a_wildcard_needs_a_label_before_its_suffix() {
        let wildcard = Matcher { hosts: vec![HostMatch::Suffix(".example.com".into())], ..Matcher::default() };
        let (_, table) = table(vec![wildcard]);
        let parts = Request::get("/").body(()).unwrap().into_parts().0;
        for (host, expected) in [
            ("shop.example.com", true),
            ("eu.shop.example.com:443", true),
            (".example.com", false),
            ("example.com", false),
            ("badexample.com", false),
        ] {
            assert_eq!(table.find(host, &Asked::of(&parts, HERE)).is_some(), expected, "{host}");
        }
    }
}
