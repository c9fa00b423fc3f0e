//! The other way in which an application may read a path.

/// What becomes of a path whose escapes are undone, and whose empty and dotted segments are resolved; `None` where nothing
/// of that changes it.
///
/// Some applications do that and some do not, and we pass a path on as it came: a rule that is about one reading must
/// not be passed by in the other.
pub(super) fn other(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let is_odd = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.']);
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\')) && !bytes.windows(2).any(is_odd) {
        return None;
    }
    let plain = unescaped(bytes).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in plain.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let end = if plain.ends_with(['/', '.']) && !segments.is_empty() && ends_empty(&plain) {
        "/"
    } else {
        ""
    };
    let read = format!("/{}{end}", segments.join("/"));
    (read != path).then_some(read)
}

/// True for "/a/", "/a/." and "/a/..": what is named is a directory.
fn ends_empty(plain: &str) -> bool {
    matches!(plain.rsplit('/').next(), Some("" | "." | ".."))
}

fn unescaped(bytes: &[u8]) -> String {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if first == b'%' => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        plain.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_dots_are_resolved() {
        for (path, read) in [
            ("/a/b", None),
            ("/a/b/", None),
            ("/a.b/c..d", None),
            ("*", None),
            ("/.well-known/x", None),
            ("/a/../b", Some("/b")),
            ("/a/./b", Some("/a/b")),
            ("//a///b", Some("/a/b")),
            ("/../../a", Some("/a")),
            ("/a/..", Some("/")),
            ("/a/b/..", Some("/a/")),
            ("/a//", Some("/a/")),
            ("/%61dmin", Some("/admin")),
            ("/a/%2e%2E/b", Some("/b")),
            ("/a%2Fb", Some("/a/b")),
            ("/a\\..\\b", Some("/b")),
            ("/100%", None),
            ("/%zz", None),
            ("/%ff", Some("/\u{fffd}")),
        ] {
            assert_eq!(other(path).as_deref(), read, "{path}");
        }
    }
}
