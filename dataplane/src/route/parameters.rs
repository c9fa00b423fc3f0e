//! Parts of paths that have names.

use crate::snapshot::model::{Matcher, PathPart};

/// What the matcher's parameter of this number is in a path that it takes, as it is written there; "" where it has none.
pub fn parameter<'a>(matcher: &Matcher, number: usize, path: &'a str) -> &'a str {
    match matcher.parameters.get(number).map(|parameter| parameter.part) {
        Some(PathPart::Segment(segment)) => after(path, segment).split('/').next().unwrap_or(""),
        Some(PathPart::Rest(segment)) => after(path, segment),
        Some(PathPart::Group(group)) => {
            let captures = matcher.path_regexes.first().and_then(|regex| regex.captures(path));
            let found = captures.and_then(|captures| captures.get(group));
            found.map_or("", |found| found.as_str())
        }
        None => "",
    }
}

/// From the segment of this number on.
fn after(path: &str, segment: usize) -> &str {
    below(path, segment).strip_prefix('/').unwrap_or("")
}

/// All behind so many segments, with the slash before it; "" where there are no more.
pub fn below(path: &str, segments: usize) -> &str {
    let slash = path.match_indices('/').nth(segments);
    slash.map_or("", |(at, _)| &path[at..])
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;
    use crate::snapshot::model::Parameter;

    fn of(part: PathPart, path: &str) -> String {
        let matcher = Matcher {
            parameters: vec![Parameter { name: "id".into(), part }],
            path_regexes: vec![Regex::new(r"\A(?:/(a*)(?:/(b+))?.*)\z").unwrap()],
            ..Matcher::default()
        };
        parameter(&matcher, 0, path).to_owned()
    }

    #[test]
    fn a_parameter_is_a_segment_or_all_from_there_on_as_it_is_written() {
        for (part, path, expected) in [
            (PathPart::Segment(0), "/users/7", "users"),
            (PathPart::Segment(1), "/users/a%2Fb/", "a%2Fb"),
            (PathPart::Segment(2), "/users/7/", ""),
            (PathPart::Segment(3), "/users/7", ""),
            (PathPart::Rest(1), "/files/a/b/", "a/b/"),
            (PathPart::Rest(1), "/files/", ""),
            (PathPart::Rest(1), "/files", ""),
            (PathPart::Segment(0), "*", ""),
        ] {
            assert_eq!(of(part, path), expected, "{part:?} {path}");
        }
    }

    #[test]
    fn a_group_that_took_no_part_is_empty() {
        assert_eq!(of(PathPart::Group(1), "/aa/bb"), "aa");
        assert_eq!(of(PathPart::Group(2), "/aa/bb"), "bb");
        assert_eq!(of(PathPart::Group(2), "/aa"), "");
    }
}
