//! The order of the modules is the way of a request, and a module may use only what stands below it.
//!
//! Every `crate::` path in `src/` is held against [`LAYERS`]; `lib.rs` alone is free.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Top first. Modules of one layer do not know each other. A planned module may stand here before it exists.
const LAYERS: &[&[&str]] = &[
    &["python"],
    &["runtime"],
    &["worker"],
    &["accept"],
    &["exchange", "l4", "explain"],
    &["filter", "connect"],
    &["retry", "forward", "reply", "scope", "health", "plugin"],
    &["upstream", "standing", "admission"],
    &["pool", "balance", "outlier", "authorize", "authenticate"],
    &["cluster", "route"],
    &["breaker", "budget", "hashing", "rate"],
    &["deadline"],
    &["http", "tls", "proxy_protocol", "events", "credentials"],
    &["telemetry"],
    &["snapshot"],
    &["verdict"],
    &["proto", "error", "drain", "pressure"],
    &["clock", "net", "random"],
];

/// Crates that one place alone may name: whoever needs more of them asks that place.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("pyo3", &["python"]),
    ("fastrand", &["random"]),
    ("socket2", &["net"]),
    ("httparse", &["http"]),
    ("argon2", &["credentials"]),
    ("serde_json", &["authenticate"]),
];

#[test]
fn every_module_uses_only_the_layers_below_it() {
    let faults: Vec<String> = sources()
        .iter()
        .flat_map(|source| {
            source
                .references()
                .into_iter()
                .filter_map(|used| fault(&source.module, &used))
                .map(|f| source.at(&f))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_module_has_its_layer() {
    let missing: BTreeSet<String> = sources()
        .into_iter()
        .map(|source| source.module)
        .filter(|module| layer(module).is_none())
        .collect();
    assert!(missing.is_empty(), "give these modules a layer: {missing:?}");
}

#[test]
fn a_crate_with_one_owner_is_named_by_no_other_module() {
    let faults: Vec<String> = sources()
        .iter()
        .flat_map(|source| {
            OWNED_CRATES
                .iter()
                .filter(|(name, owners)| !owners.contains(&source.module.as_str()) && source.names(name))
                .map(|(name, owners)| source.at(&format!("names the crate {name}, which is {owners:?}'s")))
        })
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The story of a request must read the same whatever carries it.
#[test]
fn the_exchange_names_no_protocol_crate() {
    for source in sources().iter().filter(|source| source.module == "exchange") {
        for protocol in ["h2", "httparse", "rustls", "tokio_rustls"] {
            assert!(
                !source.names(protocol),
                "{}",
                source.at(&format!("names the crate {protocol}"))
            );
        }
    }
}

/// Why `module` may not use `used`, if so.
fn fault(module: &str, used: &str) -> Option<String> {
    let (own, other) = (layer(module)?, layer(used)?);
    if module == used || own < other {
        return None;
    }
    let relation = if own == other { "beside" } else { "above" };
    Some(format!("uses crate::{used}, which stands {relation} {module}"))
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// One file of `src/`, comments removed.
struct Source {
    path: PathBuf,
    /// The top-level module that it belongs to.
    module: String,
    /// How many modules lead to it: 1 for `src/accept.rs` and `src/http/mod.rs`, 2 for `src/http/h1.rs`.
    depth: usize,
    text: String,
}

impl Source {
    fn read(root: &Path, path: &Path) -> Source {
        let parts: Vec<String> = path
            .strip_prefix(root)
            .expect("every source lies below src/")
            .with_extension("")
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .filter(|part| part != "mod")
            .collect();
        let text = fs::read_to_string(path).expect("a source is readable UTF-8");
        let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
        Source {
            path: path.to_owned(),
            module: parts[0].clone(),
            depth: parts.len(),
            text: code.join("\n"),
        }
    }

    fn at(&self, fault: &str) -> String {
        format!("{}: {fault}", self.path.display())
    }

    /// The top-level modules this file names, by `crate::` or by enough `super::`.
    fn references(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for root in ["crate::".to_owned(), "super::".repeat(self.depth)] {
            for (at, _) in self.text.match_indices(&root) {
                found.extend(heads(&self.text[at + root.len()..]));
            }
        }
        found
    }

    /// True when a path in this file starts with the crate `name`.
    fn names(&self, name: &str) -> bool {
        self.text.match_indices(name).any(|(at, _)| {
            let before = self.text[..at].chars().next_back().unwrap_or(' ');
            let after = &self.text[at + name.len()..];
            let ends = after.starts_with("::") || after.starts_with(';') && self.text[..at].ends_with("use ");
            ends && !is_word(before) && before != ':'
        })
    }
}

/// The first names of a path or of a group of paths: `a::b` gives a; `{a::b, c::{d, e}}` gives a and c.
fn heads(path: &str) -> Vec<String> {
    if !path.starts_with('{') {
        return vec![path.chars().take_while(|c| is_word(*c)).collect()];
    }
    let mut heads = Vec::new();
    let (mut depth, mut at_start) = (0, false);
    for (at, c) in path.char_indices() {
        match c {
            '{' => {
                depth += 1;
                at_start = depth == 1;
            }
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' => at_start = depth == 1,
            c if at_start && is_word(c) => {
                heads.extend(self::heads(&path[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    heads
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every file of `src/` but `lib.rs`.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.retain(|file| *file != root.join("lib.rs"));
    assert!(!files.is_empty(), "no sources below {}", root.display());
    files.iter().map(|file| Source::read(&root, file)).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("src/ is readable") {
        let path = entry.expect("src/ is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
}
