//! The content of a message: how it is framed while it is read, and while it is written.

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;

use super::chunked::{Decoder, Step, write_end, write_size};
use super::socket::{CONTENT_READ, Socket};
use crate::http::body::StreamError;
use crate::http::check::Malformed;

/// The content of the message that is being read, as far as it is not yet read.
#[derive(Debug)]
pub(super) enum Content {
    /// So many bytes are still to come.
    Length(u64),
    /// The last chunk is its end.
    Chunked(Decoder),
    /// The end of the connection is its end; also the bytes of another protocol after an upgrade.
    UntilClose,
    /// Whether bytes of another protocol follow is not yet decided.
    Upgrading,
    /// It broke.
    Failed(StreamError),
}

pub(super) const NO_CONTENT: Content = Content::Length(0);

impl Content {
    /// True when it is read to its end.
    pub(super) fn is_end(&self) -> bool {
        match self {
            Content::Length(left) => *left == 0,
            Content::Chunked(decoder) => decoder.is_end(),
            Content::UntilClose | Content::Upgrading | Content::Failed(_) => false,
        }
    }

    /// Takes the next piece from the front of `input`.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Step, StreamError> {
        match self {
            Content::Length(0) => Ok(Step::End),
            Content::Length(_) | Content::UntilClose if input.is_empty() => Ok(Step::More),
            Content::Length(left) => {
                let n = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                Ok(Step::Data(input.split_to(n).freeze()))
            }
            Content::UntilClose => Ok(Step::Data(input.split().freeze())),
            Content::Chunked(decoder) => decoder
                .step(input)
                .map_err(|malformed| StreamError::Malformed(malformed.0.into())),
            Content::Upgrading => Ok(Step::More),
            Content::Failed(error) => Err(error.clone()),
        }
    }

    /// About how many bytes the next read may bring.
    pub(super) fn expected(&self) -> usize {
        match self {
            Content::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX),
            // Chunks are often small and come one by one.
            _ => CONTENT_READ / 4,
        }
    }

    /// Remembers why it broke.
    pub(super) fn fail(&mut self, error: StreamError) -> StreamError {
        *self = Content::Failed(error.clone());
        error
    }
}

/// The message that is being written, as far as it is not yet written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    /// Not begun.
    Waiting,
    /// So many bytes of content are still to be written.
    Length(u64),
    /// The last chunk is its end.
    Chunked,
    /// The end of the connection is its end.
    UntilClose,
    /// Bytes of another protocol; the end of the sending half is their end.
    Tunnel,
    /// Written whole.
    Done,
}

impl Writing {
    /// True when nothing more has to be written for the message to be whole.
    pub(super) fn is_whole(self) -> bool {
        matches!(self, Writing::Done | Writing::Length(0))
    }

    /// Writes content; `is_end` closes the message.
    pub(super) fn data(&mut self, socket: &mut Socket, data: Bytes, is_end: bool) -> Result<(), Malformed> {
        match self {
            // HEAD, 204 and 304 have none, whatever the sender believes.
            Writing::Done | Writing::Waiting => return Ok(()),
            Writing::Length(left) => {
                *left = left
                    .checked_sub(data.len() as u64)
                    .ok_or(Malformed("there is more content than Content-Length says"))?;
                socket.output.push(data);
            }
            Writing::Chunked if data.is_empty() => {}
            Writing::Chunked => {
                write_size(&mut socket.output.tail, data.len());
                socket.output.push(data);
                socket.output.tail.put_slice(b"\r\n");
            }
            Writing::UntilClose | Writing::Tunnel => socket.output.push(data),
        }
        if is_end { self.end(socket, None) } else { Ok(()) }
    }

    /// Closes the message. Only chunks have a place for trailers.
    pub(super) fn end(&mut self, socket: &mut Socket, trailers: Option<&HeaderMap>) -> Result<(), Malformed> {
        match self {
            Writing::Waiting => return Ok(()),
            Writing::Length(1..) => return Err(Malformed("there is less content than Content-Length says")),
            Writing::Chunked => write_end(&mut socket.output.tail, trailers),
            Writing::Tunnel => socket.close_sending(),
            Writing::Length(_) | Writing::UntilClose | Writing::Done => {}
        }
        *self = Writing::Done;
        Ok(())
    }
}
