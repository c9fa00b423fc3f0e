use super::*;
use crate::random;

fn made(path: &str) -> Result<String, Ambiguous> {
    normalised(path).map(|made| made.unwrap_or_else(|| path.to_owned()))
}

#[test]
fn what_means_the_same_is_written_in_one_way() {
    for (path, expected) in [
        ("/", "/"),
        ("*", "*"),
        ("/a/b/", "/a/b/"),
        ("/a.b/c..d/..e/f..", "/a.b/c..d/..e/f.."),
        ("/.well-known/x", "/.well-known/x"),
        ("/a/../b", "/b"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/../../a", "/a"),
        ("//a///b", "//a///b"),
        ("//a//../b/./", "//a/b/"),
        ("/a//", "/a//"),
        ("/a//..", "/a/"),
        ("//", "//"),
        ("/a\\..\\b", "/b"),
        ("/%61dmin", "/admin"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/%7euser/%2D%5f", "/~user/-_"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%5cb", "/a%5Cb"),
        ("/a%20b", "/a%20b"),
        ("/100%", "/100%25"),
        ("/%zz%4", "/%25zz%254"),
        ("/%%36%31", "/%2561"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/a%3bv=1", "/a%3Bv=1"),
    ] {
        assert_eq!(made(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn a_path_with_more_than_two_readings_is_refused() {
    for (path, expected) in [
        ("/a/..%2fb", Ambiguous::HiddenDots),
        ("/a/%2e%2e%2fb", Ambiguous::HiddenDots),
        ("/a/..%5Cb", Ambiguous::HiddenDots),
        ("/a%2f..%2fb", Ambiguous::HiddenDots),
        ("/a%2f.", Ambiguous::HiddenDots),
        ("/a/..;/b", Ambiguous::HiddenDots),
        ("/a/..;v=1/b", Ambiguous::HiddenDots),
        ("/a/.;/b", Ambiguous::HiddenDots),
        ("/a/..%3b/b", Ambiguous::HiddenDots),
        ("/a/%252e%252e/b", Ambiguous::HiddenDots),
        ("/a/%25252e%25252e/b", Ambiguous::HiddenDots),
        ("/a/..%252fb", Ambiguous::HiddenDots),
        ("/a/%c0%ae%c0%ae/b", Ambiguous::HiddenDots),
        ("/a/%e0%80%ae%e0%80%ae/b", Ambiguous::HiddenDots),
        ("/a/..%c0%afb", Ambiguous::HiddenDots),
        ("/a/..%20/b", Ambiguous::HiddenDots),
        ("/a/%09../b", Ambiguous::HiddenDots),
        ("/a/..%0d/b", Ambiguous::HiddenDots),
        ("/a%00", Ambiguous::Null),
        ("/a%00.png", Ambiguous::Null),
        ("/a%2500", Ambiguous::Null),
        ("/a/..%00/b", Ambiguous::HiddenDots),
        ("/a;x%2fb", Ambiguous::SlashInParameter),
        ("/a%3bx%5cb", Ambiguous::SlashInParameter),
    ] {
        // What is wrong first may be either, of those that are both.
        assert_eq!(made(path), Err(expected), "{path}");
    }
}

#[test]
fn the_query_stays_and_a_path_in_that_form_is_not_touched() {
    for (sent, expected) in [
        (
            "http://orders/a/../b?c=%2e%2e/%61;d//",
            "http://orders/b?c=%2e%2e/%61;d//",
        ),
        ("/a/./b?", "/a/b?"),
        ("//a//b?", "//a//b?"),
        ("/plain?x", "/plain?x"),
        ("*", "*"),
    ] {
        let mut uri: Uri = sent.parse().unwrap();
        normalise(&mut uri).unwrap();
        assert_eq!(uri.to_string(), expected);
    }
    let mut authority: Uri = "orders:80".parse().unwrap();
    normalise(&mut authority).unwrap();
    assert_eq!(authority, "orders:80");
}

#[test]
fn the_other_reading_undoes_escapes_and_cuts_parameters_off() {
    for (path, expected) in [
        ("/a/b", None),
        ("/a%2Fb", Some("/a/b")),
        ("/a%2F%2Fb", Some("/a/b")),
        ("//a///b//", Some("/a/b/")),
        ("/a//%2Fb", Some("/a/b")),
        ("/a%5Cb", Some("/a/b")),
        ("/a;v=1/b;w", Some("/a/b")),
        ("/a%3Bv=1/b", Some("/a/b")),
        ("/%2561dmin", Some("/admin")),
        ("/a%20b", Some("/a b")),
        ("/a%20/%09b", Some("/a/b")),
        ("/%C1%A1dmin", Some("/admin")),
        ("/caf%C3%A9", Some("/café")),
        ("/%FF", Some("/\u{fffd}")),
    ] {
        assert_eq!(reading(path).as_deref(), expected, "{path}");
    }
}

/// Text that is made of what hurts.
fn random_path() -> String {
    const PIECES: &[&str] = &[
        "/",
        "//",
        "\\",
        ".",
        "..",
        ";",
        ";x",
        "%",
        "%2",
        "%2e",
        "%2E",
        "%2f",
        "%2F",
        "%5c",
        "%25",
        "%252e",
        "%252f",
        "%3b",
        "%00",
        "%20",
        "%09",
        "%61",
        "%c0%ae",
        "%c0%af",
        "%e0%80%af",
        "%ff",
        "a",
        "b",
        "admin",
        "open",
        "%zz",
    ];
    let count = random::below(9);
    let text: String = (0..count).map(|_| PIECES[random::below(PIECES.len())]).collect();
    format!("/{text}")
}

#[test]
fn random_bytes_as_a_path_have_a_form_that_is_its_own() {
    random::fuzz("paths", |bytes| {
        let Ok(uri) = Uri::try_from(bytes) else { return };
        if let Ok(once) = made(uri.path()) {
            assert_eq!(made(&once).as_deref(), Ok(&*once), "of {uri}");
        }
    });
}

#[test]
fn the_form_of_the_form_is_itself() {
    random::seed(5);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let path = random_path();
        let Ok(once) = made(&path) else {
            continue;
        };
        accepted += 1;
        assert_eq!(made(&once).as_deref(), Ok(&*once), "of {path}");
        assert!(once.parse::<PathAndQuery>().is_ok(), "{once}");
        if let Some(read) = reading(&once) {
            assert!(!read.split('/').any(|segment| matches!(segment, "." | "..")), "{path}");
        }
    }
    assert!((2_000..18_000).contains(&accepted), "{accepted} of 20000");
}

/// What an application does to a path, in its order, before it looks at it.
type Application = &'static [fn(&str) -> String];

fn undo(path: &str) -> String {
    String::from_utf8_lossy(&decoded(path.as_bytes())).into_owned()
}

fn undo_overlong(path: &str) -> String {
    String::from_utf8_lossy(&short(&decoded(path.as_bytes()))).into_owned()
}

fn cut(path: &str) -> String {
    let bare: Vec<_> = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap_or(""))
        .collect();
    bare.join("/")
}

fn slashes(path: &str) -> String {
    path.replace('\\', "/")
}

fn trim(path: &str) -> String {
    let bare: Vec<_> = path
        .split('/')
        .map(|segment| segment.trim_matches(|sign| sign <= ' '))
        .collect();
    bare.join("/")
}

fn end_at_null(path: &str) -> String {
    path.split('\0').next().unwrap_or("").to_owned()
}

fn resolve(path: &str) -> String {
    without_dots(&merged(path))
}

const APPLICATIONS: &[Application] = &[
    &[],
    &[resolve],
    &[without_dots],
    &[undo, resolve],
    &[resolve, undo],
    &[undo, slashes, resolve],
    &[undo_overlong, resolve],
    &[undo, undo, resolve],
    &[cut, undo, resolve],
    &[undo, cut, resolve],
    &[cut, resolve, undo],
    &[undo, trim, resolve],
    &[undo, end_at_null, resolve],
    &[slashes, undo, resolve, cut],
];

/// Whether a guard of `/admin` and all below it is in the way of some reading of a path that is passed on.
fn is_guarded(path: &str) -> bool {
    let below = |path: &str| path == "/admin" || path.starts_with("/admin/");
    below(path) || reading(path).is_some_and(|read| below(&read))
}

#[test]
fn whatever_an_application_makes_of_a_path_its_guard_has_seen() {
    // Sixty ways to write what is below /admin, or to seem to be elsewhere.
    let mut paths: Vec<String> = [
        "/admin",
        "/admin/",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/open/../admin",
        "/open/..//admin",
        "/%61dmin",
        "/%41dmin/../admin",
        "/adm%69n",
        "/%61%64%6d%69%6e",
        "/%2e/admin",
        "/open/%2e%2e/admin",
        "/open/.%2e/admin",
        "/open/%2e./admin",
        "/open/%2E%2E/admin",
        "/open/..%2fadmin",
        "/open/..%2Fadmin",
        "/open/%2e%2e%2fadmin",
        "/open%2f..%2fadmin",
        "/open/..%5cadmin",
        "/open/..\\admin",
        "\\admin",
        "/open\\..\\admin",
        "/%5cadmin",
        "/%2fadmin",
        "/%2f%2fadmin",
        "/admin%2f",
        "/admin%2fx",
        "/admin%5cx",
        "/admin;",
        "/admin;/x",
        "/admin;a=b/x",
        "/;/admin",
        "/;a=b/admin",
        "/open/..;/admin",
        "/open/..;a=b/admin",
        "/open/.;/../admin",
        "/open/..%3b/admin",
        "/open/%2e%2e;/admin",
        "/%2561dmin",
        "/%252561dmin",
        "/open/%252e%252e/admin",
        "/open/%252e%252e%252fadmin",
        "/open/..%252fadmin",
        "/open/..%255cadmin",
        "/%252fadmin",
        "/open/%c0%ae%c0%ae/admin",
        "/open/..%c0%afadmin",
        "/%c1%a1dmin",
        "/open/%e0%80%ae%e0%80%ae/admin",
        "/admin%00",
        "/admin%00.png",
        "/admin%20",
        "/admin%09/x",
        "/%20admin",
        "/open/..%20/admin",
        "/open/..%00/admin",
        "/open/..%0d%0a/admin",
        "/admin;x%2fy",
        "/admin%3bx%2fy",
        "/admin/../admin/x",
        "/open/../../../admin",
        "/%2e%2e/admin",
        "/open/%%32%65%%32%65/admin",
    ]
    .map(|path| {
        if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        }
    })
    .into();
    assert!(paths.len() >= 60);
    random::seed(6);
    paths.extend((0..20_000).map(|_| random_path()));
    let mut guarded = 0;
    for sent in &paths {
        // A refused path reaches nobody.
        let Ok(path) = made(sent) else {
            continue;
        };
        guarded += u32::from(is_guarded(&path));
        for (number, application) in APPLICATIONS.iter().enumerate() {
            let seen = application.iter().fold(path.clone(), |path, step| step(&path));
            let is_reached = seen == "/admin" || seen.starts_with("/admin/");
            assert!(
                !is_reached || is_guarded(&path),
                "{sent} is {path}, and application {number} sees {seen}"
            );
        }
    }
    assert!(guarded > 100, "{guarded}");
}
