//! All routes of a listener: the index leaves those that may take a request, and the first of them that does is found.

use std::rc::Rc;
use std::sync::Arc;

use super::matcher::{self, Asked, MAX_HOST, request_matches};
use crate::http::path::reading;
use crate::snapshot::index::{RouteIndex, RouteList};
use crate::snapshot::model::Route;

/// The path may be taken for this one, too.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("The path may be taken for {0:?}, which has another route.")]
pub struct Unclear(String);

/// Routes in the order written, each with what a worker keeps for it. The first that matches wins.
#[derive(Debug)]
pub struct RouteTable<T> {
    entries: Vec<(Arc<Route>, Rc<T>)>,
    index: Arc<RouteIndex>,
}

impl<T> RouteTable<T> {
    /// `kept`: what is kept for each.
    pub fn build(routes: &RouteList, kept: impl Iterator<Item = T>) -> Self {
        let entries = routes.iter().cloned().zip(kept.map(Rc::new)).collect();
        RouteTable { entries, index: Arc::clone(routes.index()) }
    }

    /// The first route that takes the request. `host` is the `:authority` or `Host` field as it came.
    pub fn find(&self, host: &str, asked: &Asked<'_>) -> Option<&Rc<T>> {
        self.entry(host, asked).map(|(_, kept)| kept)
    }

    /// The same; fails where an application may take the path for one that has another route.
    pub fn find_clear(&self, host: &str, asked: &Asked<'_>) -> Result<Option<&Rc<T>>, Unclear> {
        let found = self.entry(host, asked);
        if let Some((route, kept)) = found
            && let Some(path) = reading(asked.path)
            && !matcher::names_escapes(&route.matcher)
        {
            let other = self.find(host, &Asked { path: &path, ..*asked });
            if !other.is_some_and(|other| Rc::ptr_eq(other, kept)) {
                return Err(Unclear(path));
            }
        }
        Ok(found.map(|(_, kept)| kept))
    }

    /// The first route that takes requests for `host`, whatever else it asks of them.
    pub fn find_host(&self, host: &str) -> Option<&Rc<T>> {
        let mut buffer = [0; MAX_HOST];
        let position = self.index.find_host(matcher::host(host, &mut buffer))?;
        Some(&self.entries[position as usize].1)
    }

    fn entry(&self, host: &str, asked: &Asked<'_>) -> Option<&(Arc<Route>, Rc<T>)> {
        let mut buffer = [0; MAX_HOST];
        let takes = |position| request_matches(&self.entries[position as usize].0.matcher, asked);
        let position = self.index.find(matcher::host(host, &mut buffer), asked.path, takes)?;
        Some(&self.entries[position as usize])
    }
}

#[cfg(test)]
pub mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use http::request::Parts;
    use http::{HeaderName, Method, Request};
    use regex::Regex;

    use super::*;
    use crate::random;
    use crate::snapshot::model::{
        HeaderMatch, HostMatch, Matcher, NamedMatch, Network, Origin, PathMatch, Rewrite, ValueMatch,
    };

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// With no destination.
    pub fn route(name: String, matcher: Matcher, rewrite: Option<Rewrite>) -> Route {
        Route {
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
            rewrite: rewrite.map(Box::new),
            max_request_body: u64::MAX,
            cors: None,
            direct: None,
            error_pages: Vec::new(),
            query: Box::default(),
            cookies: Box::default(),
            idle_timeout: Duration::from_secs(3600),
            origin: Origin::default(),
        }
    }

    fn table(matchers: Vec<Matcher>) -> (RouteList, RouteTable<usize>) {
        let routes = matchers.into_iter().enumerate();
        let routes = routes.map(|(i, matcher)| Arc::new(route(format!("r{i}"), matcher, None)));
        let routes = RouteList::new(routes.collect());
        let table = RouteTable::build(&routes, 0..);
        (routes, table)
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
            path: random_path(),
            path_regexes: (0..random::below(8) / 7)
                .map(|_| Regex::new(one_of(&[r"\A(?:/a/[bc].*)\z", r"\A(?:.*b)\z", r"\A(?:/(a|)/b)\z"])).unwrap())
                .collect(),
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
            ..Matcher::default()
        }
    }

    /// Of few segments, so that many of them meet, and of more than the index tells apart.
    fn random_segments() -> Vec<&'static str> {
        let count = if random::below(8) == 0 {
            30 + random::below(6)
        } else {
            random::below(4)
        };
        (0..count).map(|_| one_of(&["a", "a", "b", ""])).collect()
    }

    fn random_path() -> Option<PathMatch> {
        let segments = random_segments();
        let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        match random::below(5) {
            0 => None,
            1 => Some(PathMatch::Exact(if path.is_empty() { "/".into() } else { path.into() })),
            2 => Some(PathMatch::Prefix(path.into())),
            _ => {
                let open = |segment: &str| (random::below(2) == 0).then(|| segment.into());
                let segments = std::iter::once("a").chain(segments).map(open).collect();
                Some(PathMatch::Template { segments, is_open: random::below(2) == 0 })
            }
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
        let segments = random_segments();
        let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        let query = one_of(&["", "?v=1", "?v=2"]);
        let uri = if path.is_empty() {
            one_of(&["/", "*"]).to_owned()
        } else {
            format!("{path}{query}")
        };
        let mut request = Request::builder().method(one_of(&["GET", "POST", "OPTIONS"])).uri(uri);
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
                    matcher::host_matches(&route.matcher, name)
                        && request_matches(&route.matcher, &Asked::of(&parts, source))
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
