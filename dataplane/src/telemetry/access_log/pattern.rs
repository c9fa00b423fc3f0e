//! Lines of text, by a pattern.

use std::fmt::Write;

use super::{MAX_VALUE, REDACTED, Redacted, config, millis, protocol, time};
use crate::error::Reason;
use crate::snapshot::model::{Field, Piece};
use crate::telemetry::bounded::cut;
use crate::telemetry::finished::Finished;

/// Stands for what is not known, as in the logs of httpd.
const NOTHING: &str = "-";

pub(super) fn write(out: &mut String, exchange: &Finished, pieces: &[Piece], redacted: &Redacted) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Field(field) if is_redacted(*field, redacted) => out.push_str(REDACTED),
            Piece::Field(field) => write_field(out, *field, exchange),
        }
    }
}

fn is_redacted(field: Field, redacted: &Redacted) -> bool {
    !redacted.is_empty() && redacted.contains(&*field.name().to_ascii_lowercase())
}

fn write_field(out: &mut String, field: Field, exchange: &Finished) {
    let text = |out: &mut String, text: &str| write_text(out, cut(text, MAX_VALUE));
    let reason = |reason: Option<Reason>| reason.map_or("", Reason::name);
    let last = exchange.attempts.last();
    let context = exchange.context.as_ref();
    let agent = exchange.agent.as_ref();
    let header = |field: Option<&http::HeaderValue>| {
        field.map_or_else(String::new, |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        })
    };
    match field {
        Field::Time => out.push_str(&time::timestamp(exchange.started_unix_nanos)),
        Field::CommonTime => out.push_str(&time::common(exchange.started_unix_nanos)),
        Field::Direction => out.push_str(exchange.listener.direction.name()),
        Field::Listener => text(out, &exchange.listener.name),
        Field::RequestId => text(out, &exchange.request_id.to_string()),
        Field::TraceId => text(
            out,
            &context.map_or_else(String::new, |context| format!("{:032x}", context.trace_id)),
        ),
        Field::SpanId => {
            let sampled = exchange.sampled();
            text(
                out,
                &sampled.map_or_else(String::new, |context| format!("{:016x}", context.span_id)),
            );
        }
        Field::Method if exchange.tcp => text(out, ""),
        Field::Method => text(out, exchange.method.as_str()),
        Field::Authority => text(out, &exchange.authority()),
        Field::Path if exchange.tcp => text(out, ""),
        Field::Path => text(out, exchange.uri.path()),
        Field::Protocol if exchange.tcp => out.push_str("TCP"),
        Field::Protocol => out.push_str(protocol(exchange.version)),
        Field::Status => match exchange.status {
            Some(status) => out.push_str(status.as_str()),
            None => out.push_str(NOTHING),
        },
        Field::GrpcStatus => text(out, exchange.grpc_status.map_or("", |status| status.name())),
        Field::Reason => text(out, reason(exchange.reason)),
        Field::Detail => text(out, exchange.detail().unwrap_or("")),
        Field::Rule => text(out, exchange.rule()),
        Field::Config => text(out, &exchange.origin().map_or_else(String::new, config)),
        Field::Told => text(out, reason(exchange.told)),
        Field::Route => text(out, exchange.route_name()),
        Field::Cluster => text(out, exchange.cluster_name()),
        Field::Endpoint => text(out, last.map_or("", |attempt| &*attempt.endpoint.label)),
        Field::Attempts => number(out, exchange.attempts.len()),
        Field::DurationMs => number(out, millis(exchange.duration)),
        Field::BytesReceived => number(out, exchange.received),
        Field::BytesSent => number(out, exchange.sent),
        Field::Peer => text(out, exchange.peer.as_deref().unwrap_or("")),
        Field::UpstreamPeer => text(out, last.and_then(|attempt| attempt.peer.as_deref()).unwrap_or("")),
        Field::Client => number(out, exchange.client_address()),
        Field::Proxy => text(
            out,
            &exchange
                .told_client
                .map_or_else(String::new, |_| exchange.client.to_string()),
        ),
        Field::UserAgent => text(out, &header(agent.and_then(|agent| agent.name.as_ref()))),
        // As of the path, its query is left out: it may hold credentials.
        Field::Referer => {
            let referer = header(agent.and_then(|agent| agent.referer.as_ref()));
            text(out, referer.split_once('?').map_or(&*referer, |(page, _)| page));
        }
    }
}

fn number(out: &mut String, number: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{number}");
}

/// Nothing of it can end a line or a quoted part: as httpd, `\"` and `\\`, and `\xhh` for what cannot be seen.
fn write_text(out: &mut String, text: &str) {
    if text.is_empty() {
        return out.push_str(NOTHING);
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    number(out, format_args!("\\x{byte:02x}"));
                }
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use http::{HeaderValue, StatusCode, Version};

    use super::*;
    use crate::snapshot::model::{Direction, Line};
    use crate::telemetry::registry::Registry;
    use crate::telemetry::samples::listener;

    /// What `config` makes of `common` and `combined` (sidecar/config/model/access_log.py).
    const COMBINED: &str =
        r#"%CLIENT% - - [%COMMON_TIME%] "%METHOD% %PATH% %PROTOCOL%" %STATUS% %BYTES_SENT% "%REFERER%" "%USER_AGENT%""#;

    fn blank() -> Finished {
        let label = Registry::default().listener(&listener(Direction::Edge));
        Finished::blank(&label, "10.0.0.9:5000".parse().unwrap())
    }

    fn line(pattern: &str, exchange: &Finished) -> String {
        let Ok(Line::Pattern(pieces)) = Line::parse(pattern) else {
            panic!("{pattern}")
        };
        let mut out = String::new();
        write(&mut out, exchange, &pieces, &Redacted::new());
        out
    }

    #[test]
    fn the_combined_format_is_that_of_httpd() {
        let mut exchange = blank();
        exchange.started_unix_nanos = 971_186_136_000_000_000;
        exchange.uri = "/tea?token=secret".parse().unwrap();
        exchange.status = Some(StatusCode::OK);
        exchange.version = Version::HTTP_11;
        exchange.sent = 2326;
        let agent = exchange.agent.get_or_insert_default();
        agent.name = Some(HeaderValue::from_static("curl/8"));
        agent.referer = Some(HeaderValue::from_static("https://shop.test/cups?token=secret"));
        assert_eq!(
            line(COMBINED, &exchange),
            r#"10.0.0.9 - - [10/Oct/2000:13:55:36 +0000] "GET /tea HTTP/1.1" 200 2326 "https://shop.test/cups" "curl/8""#
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_every_field_can_be_written() {
        let exchange = blank();
        assert_eq!(line("%STATUS% %REASON% %TRACE_ID% %ATTEMPTS%", &exchange), "- - - 0");
        for field in Field::ALL {
            assert!(!line(&format!("%{}%", field.name()), &exchange).is_empty(), "{field:?}");
        }
    }

    #[test]
    fn hostile_values_stay_inside_their_quotes() {
        let mut exchange = blank();
        exchange.host = Some(HeaderValue::from_bytes(b"a\xff\"\\\tb").unwrap());
        exchange.failure.get_or_insert_default().particulars.cause = Some("x\n\u{2028}é".into());
        exchange.failure.get_or_insert_default().particulars.rule = Some(Arc::from("r"));
        exchange.duration = Duration::from_micros(1_500);
        let written = line("\"%AUTHORITY%\" \"%DETAIL%\" %RULE% %DURATION_MS%", &exchange);
        assert_eq!(written, "\"a\u{fffd}\\\"\\\\\\x09b\" \"x\\x0a\\xe2\\x80\\xa8é\" r 1.5");
    }

    #[test]
    fn what_is_redacted_is_not_told() {
        let pieces = [
            Piece::Field(Field::Path),
            Piece::Text(" ".into()),
            Piece::Field(Field::Method),
        ];
        let mut out = String::new();
        write(&mut out, &blank(), &pieces, &Redacted::from(["path".into()]));
        assert_eq!(out, "redacted GET");
    }
}
