//! W3C Trace Context (level 1, with the random flag of level 2): read, decided, passed on.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::random;

/// The field that names a trace and the caller's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The field with what tracing systems say to each other.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// "00-" 32 hex digits "-" 16 hex digits "-" 2 hex digits.
const TRACEPARENT_LENGTH: usize = 55;
const SAMPLED: u8 = 0x01;
/// Level 2: the lower 56 bits of the trace id are random.
const RANDOM: u8 = 0x02;
/// Level 1 section 3.3.1.1: more members make the list invalid.
pub(super) const MAX_TRACESTATE_MEMBERS: usize = 32;
/// Level 1 section 3.3.1.3.2.
const MAX_TRACESTATE_VALUE: usize = 256;

/// The place of one exchange in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Never 0.
    pub trace_id: u128,
    /// Of our SERVER span; in an unsampled trace only what the next hop is told, or 0.
    pub span_id: u64,
    /// The caller's span; None: the trace begins here.
    pub parent: Option<u64>,
    /// Spans are made.
    pub sampled: bool,
    /// The lower 56 bits of the trace id are random.
    pub random: bool,
    /// What the caller sent, unchanged; empty when it sent none or an invalid one.
    pub tracestate: Vec<HeaderValue>,
    /// The caller's fields say all there is to say: they are passed on as they came.
    pub forward: bool,
}

/// What a `traceparent` field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    /// 0 is the version written down here; a later one is read by its first four parts.
    pub version: u8,
    /// Never 0.
    pub trace_id: u128,
    /// Never 0.
    pub parent_id: u64,
    /// As sent.
    pub flags: u8,
}

impl Traceparent {
    /// None: the field is invalid and the trace begins anew.
    pub fn parse(field: &[u8]) -> Option<Self> {
        let (head, rest) = field.split_at_checked(TRACEPARENT_LENGTH)?;
        if head[2] != b'-' || head[35] != b'-' || head[52] != b'-' {
            return None;
        }
        let version = hex(&head[..2])? as u8;
        let complete = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let parsed = Traceparent {
            version,
            trace_id: hex(&head[3..35])?,
            parent_id: hex(&head[36..52])? as u64,
            flags: hex(&head[53..])? as u8,
        };
        (complete && parsed.trace_id != 0 && parsed.parent_id != 0).then_some(parsed)
    }

    /// The field, in version 00.
    pub fn format(self) -> HeaderValue {
        let mut field = [b'-'; TRACEPARENT_LENGTH];
        write_hex(&mut field[..2], 0);
        write_hex(&mut field[3..35], self.trace_id);
        write_hex(&mut field[36..52], u128::from(self.parent_id));
        write_hex(&mut field[53..], u128::from(self.flags));
        // Hexadecimal digits and dashes are always a valid field value.
        let mut value = HeaderValue::from_bytes(&field).unwrap_or_else(|_| HeaderValue::from_static(""));
        never_index(&mut value);
        value
    }
}

impl TraceContext {
    /// Continues the caller's trace, or begins one and decides by `sampler`.
    pub fn start(headers: &HeaderMap, sampler: Sampler) -> Self {
        let Some(parent) = parent(headers) else {
            let trace_id = trace_id();
            let sampled = sampler.samples(trace_id);
            return TraceContext {
                trace_id,
                span_id: span_id(),
                parent: None,
                sampled,
                random: true,
                tracestate: Vec::new(),
                forward: false,
            };
        };
        let sampled = parent.flags & SAMPLED != 0;
        let tracestate = tracestate(headers);
        TraceContext {
            trace_id: parent.trace_id,
            span_id: if sampled { span_id() } else { 0 },
            parent: Some(parent.parent_id),
            sampled,
            random: parent.flags & RANDOM != 0,
            forward: !sampled && parent.version == 0 && tracestate.is_some(),
            tracestate: tracestate.unwrap_or_default(),
        }
    }

    /// What the caller said, for logs only: nothing is decided and nothing is changed on the way.
    pub fn observe(headers: &HeaderMap) -> Option<Self> {
        parent(headers).map(|parent| TraceContext {
            trace_id: parent.trace_id,
            span_id: 0,
            parent: Some(parent.parent_id),
            sampled: false,
            random: parent.flags & RANDOM != 0,
            tracestate: Vec::new(),
            forward: true,
        })
    }

    /// The trace flags.
    pub fn flags(&self) -> u8 {
        (if self.sampled { SAMPLED } else { 0 }) | (if self.random { RANDOM } else { 0 })
    }

    /// Writes the context into a request that `span` sends; `span` is the id of its CLIENT span.
    pub fn inject(&self, span: u64, headers: &mut HeaderMap) {
        if self.forward {
            if let Some(field) = headers.get_mut(TRACEPARENT) {
                never_index(field);
            }
            return;
        }
        let parent_id = match (span, self.parent) {
            (0, Some(parent)) => parent,
            (0, None) => self.span_id,
            (span, _) => span,
        };
        let traceparent = Traceparent { version: 0, trace_id: self.trace_id, parent_id, flags: self.flags() };
        headers.insert(TRACEPARENT, traceparent.format());
        if self.tracestate.is_empty() {
            headers.remove(TRACESTATE);
        }
    }
}

/// Keeps a value that no other request has out of HPACK's tables (RFC 7541 section 6.2.3): there it would only push others
/// out, and the encoder compares each new value of a field with all that the table holds.
pub fn never_index(value: &mut HeaderValue) {
    value.set_sensitive(true);
}

/// Decides for traces that begin here. A caller's decision always stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Of 2^63.
    threshold: u64,
}

impl Sampler {
    /// `ratio` from 0 to 1.
    pub fn new(ratio: f64) -> Self {
        let whole = (1u64 << 63) as f64;
        Sampler { threshold: (ratio.clamp(0.0, 1.0) * whole) as u64 }
    }

    /// TraceIdRatioBased as the OpenTelemetry SDKs for Go, Python and Java do it, on the high 63 of the lower 64 bits.
    pub fn samples(self, trace_id: u128) -> bool {
        (trace_id as u64) >> 1 < self.threshold
    }
}

/// A new trace id.
fn trace_id() -> u128 {
    loop {
        let id = u128::from(random::u64()) << 64 | u128::from(random::u64());
        if id != 0 {
            return id;
        }
    }
}

/// A new span id.
pub fn span_id() -> u64 {
    loop {
        let id = random::u64();
        if id != 0 {
            return id;
        }
    }
}

/// The one valid `traceparent`. Two of them contradict each other.
fn parent(headers: &HeaderMap) -> Option<Traceparent> {
    let mut fields = headers.get_all(TRACEPARENT).iter();
    match (fields.next(), fields.next()) {
        (Some(field), None) => Traceparent::parse(field.as_bytes()),
        _ => None,
    }
}

/// All `tracestate` fields when they make one valid list; None when they do not.
fn tracestate(headers: &HeaderMap) -> Option<Vec<HeaderValue>> {
    let mut fields = Vec::new();
    let mut keys: Vec<&[u8]> = Vec::new();
    for field in headers.get_all(TRACESTATE) {
        for member in field
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(trim)
            .filter(|member| !member.is_empty())
        {
            let at = member.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&member[..at], &member[at + 1..]);
            if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MAX_TRACESTATE_MEMBERS {
                return None;
            }
            keys.push(key);
        }
        fields.push(field.clone());
    }
    Some(fields)
}

/// Level 1 section 3.3.1.3.1: "vendor" or "tenant@vendor".
fn is_key(key: &[u8]) -> bool {
    let of_key = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte);
    let starts_with_letter = |name: &[u8]| name.first().is_some_and(u8::is_ascii_lowercase);
    match key.iter().position(|byte| *byte == b'@') {
        None => key.len() <= 256 && starts_with_letter(key) && key.iter().all(of_key),
        Some(at) => {
            let (tenant, vendor) = (&key[..at], &key[at + 1..]);
            let starts = tenant
                .first()
                .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            starts
                && tenant.len() <= 241
                && tenant.iter().all(of_key)
                && starts_with_letter(vendor)
                && vendor.len() <= 14
                && vendor.iter().all(of_key)
        }
    }
}

fn is_value(value: &[u8]) -> bool {
    (1..=MAX_TRACESTATE_VALUE).contains(&value.len())
        && value.iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'=')
}

/// Without spaces and tabs around it.
pub(super) fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = text.iter().position(|byte| !blank(byte)).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(start, |last| last + 1);
    &text[start..end]
}

/// Lower-case hexadecimal only, as the standard wants it.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// Fills `field` with the lowest hexadecimal digits of `number`.
pub(super) fn write_hex(field: &mut [u8], mut number: u128) {
    for digit in field.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: u128 = 0x1234_5678_9012_3456_7890_1234_5678_9012;
    const PARENT: u64 = 0x1234_5678_9012_3456;
    const VALID: &str = "00-12345678901234567890123456789012-1234567890123456-01";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn start(fields: &[(&'static str, &str)]) -> TraceContext {
        TraceContext::start(&headers(fields), Sampler::new(1.0))
    }

    #[test]
    fn a_valid_field_is_read() {
        let parsed = Traceparent::parse(VALID.as_bytes()).unwrap();
        assert_eq!(
            parsed,
            Traceparent { version: 0, trace_id: TRACE, parent_id: PARENT, flags: 1 }
        );
        assert_eq!(parsed.format(), VALID);
    }

    #[test]
    fn later_versions_are_read_by_their_first_four_parts() {
        for field in [
            "cc-12345678901234567890123456789012-1234567890123456-01",
            "cc-12345678901234567890123456789012-1234567890123456-01-what-the-future-brings",
        ] {
            let parsed = Traceparent::parse(field.as_bytes()).unwrap();
            assert_eq!((parsed.trace_id, parsed.parent_id), (TRACE, PARENT));
            assert_eq!(parsed.format(), VALID, "what is sent on is version 00");
        }
    }

    #[test]
    fn an_invalid_field_begins_a_new_trace() {
        for field in [
            "",
            "00-12345678901234567890123456789012-1234567890123456-0",
            "00-12345678901234567890123456789012-1234567890123456-01.",
            "00-12345678901234567890123456789012-1234567890123456-01-more",
            "cc-12345678901234567890123456789012-1234567890123456-01.more",
            "ff-12345678901234567890123456789012-1234567890123456-01",
            ".0-12345678901234567890123456789012-1234567890123456-01",
            "0-12345678901234567890123456789012-1234567890123456-001",
            "000-12345678901234567890123456789012-1234567890123456-01",
            "00-00000000000000000000000000000000-1234567890123456-01",
            "00-12345678901234567890123456789012-0000000000000000-01",
            "00-1234567890123456789012345678901.-1234567890123456-01",
            "00-12345678901234567890123456789012-123456789012345X-01",
            "00-12345678901234567890123456789012-1234567890123456-0.",
            "00-ABCDEF78901234567890123456789012-1234567890123456-01",
            "00_12345678901234567890123456789012-1234567890123456-01",
        ] {
            assert_eq!(Traceparent::parse(field.as_bytes()), None, "{field}");
            let context = start(&[("traceparent", field), ("tracestate", "foo=1")]);
            assert_eq!(context.parent, None);
            let mut sent = headers(&[("traceparent", field), ("tracestate", "foo=1")]);
            context.inject(9, &mut sent);
            assert!(
                !sent.contains_key(TRACESTATE),
                "the state of a trace that was left does not follow"
            );
            assert_eq!(
                Traceparent::parse(sent[TRACEPARENT].as_bytes()).unwrap().trace_id,
                context.trace_id
            );
        }
    }

    #[test]
    fn two_fields_contradict_each_other() {
        let twice = [("traceparent", VALID), ("traceparent", VALID)];
        assert_ne!(start(&twice).trace_id, TRACE);
        let mut sent = headers(&twice);
        start(&twice).inject(5, &mut sent);
        assert_eq!(sent.get_all(TRACEPARENT).iter().count(), 1);
    }

    #[test]
    fn a_sampled_parent_gets_the_client_span_as_next_parent() {
        let fields = [
            ("traceparent", VALID),
            ("tracestate", "foo=1,bar=2"),
            ("tracestate", "t@v=3"),
        ];
        let context = TraceContext::start(&headers(&fields), Sampler::new(0.0));
        assert!(context.sampled, "the parent decides");
        assert_eq!(context.parent, Some(PARENT));
        let mut sent = headers(&fields);
        context.inject(0xabc, &mut sent);
        assert_eq!(
            sent[TRACEPARENT],
            "00-12345678901234567890123456789012-0000000000000abc-01"
        );
        let state: Vec<_> = sent.get_all(TRACESTATE).iter().collect();
        assert_eq!(state, ["foo=1,bar=2", "t@v=3"]);
    }

    #[test]
    fn an_unsampled_parent_is_passed_on_unchanged() {
        let fields = [
            ("traceparent", "00-12345678901234567890123456789012-1234567890123456-00"),
            ("tracestate", "a=1"),
        ];
        let context = start(&fields);
        assert!(!context.sampled);
        let mut sent = headers(&fields);
        context.inject(7, &mut sent);
        assert_eq!(sent, headers(&fields));
    }

    #[test]
    fn an_unsampled_root_tells_the_next_hop_not_to_sample() {
        let context = TraceContext::start(&HeaderMap::new(), Sampler::new(0.0));
        let mut sent = HeaderMap::new();
        context.inject(0, &mut sent);
        let field = Traceparent::parse(sent[TRACEPARENT].as_bytes()).unwrap();
        assert_eq!(field.flags, RANDOM);
        assert_eq!(field.trace_id, context.trace_id);
    }

    #[test]
    fn an_invalid_state_is_dropped_and_the_trace_kept() {
        let many = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        let long_key = format!("{}=1", "z".repeat(257));
        let long_tenant = format!("{}@v=1", "t".repeat(242));
        for state in [
            "foo=1,foo=1",
            "foo =1",
            "FOO=1",
            "foo.bar=1",
            "foo@=1,bar=2",
            "@foo=1,bar=2",
            "foo@@bar=1",
            "foo@bar@baz=1",
            "foo=bar=baz",
            "foo=,bar=3",
            "foo",
            "1a=2",
            &many,
            &long_key,
            &long_tenant,
            "t@vvvvvvvvvvvvvvv=1",
        ] {
            let fields = [("traceparent", VALID), ("tracestate", state)];
            let context = start(&fields);
            assert_eq!(context.trace_id, TRACE);
            let mut sent = headers(&fields);
            context.inject(1, &mut sent);
            assert!(!sent.contains_key(TRACESTATE), "{state}");
        }
    }

    #[test]
    fn every_legal_character_of_the_state_is_kept() {
        let value: String = (' '..='~').filter(|c| !",=".contains(*c)).collect();
        let member = format!("abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/={value}");
        for state in [member.as_str(), "foo=1 \t , \t bar=2, \t baz=3", "0t@v=1", "", "foo=1,"] {
            assert_eq!(
                start(&[("traceparent", VALID), ("tracestate", state)]).tracestate,
                [state],
                "{state}"
            );
        }
    }

    #[test]
    fn the_ratio_is_a_share_of_trace_ids_and_monotonic() {
        random::seed(3);
        let (one, ten) = (Sampler::new(0.01), Sampler::new(0.1));
        let ids: Vec<u128> = (0..100_000).map(|_| trace_id()).collect();
        let count = |sampler: Sampler| ids.iter().filter(|id| sampler.samples(**id)).count();
        assert!((840..1160).contains(&count(one)), "{}", count(one));
        assert!((9_500..10_500).contains(&count(ten)), "{}", count(ten));
        assert!(ids.iter().all(|id| !one.samples(*id) || ten.samples(*id)));
        assert_eq!(count(Sampler::new(0.0)), 0);
        assert_eq!(count(Sampler::new(1.0)), ids.len());
        assert!(Sampler::new(1.0).samples(u128::MAX));
    }

    #[test]
    fn ids_agree_with_the_python_sdk_on_the_bound() {
        // The SDK samples when the lower 64 bits are below round(ratio * 2^64).
        let half = Sampler::new(0.5);
        assert!(half.samples(u128::from((1u64 << 63) - 1)));
        assert!(!half.samples(u128::from(1u64 << 63)));
    }

    #[test]
    fn what_is_read_from_random_bytes_is_written_back_the_same() {
        crate::random::fuzz(&[VALID.as_bytes()], |bytes| {
            if let Some(parsed) = Traceparent::parse(bytes)
                && parsed.version == 0
            {
                assert_eq!(parsed.format().as_bytes(), bytes, "a traceparent has one form");
            }
        });
    }
}
