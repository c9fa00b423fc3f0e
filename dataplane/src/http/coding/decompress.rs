//! Content that is decompressed as it passes, as far as it does not become too much.

use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use bytes::{Buf, Bytes};
use flate2::{FlushDecompress, Status};
use zstd::stream::raw::{self, DParameter, Operation};

use crate::http::body::{Body, Frame, StreamError};
use crate::snapshot::model::{Coding, Decompress};

/// Bytes that come of one step.
const PIECE: usize = 16 * 1024;
/// Bytes that may come of next to nothing: any ratio is possible for small content.
const FREE: u64 = 64 * 1024;
/// The largest window of gzip.
const GZIP_WINDOW_BITS: u8 = 15;
/// A window of 8 MiB: more need not be decoded (RFC 9659 section 3).
const ZSTD_WINDOW_BITS: u32 = 23;

/// The content of another body, decompressed.
#[derive(Debug)]
pub struct Decompressed {
    body: Body,
    coding: Coding,
    decoder: Decoder,
    most: Decompress,
    /// Not yet decoded.
    input: Bytes,
    /// The decoder holds more that it could give without any.
    is_full: bool,
    /// What was decoded ends where it may end.
    is_whole: bool,
    /// Bytes in and out.
    taken: u64,
    given: u64,
}

/// What one step did.
struct Step {
    read: usize,
    written: usize,
    is_whole: bool,
}

impl Decompressed {
    /// Fails where there is no decoder to be had.
    pub fn new(coding: Coding, most: Decompress, body: Body) -> io::Result<Self> {
        Ok(Decompressed {
            body,
            coding,
            decoder: Decoder::new(coding)?,
            most,
            input: Bytes::new(),
            is_full: false,
            is_whole: false,
            taken: 0,
            given: 0,
        })
    }

    /// See [`Body::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        loop {
            if !self.input.is_empty() || self.is_full {
                match self.decode() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            match ready!(self.body.poll_frame(cx)) {
                Some(Ok(Frame::Data(data))) => {
                    self.body.release(data.len());
                    self.taken += data.len() as u64;
                    self.input = data;
                }
                None | Some(Ok(Frame::Trailers(_))) if !self.is_whole => {
                    return Poll::Ready(Some(Err(self.malformed("ends before its end"))));
                }
                other => return Poll::Ready(other),
            }
        }
    }

    /// See [`Body::is_end`].
    pub fn is_end(&self) -> bool {
        self.is_whole && self.input.is_empty() && !self.is_full && self.body.is_end()
    }

    /// See [`Body::holds`].
    pub fn holds(&self) -> bool {
        self.body.holds()
    }

    /// See [`Body::gather`].
    pub fn gather(&mut self, cx: &mut Context<'_>) {
        self.body.gather(cx);
    }

    fn decode(&mut self) -> Result<Bytes, StreamError> {
        if self.is_whole && !self.input.is_empty() && !self.decoder.goes_on() {
            return Err(self.malformed("goes on after its end"));
        }
        let mut written = vec![0; PIECE];
        let step = self.decoder.step(&self.input, &mut written);
        let step = step.map_err(|Invalid| self.malformed("is not valid"))?;
        self.input.advance(step.read);
        self.is_full = step.written == PIECE;
        match step {
            Step { read: 0, written: 0, .. } if self.input.is_empty() => return Ok(Bytes::new()),
            Step { read: 0, written: 0, .. } => return Err(self.malformed("is not valid")),
            Step { is_whole, .. } => self.is_whole = is_whole,
        }
        self.given += step.written as u64;
        self.judge()?;
        written.truncate(step.written);
        Ok(written.into())
    }

    /// Fails when it has become too much.
    fn judge(&self) -> Result<(), StreamError> {
        let Decompress { max_size, max_ratio } = self.most;
        let name = self.coding.name();
        if self.given > max_size {
            let words = format!("what is compressed by {name} has more than {max_size} bytes: decompress.max_size");
            return Err(StreamError::TooLarge(words.into()));
        }
        if self.given > FREE && self.given / max_ratio > self.taken {
            let words = format!("{name} makes more than {max_ratio} times as much of it: decompress.max_ratio");
            return Err(StreamError::TooLarge(words.into()));
        }
        Ok(())
    }

    fn malformed(&self, how: &str) -> StreamError {
        StreamError::Malformed(format!("Content-Encoding is {}, and the content {how}", self.coding.name()).into())
    }
}

/// What no encoder makes.
struct Invalid;

enum Decoder {
    Gzip(flate2::Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(raw::Decoder<'static>),
}

impl Decoder {
    fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Decoder::Gzip(flate2::Decompress::new_gzip(GZIP_WINDOW_BITS)),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                Decoder::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => {
                let mut decoder = raw::Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_BITS))?;
                Decoder::Zstd(decoder)
            }
        })
    }

    /// Begins anew behind an end, where the coding allows that (RFC 1952 section 2.2, RFC 8878 section 3.1).
    fn goes_on(&mut self) -> bool {
        match self {
            Decoder::Gzip(decoder) => *decoder = flate2::Decompress::new_gzip(GZIP_WINDOW_BITS),
            Decoder::Zstd(_) => {}
            Decoder::Brotli(_) => return false,
        }
        true
    }

    /// Decodes what fits.
    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, Invalid> {
        match self {
            Decoder::Gzip(decoder) => {
                let (before_in, before_out) = (decoder.total_in(), decoder.total_out());
                let status = decoder.decompress(input, output, FlushDecompress::None);
                let status = status.map_err(|_| Invalid)?;
                Ok(Step {
                    read: (decoder.total_in() - before_in) as usize,
                    written: (decoder.total_out() - before_out) as usize,
                    is_whole: status == Status::StreamEnd,
                })
            }
            Decoder::Brotli(state) => {
                let (mut left, mut read) = (input.len(), 0);
                let (mut room, mut written, mut total) = (output.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut left,
                    &mut read,
                    input,
                    &mut room,
                    &mut written,
                    output,
                    &mut total,
                    state,
                );
                match result {
                    BrotliResult::ResultFailure => Err(Invalid),
                    result => Ok(Step { read, written, is_whole: matches!(result, BrotliResult::ResultSuccess) }),
                }
            }
            Decoder::Zstd(decoder) => {
                let status = decoder.run_on_buffers(input, output).map_err(|_| Invalid)?;
                Ok(Step {
                    read: status.bytes_read,
                    written: status.bytes_written,
                    is_whole: status.remaining == 0,
                })
            }
        }
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Decoder::Gzip(_) => "Gzip",
            Decoder::Brotli(_) => "Brotli",
            Decoder::Zstd(_) => "Zstd",
        })
    }
}
