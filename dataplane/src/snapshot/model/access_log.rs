//! Which exchanges get a line in the access log, and what stands in it.

use std::collections::HashSet;
use std::time::Duration;

/// Lines of one snapshot.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    /// None: there is no access log.
    pub logged: Option<Logged>,
    /// What a line is.
    pub line: Line,
    /// Fields, in lower case, whose value is not told.
    pub redacted: HashSet<Box<str>>,
}

/// Which exchanges get a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Millionths of those that did not fail.
    pub sample: u32,
    /// Only those that failed, and those of these.
    pub only: Option<Only>,
    /// Lines tell of the client's program and the page that it came from.
    pub needs_agent: bool,
}

/// Exchanges that did not fail and get a line all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Only {
    /// At least this status.
    pub min_status: u16,
    /// Longer than this.
    pub slower_than: Duration,
}

/// What one exchange becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// A JSON object.
    #[default]
    Json,
    /// Text.
    Pattern(Vec<Piece>),
}

/// A part of a line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(Box<str>),
    /// Of the exchange.
    Field(Field),
}

macro_rules! fields {
    ($($variant:ident = $name:literal,)+) => {
        /// What a line can tell of an exchange.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field { $(#[doc = concat!("`%", $name, "%`.")] $variant,)+ }

        impl Field {
            /// All of them.
            pub const ALL: &'static [Field] = &[$(Field::$variant,)+];

            /// Its name in a pattern, between percent signs; in lower case that in JSON.
            pub fn name(self) -> &'static str { match self { $(Field::$variant => $name,)+ } }
        }
    };
}

fields! {
    Time = "TIME",
    CommonTime = "COMMON_TIME",
    Direction = "DIRECTION",
    Listener = "LISTENER",
    RequestId = "REQUEST_ID",
    TraceId = "TRACE_ID",
    SpanId = "SPAN_ID",
    Method = "METHOD",
    Authority = "AUTHORITY",
    Path = "PATH",
    Protocol = "PROTOCOL",
    Status = "STATUS",
    GrpcStatus = "GRPC_STATUS",
    Reason = "REASON",
    Detail = "DETAIL",
    Rule = "RULE",
    Config = "CONFIG",
    Told = "TOLD",
    Route = "ROUTE",
    Cluster = "CLUSTER",
    Endpoint = "ENDPOINT",
    Attempts = "ATTEMPTS",
    DurationMs = "DURATION_MS",
    BytesReceived = "BYTES_RECEIVED",
    BytesSent = "BYTES_SENT",
    Peer = "PEER",
    UpstreamPeer = "UPSTREAM_PEER",
    Client = "CLIENT",
    Proxy = "PROXY",
    UserAgent = "USER_AGENT",
    Referer = "REFERER",
}

impl Field {
    fn named(name: &str) -> Option<Field> {
        Self::ALL.iter().copied().find(|field| field.name() == name)
    }
}

impl Line {
    /// Reads a pattern; the error says what is wrong with it. Empty: JSON.
    pub fn parse(pattern: &str) -> Result<Line, String> {
        if pattern.is_empty() {
            return Ok(Line::Json);
        }
        let mut pieces = Vec::new();
        // Every second part stands between percent signs.
        for (index, part) in pattern.split('%').enumerate() {
            match (index % 2, part) {
                (0, "") => {}
                (0, text) => pieces.push(Piece::Text(text.into())),
                (_, "") => pieces.push(Piece::Text("%".into())),
                (_, name) => {
                    let field = Field::named(name).ok_or_else(|| format!("pattern: there is no field %{name}%"))?;
                    pieces.push(Piece::Field(field));
                }
            }
        }
        match pattern.matches('%').count() % 2 {
            0 => Ok(Line::Pattern(pieces)),
            _ => Err("pattern: a percent sign is not closed; %% writes one".to_owned()),
        }
    }

    /// Whether it tells of this.
    pub fn tells(&self, asked: Field) -> bool {
        match self {
            Line::Json => false,
            Line::Pattern(pieces) => pieces.contains(&Piece::Field(asked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_text_and_fields() {
        let text = |text: &str| Piece::Text(text.into());
        assert_eq!(Line::parse(""), Ok(Line::Json));
        assert_eq!(
            Line::parse("%METHOD% took 100%% \"%STATUS%\""),
            Ok(Line::Pattern(vec![
                Piece::Field(Field::Method),
                text(" took 100"),
                text("%"),
                text(" \""),
                Piece::Field(Field::Status),
                text("\""),
            ]))
        );
        assert!(Line::parse("%STATUS").unwrap_err().contains("not closed"));
        assert!(Line::parse("%status%").unwrap_err().contains("%status%"));
    }
}
