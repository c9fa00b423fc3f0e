//! The chunked transfer coding (RFC 9112 section 7.1), read strictly: every line ends with CRLF, sizes are plain
//! hexadecimal, extensions are bounded and dropped, and trailers that could change the message's meaning are dropped.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::{HeadLimits, Scan};
use super::is_forbidden_in_trailers;
use crate::http::check::Malformed;

/// Digits of the largest chunk size that fits 64 bits.
const SIZE_DIGITS: usize = 16;

/// Bytes of chunk extensions in one message. They carry nothing that a proxy may pass on; the bound is there because a
/// client that sends more of them than this only wants to be expensive.
const EXTENSION_BYTES: usize = 4096;

/// What one call of [`Decoder::step`] found.
#[derive(Debug)]
pub(super) enum Step {
    /// Content, not empty.
    Data(Bytes),
    /// Trailers; only the end follows.
    Trailers(HeaderMap),
    /// The message is complete.
    End,
    /// The input ended first.
    More,
}

/// Where in a chunked body the reader stands.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    extension_bytes: usize,
    limits: HeadLimits,
}

#[derive(Debug)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers(Scan),
    End,
}

impl Decoder {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Decoder { state: State::Size, extension_bytes: 0, limits }
    }

    pub(super) fn is_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// Takes the next piece from the front of `input`.
    pub(super) fn step(&mut self, input: &mut BytesMut) -> Result<Step, Malformed> {
        loop {
            match &mut self.state {
                State::Size => {
                    let Some(size) = self.take_size(input)? else {
                        return Ok(Step::More);
                    };
                    self.state = if size == 0 {
                        State::Trailers(Scan::default())
                    } else {
                        State::Data(size)
                    };
                }
                State::Data(_) if input.is_empty() => return Ok(Step::More),
                State::Data(left) => {
                    let n = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= n as u64;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Step::Data(input.split_to(n).freeze()));
                }
                State::DataEnd => match input.as_ref() {
                    [] | [b'\r'] => return Ok(Step::More),
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        self.state = State::Size;
                    }
                    _ => return Err(Malformed("a chunk's content is not followed by CRLF")),
                },
                State::Trailers(scan) => {
                    let end = scan.section_end(input)?;
                    if end.unwrap_or(input.len()) > self.limits.bytes {
                        return Err(Malformed("the trailer section is larger than allowed"));
                    }
                    let Some(end) = end else { return Ok(Step::More) };
                    let trailers = parse_trailers(&input.split_to(end), self.limits)?;
                    self.state = State::End;
                    if !trailers.is_empty() {
                        return Ok(Step::Trailers(trailers));
                    }
                }
                State::End => return Ok(Step::End),
            }
        }
    }

    fn take_size(&mut self, input: &mut BytesMut) -> Result<Option<u64>, Malformed> {
        let Some(line_feed) = input.iter().position(|byte| *byte == b'\n') else {
            return match input.len() > SIZE_DIGITS + EXTENSION_BYTES {
                true => Err(Malformed("the chunk extensions are larger than allowed")),
                false => Ok(None),
            };
        };
        let Some(line) = input[..line_feed].strip_suffix(b"\r") else {
            return Err(Malformed("a chunk size line ends with a bare LF"));
        };
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = hexadecimal(&line[..digits])?;
        let extension = &line[digits..];
        if extension.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Malformed("a chunk extension holds a control byte"));
        }
        if !matches!(extension.trim_ascii_start().first(), None | Some(b';'))
            || extension.trim_ascii() == b"" && !extension.is_empty()
        {
            return Err(Malformed("a chunk size is not hexadecimal"));
        }
        if !is_extension(extension) {
            return Err(Malformed("a chunk extension is not a name with an optional value"));
        }
        self.extension_bytes += extension.len();
        if self.extension_bytes > EXTENSION_BYTES {
            return Err(Malformed("the chunk extensions are larger than allowed"));
        }
        input.advance(line_feed + 1);
        Ok(Some(size))
    }
}

/// Extensions as RFC 9112 section 7.1.1 has them: `;name`, `;name=token`, `;name="text"`, with spaces around `;` and `=`.
fn is_extension(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some((b';', after)) = rest.trim_ascii_start().split_first() else {
            return false;
        };
        let name = after.trim_ascii_start();
        let end = token(name);
        if end == 0 {
            return false;
        }
        rest = &name[end..];
        let Some((b'=', after)) = rest.trim_ascii_start().split_first() else {
            continue;
        };
        let value = after.trim_ascii_start();
        let end = if value.first() == Some(&b'"') {
            quoted(value)
        } else {
            token(value)
        };
        if end == 0 {
            return false;
        }
        rest = &value[end..];
    }
    true
}

/// Bytes of the token that text begins with (RFC 9110 section 5.6.2).
fn token(text: &[u8]) -> usize {
    let is_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    text.iter().take_while(is_token).count()
}

/// Bytes of the quoted string that text begins with (section 5.6.4); 0 if it does not end.
fn quoted(text: &[u8]) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    0
}

fn hexadecimal(digits: &[u8]) -> Result<u64, Malformed> {
    if digits.is_empty() {
        return Err(Malformed("a chunk size is not hexadecimal"));
    }
    if digits.len() > SIZE_DIGITS {
        return Err(Malformed("a chunk size has more than 16 digits"));
    }
    let value = |byte: u8| u64::from((byte as char).to_digit(16).unwrap_or(0));
    Ok(digits.iter().fold(0, |sum, digit| sum << 4 | value(*digit)))
}

fn parse_trailers(section: &[u8], limits: HeadLimits) -> Result<HeaderMap, Malformed> {
    let mut trailers = HeaderMap::new();
    if section == b"\r\n" {
        return Ok(trailers);
    }
    let mut fields = vec![httparse::EMPTY_HEADER; limits.fields];
    let fields = match httparse::parse_headers(section, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed("there are more trailer fields than allowed")),
        Ok(httparse::Status::Partial) | Err(_) => return Err(Malformed("a trailer field is malformed")),
    };
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Malformed("a trailer field is malformed"));
        };
        if !is_forbidden_in_trailers(&name) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

/// Writes the line that precedes `size` bytes of content.
pub(super) fn write_size(out: &mut BytesMut, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let width = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    for place in (0..width).rev() {
        out.put_u8(DIGITS[size >> (4 * place) & 0xf]);
    }
    out.put_slice(b"\r\n");
}

/// Writes the last chunk and the trailer section.
pub(super) fn write_end(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        if !is_forbidden_in_trailers(name) {
            super::head::write_field(out, name, value);
        }
    }
    out.put_slice(b"\r\n");
}
