//! The path of a request in the one form in which all decide about it, and in which it is passed on.
//!
//! Paths can be written in many ways, and applications differ in which they take for the same. What RFC 3986 calls
//! equivalent (section 6.2.2) is written in one way here, and a backslash, which nearly all applications take for a slash, is
//! one. Escapes of other characters stay, of `/` among them, for to some applications they are data; so do parameters behind
//! `;`, and slashes in a row, which keys of object stores have. What a path may be taken for besides is its other [`reading`],
//! and whoever decides about a path asks for both. A path that has more than two is refused: it has no honest use.

use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambiguous {
    /// Some would take it for one with `.` or `..`, which leads elsewhere.
    HiddenDots,
    /// Some end it there.
    Null,
    /// Some take the slash for a part of the parameter before it.
    SlashInParameter,
    /// Longer than a path can be when it is written in that form.
    TooLong,
    /// Made here, and not of that form.
    Made,
}

impl fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ambiguous::HiddenDots => "The path hides `.` or `..` behind escapes or a parameter.",
            Ambiguous::Null => "The path has an escaped null character.",
            Ambiguous::SlashInParameter => "The path has an escaped slash in a parameter (behind `;`).",
            Ambiguous::TooLong => "The path is too long.",
            Ambiguous::Made => "The path that was made has `.` or `..`, or a `%` that begins no escape.",
        })
    }
}

/// How often escapes are undone: an application that does that twice is mistaken, and there are some.
const MOST_NESTED: usize = 3;

/// Gives the path of a request that form; the query stays.
pub fn normalise(uri: &mut Uri) -> Result<(), Ambiguous> {
    let Some(mut path) = normalised(uri.path())? else {
        return Ok(());
    };
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| Ambiguous::TooLong)?);
    *uri = Uri::from_parts(parts).map_err(|_| Ambiguous::TooLong)?;
    Ok(())
}

/// The path in that form; `Ok(None)`: it has it already, as almost all have.
fn normalised(path: &str) -> Result<Option<String>, Ambiguous> {
    if is_plain(path.as_bytes()) {
        return Ok(None);
    }
    let made = without_dots(&canonical_escapes(path.as_bytes()).replace('\\', "/"));
    made.split('/').try_for_each(check)?;
    Ok((made != path).then_some(made))
}

/// Fails where a path that was made of another has not that form: applications would take it for one that nobody decided
/// about.
pub fn check_made(path: &str) -> Result<(), Ambiguous> {
    normalised(path)?.map_or(Ok(()), |_| Err(Ambiguous::Made))
}

/// What an application may make of a path of that form by undoing escapes, taking slashes in a row for one, and cutting off
/// parameters and spaces; `None` where that changes nothing.
pub fn reading(path: &str) -> Option<String> {
    if is_plain(path.as_bytes()) {
        return None;
    }
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..MOST_NESTED {
        bytes = short(&decoded(&bytes));
    }
    let plain: Vec<_> = String::from_utf8_lossy(&bytes)
        .replace('\\', "/")
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or("").trim_matches(is_cut).to_owned())
        .collect();
    let read = without_dots(&merged(&plain.join("/")));
    (read != path).then_some(read)
}

/// True of most paths, and of the `*` of OPTIONS: nothing of it can be written in another way.
fn is_plain(path: &[u8]) -> bool {
    !path.iter().any(|byte| matches!(byte, b'%' | b'\\' | b';'))
        && !path.windows(2).any(|pair| matches!(pair, [b'/', b'/' | b'.']))
}

/// Without `.` and `..` (RFC 3986 section 5.2.4); never above the root.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let path = path.strip_prefix('/').unwrap_or(path);
    for segment in path.split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    // "/a/." and "/a/.." name a directory, as "/a/" does.
    if matches!(path.rsplit('/').next(), Some("." | "..")) {
        segments.push("");
    }
    format!("/{}", segments.join("/"))
}

/// With slashes in a row as one.
fn merged(path: &str) -> String {
    let mut made = String::with_capacity(path.len());
    for sign in path.chars() {
        if sign != '/' || !made.ends_with('/') {
            made.push(sign);
        }
    }
    made
}

/// Escapes of unreserved characters undone, the others in capitals, and a `%` that begins none escaped itself.
fn canonical_escapes(path: &[u8]) -> String {
    let mut made = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        rest = match escape(rest) {
            Some(byte) => {
                match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    true => made.push(byte),
                    false => made.extend(rest[..3].iter().map(u8::to_ascii_uppercase)),
                }
                &rest[3..]
            }
            None if first == b'%' => {
                made.extend(b"%25");
                after
            }
            None => {
                made.push(first);
                after
            }
        };
    }
    // Only ASCII has been put in and taken out.
    String::from_utf8_lossy(&made).into_owned()
}

/// All escapes undone, once.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = escape(rest);
        plain.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &rest[3..] } else { after };
    }
    plain
}

/// The byte whose escape stands in front.
fn escape(text: &[u8]) -> Option<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    match text {
        [b'%', high, low, ..] => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
        _ => None,
    }
}

/// Refuses a segment that has more than two readings.
fn check(segment: &str) -> Result<(), Ambiguous> {
    if !segment.bytes().any(|byte| matches!(byte, b'%' | b';')) {
        return Ok(());
    }
    let mut bytes = segment.as_bytes().to_vec();
    for _ in 0..=MOST_NESTED {
        let parts: Vec<_> = bytes.split(|byte| matches!(byte, b'/' | b'\\')).collect();
        if parts.iter().any(|part| is_dots(part)) {
            return Err(Ambiguous::HiddenDots);
        }
        if bytes.contains(&0) {
            return Err(Ambiguous::Null);
        }
        if parts[..parts.len() - 1].iter().any(|part| part.contains(&b';')) {
            return Err(Ambiguous::SlashInParameter);
        }
        let next = short(&decoded(&bytes));
        if next == bytes {
            return Ok(());
        }
        bytes = next;
    }
    // Nested deeper than anybody means it: what it hides cannot be told.
    Err(Ambiguous::HiddenDots)
}

/// `.` or `..`, before a parameter, or with spaces and control characters around it that some cut off.
fn is_dots(part: &[u8]) -> bool {
    let bare = part.split(|byte| *byte == b';').next().unwrap_or(part);
    let begin = bare.iter().position(|byte| !is_cut(char::from(*byte)));
    let end = bare.iter().rposition(|byte| !is_cut(char::from(*byte)));
    let kept = begin.zip(end).map_or(&bare[..0], |(begin, end)| &bare[begin..=end]);
    matches!(kept, b"." | b"..")
}

/// Spaces and control characters, which some applications cut off from the ends of segments.
fn is_cut(sign: char) -> bool {
    sign <= ' ' || sign == '\x7f'
}

/// ASCII characters that are written in more bytes of UTF-8 than they need become themselves: old decoders do that.
fn short(bytes: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, left) = match *rest {
            [lead @ 0xc0..=0xc1, next @ 0x80..=0xbf, ..] => ((lead & 1) << 6 | next & 0x3f, &rest[2..]),
            [0xe0, lead @ 0x80..=0x81, next @ 0x80..=0xbf, ..] => ((lead & 1) << 6 | next & 0x3f, &rest[3..]),
            _ => (first, after),
        };
        made.push(byte);
        rest = left;
    }
    made
}

#[cfg(test)]
mod tests;
