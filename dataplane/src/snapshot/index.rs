//! Which routes a host and a path may take: a tree of the segments of their paths, built once for all workers.
//!
//! Where a request goes does not depend on it: it only leaves out routes that cannot take the request, and the first of the
//! others, in the order written, is the one that does.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use regex_syntax::hir::literal::Extractor;

use super::model::{HostMatch, Matcher, PathMatch, Route};

/// Segments of a path that are told apart: behind them routes are asked one by one. So a search, which goes both ways where a
/// segment is named by one route and any to another, is never deep.
const MAX_DEPTH: usize = 32;

/// Of a tree's nodes: there is none. The first one is a root, and nobody's child.
const NONE: u32 = 0;

/// Routes in the order written, and which of them a request may take.
#[derive(Debug, Default)]
pub struct RouteList {
    routes: Vec<Arc<Route>>,
    index: Arc<RouteIndex>,
}

impl RouteList {
    /// Of these.
    pub fn new(routes: Vec<Arc<Route>>) -> Self {
        let index = Arc::new(RouteIndex::of(routes.iter().map(|route| &route.matcher)));
        RouteList { routes, index }
    }

    /// Of their positions.
    pub fn index(&self) -> &Arc<RouteIndex> {
        &self.index
    }
}

impl Deref for RouteList {
    type Target = [Arc<Route>];

    fn deref(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

/// Positions of routes in their list, by host and path.
#[derive(Debug)]
pub struct RouteIndex {
    /// The roots of the trees of those that name a host exactly.
    exact: HashMap<Box<str>, u32>,
    /// The same by suffix; the key starts with a dot.
    suffix: HashMap<Box<str>, u32>,
    /// That of those that take any host is the first of these.
    nodes: Vec<Node>,
    /// Numbers of the segments that are named.
    segments: HashMap<Box<str>, u32, Hashed>,
    /// From a node, by the number of a segment, to another: `node << 32 | segment`.
    edges: HashMap<u64, u32, Hashed>,
    /// Of routes, ascending for each node.
    positions: Vec<u32>,
}

/// What is behind the same segments.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// The first route here or below; `u32::MAX`: none.
    first: u32,
    /// `positions[begin..middle]` take all below, too; `positions[middle..end]` what ends here.
    begin: u32,
    middle: u32,
    end: u32,
    /// Where any segment leads that is not empty.
    any: u32,
    /// There are edges.
    is_fork: bool,
}

impl Node {
    const EMPTY: Node = Node { first: u32::MAX, begin: 0, middle: 0, end: 0, any: NONE, is_fork: false };
}

impl Default for RouteIndex {
    fn default() -> Self {
        RouteIndex::of(std::iter::empty())
    }
}

impl RouteIndex {
    /// Of routes in the order written.
    pub fn of<'a>(matchers: impl Iterator<Item = &'a Matcher>) -> Self {
        let mut index = RouteIndex {
            exact: HashMap::new(),
            suffix: HashMap::new(),
            nodes: vec![Node::EMPTY],
            segments: HashMap::default(),
            edges: HashMap::default(),
            positions: Vec::new(),
        };
        let mut ends = Vec::new();
        for (position, matcher) in (0u32..).zip(matchers) {
            if matcher.hosts.is_empty() {
                index.add(0, matcher, position, &mut ends);
            }
            for host in &matcher.hosts {
                let root = index.root(host);
                index.add(root, matcher, position, &mut ends);
            }
        }
        index.place(ends);
        index
    }

    /// The first route that `takes` the request, of those that the host and the path may take. `host`: lower case, without
    /// port.
    pub fn find(&self, host: &str, path: &str, takes: impl Fn(u32) -> bool) -> Option<u32> {
        let below = path.strip_prefix('/');
        let mut best = u32::MAX;
        self.roots(host, |root| best = self.first(root, below, best, &takes));
        (best != u32::MAX).then_some(best)
    }

    /// The first route for the host, whatever else it asks.
    pub fn find_host(&self, host: &str) -> Option<u32> {
        let mut best = u32::MAX;
        self.roots(host, |root| best = best.min(self.nodes[root as usize].first));
        (best != u32::MAX).then_some(best)
    }

    /// Those of the trees that are about the host.
    fn roots(&self, host: &str, mut visit: impl FnMut(u32)) {
        if let Some(root) = self.exact.get(host) {
            visit(*root);
        }
        if !self.suffix.is_empty() {
            // From the longest suffix to the shortest; a suffix needs something before it.
            for (at, _) in host.match_indices('.').filter(|(at, _)| *at > 0) {
                if let Some(root) = self.suffix.get(&host[at..]) {
                    visit(*root);
                }
            }
        }
        visit(0);
    }

    /// The first route at the node or below that `takes` the request, if it comes before `best`; else `best`. `rest`: what of
    /// the path is behind the node; `None`: it ends there.
    fn first(&self, mut node: u32, mut rest: Option<&str>, mut best: u32, takes: &impl Fn(u32) -> bool) -> u32 {
        loop {
            let Node { first, begin, middle, end, any, is_fork } = self.nodes[node as usize];
            if first >= best {
                return best;
            }
            best = self.of_these(begin, middle, best, takes);
            let Some(path) = rest else {
                return self.of_these(middle, end, best, takes);
            };
            let (segment, behind) = match path.split_once('/') {
                Some((segment, behind)) => (segment, Some(behind)),
                None => (path, None),
            };
            let named = if is_fork { self.child(node, segment) } else { NONE };
            let any = if segment.is_empty() { NONE } else { any };
            rest = behind;
            node = match (named, any) {
                (NONE, NONE) => return best,
                (NONE, one) | (one, NONE) => one,
                (named, any) => {
                    best = self.first(named, rest, best, takes);
                    any
                }
            };
        }
    }

    fn of_these(&self, begin: u32, end: u32, best: u32, takes: &impl Fn(u32) -> bool) -> u32 {
        let positions = self.positions[begin as usize..end as usize].iter().copied();
        let mut earlier = positions.take_while(|position| *position < best);
        earlier.find(|position| takes(*position)).unwrap_or(best)
    }

    /// Behind the node's segment of this name.
    fn child(&self, node: u32, segment: &str) -> u32 {
        let number = self.segments.get(segment);
        let edge = number.and_then(|number| self.edges.get(&key(node, *number)));
        edge.copied().unwrap_or(NONE)
    }

    fn root(&mut self, host: &HostMatch) -> u32 {
        let (roots, name) = match host {
            HostMatch::Exact(name) => (&mut self.exact, name),
            HostMatch::Suffix(suffix) => (&mut self.suffix, suffix),
        };
        *roots.entry(name.clone()).or_insert_with(|| {
            self.nodes.push(Node::EMPTY);
            (self.nodes.len() - 1) as u32
        })
    }

    /// Adds where the route's path ends to `ends`.
    fn add(&mut self, root: u32, matcher: &Matcher, position: u32, ends: &mut Vec<End>) {
        let (segments, mut is_open) = wanted(matcher);
        let mut node = root;
        for (depth, segment) in segments.iter().enumerate() {
            self.nodes[node as usize].first = self.nodes[node as usize].first.min(position);
            if depth == MAX_DEPTH {
                is_open = true;
                break;
            }
            node = match segment {
                Some(text) => self.named(node, text),
                None => self.any(node),
            };
        }
        self.nodes[node as usize].first = self.nodes[node as usize].first.min(position);
        ends.push(End { node, is_closed: !is_open, position });
    }

    fn named(&mut self, node: u32, segment: &str) -> u32 {
        let number = match self.segments.get(segment) {
            Some(number) => *number,
            None => {
                let number = self.segments.len() as u32;
                self.segments.insert(segment.into(), number);
                number
            }
        };
        self.nodes[node as usize].is_fork = true;
        *self.edges.entry(key(node, number)).or_insert_with(|| {
            self.nodes.push(Node::EMPTY);
            (self.nodes.len() - 1) as u32
        })
    }

    fn any(&mut self, node: u32) -> u32 {
        if self.nodes[node as usize].any == NONE {
            self.nodes.push(Node::EMPTY);
            self.nodes[node as usize].any = (self.nodes.len() - 1) as u32;
        }
        self.nodes[node as usize].any
    }

    /// Puts the routes of each node side by side.
    fn place(&mut self, mut ends: Vec<End>) {
        ends.sort_unstable();
        ends.dedup();
        for End { node, is_closed, position } in ends {
            let at = self.positions.len() as u32;
            let node = &mut self.nodes[node as usize];
            if node.end == 0 {
                (node.begin, node.middle) = (at, at);
            }
            self.positions.push(position);
            node.end = at + 1;
            if !is_closed {
                node.middle = at + 1;
            }
        }
        self.nodes.shrink_to_fit();
        self.segments.shrink_to_fit();
        self.edges.shrink_to_fit();
        self.positions.shrink_to_fit();
    }
}

/// Where the path of a route ends. In the order of `positions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    node: u32,
    is_closed: bool,
    position: u32,
}

fn key(node: u32, segment: u32) -> u64 {
    u64::from(node) << 32 | u64::from(segment)
}

/// The segments that every path has which the route takes, `None` any that is not empty, and whether more may follow them.
fn wanted(matcher: &Matcher) -> (Vec<Option<Box<str>>>, bool) {
    let named = |path: &str| path.split('/').skip(1).map(|segment| Some(segment.into())).collect();
    match &matcher.path {
        Some(PathMatch::Exact(path)) => (named(path), false),
        Some(PathMatch::Prefix(prefix)) => (named(prefix), true),
        Some(PathMatch::Template { segments, is_open }) => (segments.to_vec(), *is_open),
        Some(PathMatch::Begins(_) | PathMatch::Regex(_)) => (Vec::new(), true),
        None => (
            matcher
                .path_regexes
                .first()
                .map_or(Vec::new(), |regex| named(&beginning(regex.as_str()))),
            true,
        ),
    }
}

/// The whole segments with which all begins that the expression matches: "/users" of "/users/[0-9]+".
fn beginning(regex: &str) -> String {
    let literals = regex_syntax::parse(regex).map(|parsed| Extractor::new().extract(&parsed));
    let prefix = literals
        .ok()
        .and_then(|literals| literals.longest_common_prefix().map(<[u8]>::to_vec));
    let text = String::from_utf8(prefix.unwrap_or_default()).unwrap_or_default();
    text.rsplit_once('/')
        .map_or(String::new(), |(whole, _)| whole.to_owned())
}

type Hashed = BuildHasherDefault<Hash>;

/// FNV-1a (RFC 9923 section 2), and for numbers the finalizer of MurmurHash3. The configuration alone decides which keys there
/// are: clients cannot make them collide.
#[derive(Default)]
struct Hash(u64);

impl Hasher for Hash {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }

    fn finish(&self) -> u64 {
        let mut hash = self.0;
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_begins_with_whole_segments() {
        for (regex, expected) in [
            (r"\A(?:/users/[0-9]+/x)\z", "/users"),
            (r"\A(?:/users/[0-9]+|/orders/.*)\z", ""),
            (r"\A(?:/a/(?:b|bc)/.*)\z", "/a"),
            (r"\A(?:/a/b)\z", "/a"),
            (r"\A(?:/a/b?/c)\z", "/a"),
            (r"\A(?:/a/b*)\z", "/a"),
            (r"\A(?:(?i)/a/.*)\z", ""),
            (r"\A(?:.*/a)\z", ""),
            (r"\A(?:)\z", ""),
            (r"\A(?:/a//b.*)\z", "/a/"),
        ] {
            assert_eq!(beginning(regex), expected, "{regex}");
        }
    }
}
