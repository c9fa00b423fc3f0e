//! gRPC-Web: gRPC for callers that cannot read trailers, browsers above all
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>).
//!
//! Its messages are those of gRPC, so that content passes as it is, whatever it is compressed with. Different are the
//! content type, the place of the status, which is one more message at the end of the content, and for some callers that
//! all of it is base64. Of binary metadata in a text answer the protocol says that it is not encoded again; no client or
//! server is known to do so, and here it stands as it does everywhere.

use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};

use super::base64::{self, Decoder};
use super::body::{Body, Frame, ResetCode, Sink, StreamError};
use super::grpc;

const GRPC: &[u8] = b"application/grpc";
const BINARY: &[u8] = b"application/grpc-web";
const TEXT: &[u8] = b"application/grpc-web-text";
/// Marks the last message of the content, which holds the trailers.
const TRAILERS: u8 = 0x80;
/// Flags and length before each message.
const PREFIX: usize = 5;

/// What a content type says: is it text, and what follows the name, such as "+proto". `None`: it is not gRPC-Web.
fn parse(kind: &[u8]) -> Option<(bool, &[u8])> {
    let (is_text, format) = match kind.strip_prefix(TEXT) {
        Some(format) => (true, format.strip_prefix(b"-base64").unwrap_or(format)),
        None => (false, kind.strip_prefix(BINARY)?),
    };
    matches!(format.first(), None | Some(b'+' | b';')).then_some((is_text, format))
}

/// True when the message is gRPC-Web, binary or text.
pub fn is_grpc_web(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| parse(kind.as_bytes()).is_some())
}

/// A gRPC-Web call on its way to an endpoint that speaks gRPC.
#[derive(Debug)]
pub struct Translation {
    /// Content types of the request as it goes on, and of the response as the caller gets it.
    request: HeaderValue,
    response: HeaderValue,
    reads_text: bool,
    writes_text: bool,
}

impl Translation {
    /// For a request with these fields; `None` when it is not gRPC-Web.
    pub fn of(headers: &HeaderMap) -> Option<Box<Self>> {
        let (reads_text, format) = parse(headers.get(header::CONTENT_TYPE)?.as_bytes())?;
        let writes_text = asked_for_text(headers).unwrap_or(reads_text);
        let kind = |name: &[u8]| HeaderValue::from_bytes(&[name, format].concat()).ok();
        Some(Box::new(Translation {
            request: kind(GRPC)?,
            response: kind(if writes_text { TEXT } else { BINARY })?,
            reads_text,
            writes_text,
        }))
    }

    /// Makes the request's fields those of gRPC.
    pub fn request(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, self.request.clone());
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.remove(header::CONTENT_LENGTH);
    }

    /// The request's content as gRPC has it.
    pub fn body(&self, body: Body) -> Body {
        match self.reads_text {
            true => Body::Text(Box::new(Text { body, decoder: Decoder::default() })),
            false => body,
        }
    }
}

/// What becomes of a response's content on its way to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing, and it has no status but that of HTTP.
    Http,
    /// Nothing: gRPC for a caller that speaks it.
    Grpc,
    /// Nothing: gRPC-Web from an endpoint that speaks it.
    Passed,
    /// gRPC becomes gRPC-Web.
    Binary,
    /// gRPC becomes gRPC-Web in base64.
    Text,
}

impl Form {
    /// For a response with these fields, which are brought into it.
    pub fn of(headers: &mut HeaderMap, web: Option<&Translation>) -> Self {
        if grpc::is_grpc(headers) {
            let Some(web) = web else { return Form::Grpc };
            headers.insert(header::CONTENT_TYPE, web.response.clone());
            headers.remove(header::CONTENT_LENGTH);
            return if web.writes_text { Form::Text } else { Form::Binary };
        }
        let kind = headers.get(header::CONTENT_TYPE).map(|kind| parse(kind.as_bytes()));
        match kind {
            // Nothing can be added to a content whose length is told, and text is not read for its messages.
            Some(Some((false, _))) if !headers.contains_key(header::CONTENT_LENGTH) => Form::Passed,
            _ => Form::Http,
        }
    }

    /// Takes the content as it comes.
    pub fn sink(self, sink: Sink) -> Sink {
        match self {
            Form::Http | Form::Grpc => sink,
            form => Sink::GrpcWeb(Box::new(Outgoing { sink, form, messages: Messages::default() })),
        }
    }

    /// True when the content ends with a gRPC status.
    pub fn is_call(self) -> bool {
        self != Form::Http
    }
}

/// Which of the two forms `Accept` asks for, if any.
fn asked_for_text(headers: &HeaderMap) -> Option<bool> {
    let kinds = headers.get_all(header::ACCEPT).iter();
    kinds
        .flat_map(|kinds| kinds.as_bytes().split(|byte| *byte == b','))
        .find_map(|kind| parse(kind.trim_ascii()))
        .map(|(is_text, _)| is_text)
}

/// Content that comes as base64.
#[derive(Debug)]
pub struct Text {
    body: Body,
    decoder: Decoder,
}

impl Text {
    /// See [`Body::gather`].
    pub fn gather(&mut self, cx: &mut Context<'_>) {
        self.body.gather(cx);
    }

    /// See [`Body::holds`].
    pub fn holds(&self) -> bool {
        self.body.holds()
    }

    /// See [`Body::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        loop {
            match ready!(self.body.poll_frame(cx)) {
                Some(Ok(Frame::Data(text))) => {
                    // Whoever reads asks for the next frame only when it has sent this one: little is released early.
                    self.body.release(text.len());
                    match self.decoder.decode(&text) {
                        Ok(data) if data.is_empty() => {}
                        Ok(data) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                        Err(invalid) => return Poll::Ready(Some(Err(StreamError::Malformed(invalid.0.into())))),
                    }
                }
                None | Some(Ok(Frame::Trailers(_))) if !self.decoder.is_whole() => {
                    let words = "base64 ends inside a group of four";
                    return Poll::Ready(Some(Err(StreamError::Malformed(words.into()))));
                }
                other => return Poll::Ready(other),
            }
        }
    }

    /// See [`Body::is_end`].
    pub fn is_end(&self) -> bool {
        self.body.is_end() && self.decoder.is_whole()
    }
}

/// Content that goes to a gRPC-Web caller.
#[derive(Debug)]
pub struct Outgoing {
    sink: Sink,
    form: Form,
    messages: Messages,
}

impl Outgoing {
    /// See [`Sink::poll_capacity`].
    pub fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, StreamError>> {
        if self.form != Form::Text {
            return self.sink.poll_capacity(cx, wanted);
        }
        let room = ready!(self.sink.poll_capacity(cx, base64::encoded_len(wanted)))?;
        // A group that does not fit is sent all the same: the codec holds its few bytes back.
        Poll::Ready(Ok((room / 4 * 3).clamp(1, wanted)))
    }

    /// See [`Sink::send_data`]. Content that ends without trailers has no status: the caller is told so, for some clients
    /// would take it for a success.
    pub fn send_data(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        self.messages.advance(&data);
        if self.form == Form::Passed || !end {
            return self.write(data, end);
        }
        if !data.is_empty() {
            self.write(data, false)?;
        }
        self.conclude(&grpc::no_status())
    }

    /// See [`Sink::send_trailers`].
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamError> {
        match self.form {
            Form::Binary | Form::Text => self.conclude(&trailers),
            _ => self.sink.send_trailers(trailers),
        }
    }

    /// Ends the content with the call's status, unless a message is not complete: it would be taken for a part of that.
    pub fn conclude(&mut self, trailers: &HeaderMap) -> Result<(), StreamError> {
        match self.messages.are_whole() {
            true => self.write(trailers_message(trailers), true),
            false => Err(StreamError::Cut),
        }
    }

    fn write(&mut self, data: Bytes, end: bool) -> Result<(), StreamError> {
        let data = match self.form {
            Form::Text => base64::encode(&data).into(),
            _ => data,
        };
        self.sink.send_data(data, end)
    }

    /// See [`Sink::poll_flush`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.sink.poll_flush(cx)
    }

    /// See [`Sink::reset`].
    pub fn reset(&mut self, code: ResetCode) {
        self.sink.reset(code);
    }

    /// See [`Sink::poll_reset`].
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<StreamError> {
        self.sink.poll_reset(cx)
    }
}

/// Trailers as a message: a block of fields as HTTP/1.1 has it.
fn trailers_message(trailers: &HeaderMap) -> Bytes {
    let mut message = BytesMut::with_capacity(128);
    message.put_slice(&[TRAILERS, 0, 0, 0, 0]);
    for (name, value) in trailers {
        message.put_slice(name.as_ref());
        message.put_slice(b": ");
        message.put_slice(value.as_bytes());
        message.put_slice(b"\r\n");
    }
    // A codec takes no field section that is near this length.
    let length = u32::try_from(message.len() - PREFIX).unwrap_or(u32::MAX);
    message[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    message.freeze()
}

/// Follows where messages begin and end. After one with the call's status there is none.
#[derive(Debug, Default)]
struct Messages {
    /// The prefix that is not complete, and how many bytes of it there are.
    prefix: [u8; PREFIX],
    known: usize,
    /// Bytes of the message that are still to come.
    left: usize,
}

impl Messages {
    fn advance(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(data.len());
                self.left -= taken;
                data = &data[taken..];
                continue;
            }
            let taken = (PREFIX - self.known).min(data.len());
            self.prefix[self.known..self.known + taken].copy_from_slice(&data[..taken]);
            self.known += taken;
            data = &data[taken..];
            if self.known == PREFIX {
                let [_, length @ ..] = self.prefix;
                self.left = u32::from_be_bytes(length) as usize;
                self.known = 0;
            }
        }
    }

    /// True where a message may begin.
    fn are_whole(&self) -> bool {
        self.left == 0 && self.known == 0 && self.prefix[0] & TRAILERS == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = fields
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn content_types_become_those_of_grpc_and_come_back() {
        for (request, accept, grpc, response) in [
            (
                "application/grpc-web",
                "*/*",
                "application/grpc",
                "application/grpc-web",
            ),
            (
                "application/grpc-web+proto",
                "",
                "application/grpc+proto",
                "application/grpc-web+proto",
            ),
            (
                "application/grpc-web+json; charset=utf-8",
                "",
                "application/grpc+json; charset=utf-8",
                "application/grpc-web+json; charset=utf-8",
            ),
            (
                "application/grpc-web-text",
                "",
                "application/grpc",
                "application/grpc-web-text",
            ),
            (
                "application/grpc-web-text-base64+proto",
                "application/json, application/grpc-web-text",
                "application/grpc+proto",
                "application/grpc-web-text+proto",
            ),
            (
                "application/grpc-web-text",
                "application/grpc-web",
                "application/grpc",
                "application/grpc-web",
            ),
            (
                "application/grpc-web+proto",
                "application/grpc-web-text+proto",
                "application/grpc+proto",
                "application/grpc-web-text+proto",
            ),
        ] {
            let mut headers = fields(&[("content-type", request), ("accept", accept), ("content-length", "5")]);
            let translation = Translation::of(&headers).expect(request);
            translation.request(&mut headers);
            assert_eq!(
                (&headers["content-type"], &headers["te"]),
                (&grpc.parse().unwrap(), &"trailers".parse().unwrap())
            );
            assert!(!headers.contains_key("content-length"));
            let form = Form::of(&mut headers, Some(&translation));
            assert_eq!(form == Form::Text, response.contains("text"));
            assert_eq!(headers["content-type"], response, "{request}, {accept}");
        }
    }

    #[test]
    fn other_content_is_not_translated() {
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc-website",
            "application/grpc-web-textual",
            "application/json",
        ] {
            let headers = fields(&[("content-type", kind)]);
            assert!(!is_grpc_web(&headers) && Translation::of(&headers).is_none(), "{kind}");
        }
        assert!(Translation::of(&HeaderMap::new()).is_none());
    }

    #[test]
    fn trailers_are_a_message() {
        let trailers = fields(&[("grpc-status", "5"), ("x-twice", "1"), ("x-twice", "2")]);
        let block = b"grpc-status: 5\r\nx-twice: 1\r\nx-twice: 2\r\n";
        let message = trailers_message(&trailers);
        assert_eq!(message[..PREFIX], [0x80, 0, 0, 0, block.len() as u8]);
        assert_eq!(message[PREFIX..], *block);
    }

    #[test]
    fn messages_are_followed_in_any_pieces() {
        let stream = [
            &[0, 0, 0, 0, 3][..],
            b"abc",
            &[1, 0, 0, 0, 0],
            &[0, 0, 0, 1, 0],
            &[7; 256],
        ]
        .concat();
        let whole: Vec<usize> = vec![0, 8, 13, stream.len()];
        for step in 1..=stream.len() {
            let mut messages = Messages::default();
            let mut at = 0;
            for piece in stream.chunks(step) {
                messages.advance(piece);
                at += piece.len();
                assert_eq!(messages.are_whole(), whole.contains(&at), "{at} by {step}");
            }
        }
    }

    #[test]
    fn random_bytes_never_confuse_who_follows_them() {
        crate::random::fuzz("grpc_messages", |bytes| {
            let (head, tail) = bytes.split_at(crate::random::below(bytes.len() + 1));
            let (mut once, mut twice) = (Messages::default(), Messages::default());
            once.advance(bytes);
            twice.advance(head);
            twice.advance(tail);
            assert_eq!((once.left, once.known), (twice.left, twice.known));
        });
    }
}
