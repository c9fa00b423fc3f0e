//! The table of all reasons in the documentation, which is made from the code.

use std::fmt::Write;
use std::path::Path;

use super::grpc_status::GrpcStatus;
use crate::error::{Reason, Setting, Side};

/// What stands before the table.
const HEAD: &str = "\
# Reasons

Whenever the proxy answers by itself, or an exchange ends before its end, one of these reasons says why. It is in the access
log (`reason`), in the span (`sidecar.reason`), in metrics, and, for callers inside the mesh, in the answer
(`x-sidecar-reason`, and `reason` of problem+json); callers outside get the sentence alone. `sidecar why` tells the whole
story of a request id or trace id.

The status is that of an answer that has not begun; one that has is broken off, or of gRPC ends with the second status. Some
answers have another one, where more is known. What is to be changed stands in the configuration of the listener (what it
takes, and from whom), of the route, or of the service that is called.

This table is made from the code: `make docs` writes it again.

| reason | caused by | HTTP | gRPC | configuration of | what happened | what to do next |
|---|---|---|---|---|---|---|
";

fn table() -> String {
    let mut table = HEAD.to_owned();
    for reason in Reason::ALL {
        let side = match reason.side() {
            Side::Downstream => "the caller",
            Side::Proxy => "the proxy",
            Side::Upstream => "the endpoint",
        };
        let setting = match reason.setting() {
            Setting::Listener => "listener",
            Setting::Route => "route",
            Setting::Cluster => "service",
        };
        let (status, call) = (reason.status(), GrpcStatus::new(reason.grpc_status()).name());
        let (what, next) = (reason.sentence(), reason.next_step());
        let _ = writeln!(
            table,
            "| `{reason}` | {side} | {status} | {call} | {setting} | {what} | {next} |"
        );
    }
    table
}

#[test]
fn the_table_in_docs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, table()).expect("docs/reasons.md can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == table(),
        "docs/reasons.md is not what the code says: run `make docs`"
    );
}

#[test]
fn each_reason_has_a_name_of_its_own_and_plain_sentences() {
    for (index, reason) in Reason::ALL.iter().enumerate() {
        assert_eq!(Reason::named(reason.name().as_bytes()), Some(*reason));
        assert_eq!(*reason as usize, index, "metrics index by it");
        for sentence in [reason.sentence(), reason.next_step()] {
            let is_sentence = sentence.ends_with('.') && !sentence.contains('|') && sentence.len() > 9;
            assert!(is_sentence, "{reason}: {sentence:?}");
        }
    }
    assert_eq!(Reason::named(b"none"), None);
}
