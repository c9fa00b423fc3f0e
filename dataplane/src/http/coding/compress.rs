//! Content that is compressed as it passes.

use std::fmt;
use std::io::{self, Write};
use std::task::{Context, Poll};

use brotli::CompressorWriter;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::HeaderMap;
use zstd::stream::raw::CParameter;

use crate::http::body::{Body, Frame, StreamError};
use crate::snapshot::model::Coding;

/// nginx's default is 1 and zlib's 6. Measured by many: beyond 4 the time grows faster than the content shrinks.
const GZIP_LEVEL: u32 = 4;
/// Of 0 to 11; Google's own advice for content that is made for each request.
const BROTLI_QUALITY: u32 = 4;
/// A window of 256 KiB, the larger half of what a stream's encoder holds; the default is 4 MiB.
const BROTLI_WINDOW_BITS: u32 = 18;
/// zstd's default.
const ZSTD_LEVEL: i32 = 3;
/// A window of 256 KiB; the default of this level is 2 MiB.
const ZSTD_WINDOW_BITS: u32 = 18;
/// Bytes that brotli hands out together.
const PIECE: usize = 4096;

/// The content of another body, compressed. What has come leaves when nothing more comes at once, so that no reader waits
/// for what is there.
#[derive(Debug)]
pub struct Compressed {
    body: Body,
    /// `None`: the end has been given out.
    encoder: Option<Encoder>,
    /// It has taken what it may not have given out.
    is_held: bool,
    trailers: Option<HeaderMap>,
}

impl Compressed {
    /// Gives the body back where there is no encoder to be had.
    pub fn new(coding: Coding, body: Body) -> Result<Self, Body> {
        match Encoder::new(coding) {
            Ok(encoder) => Ok(Compressed { body, encoder: Some(encoder), is_held: false, trailers: None }),
            Err(_) => Err(body),
        }
    }

    /// See [`Body::poll_frame`].
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, StreamError>>> {
        loop {
            let Some(encoder) = &mut self.encoder else {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::Trailers(trailers))));
            };
            let ready = match self.body.poll_frame(cx) {
                Poll::Pending if !self.is_held => return Poll::Pending,
                Poll::Pending => {
                    self.is_held = false;
                    encoder.flushed()
                }
                Poll::Ready(Some(Ok(Frame::Data(data)))) => {
                    // Whoever reads asks for the next frame only when it has sent this one: little is released early.
                    self.body.release(data.len());
                    self.is_held = true;
                    encoder.taken(&data)
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(Frame::Trailers(trailers)))) => {
                    self.trailers = Some(trailers);
                    self.finished()
                }
                Poll::Ready(None) => self.finished(),
            };
            match ready {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::Data(data)))),
                Err(error) => return Poll::Ready(Some(Err(StreamError::Closed(error.to_string().into())))),
            }
        }
    }

    /// See [`Body::is_end`].
    pub fn is_end(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    /// See [`Body::holds`].
    pub fn holds(&self) -> bool {
        self.body.holds()
    }

    /// See [`Body::gather`].
    pub fn gather(&mut self, cx: &mut Context<'_>) {
        self.body.gather(cx);
    }

    fn finished(&mut self) -> io::Result<Bytes> {
        self.encoder.take().map_or(Ok(Bytes::new()), Encoder::finish)
    }
}

/// Writes into a vector, which is emptied after each step.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    pub(super) fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL))),
            Coding::Brotli => {
                let writer = CompressorWriter::new(Vec::new(), PIECE, BROTLI_QUALITY, BROTLI_WINDOW_BITS);
                Encoder::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_BITS))?;
                Encoder::Zstd(encoder)
            }
        })
    }

    /// What comes of `data` at once.
    pub(super) fn taken(&mut self, data: &[u8]) -> io::Result<Bytes> {
        match self {
            Encoder::Gzip(writer) => writer.write_all(data)?,
            Encoder::Brotli(writer) => writer.write_all(data)?,
            Encoder::Zstd(writer) => writer.write_all(data)?,
        }
        Ok(self.given())
    }

    /// All that was held back.
    pub(super) fn flushed(&mut self) -> io::Result<Bytes> {
        match self {
            Encoder::Gzip(writer) => writer.flush()?,
            Encoder::Brotli(writer) => writer.flush()?,
            Encoder::Zstd(writer) => writer.flush()?,
        }
        Ok(self.given())
    }

    fn given(&mut self) -> Bytes {
        let written = match self {
            Encoder::Gzip(writer) => writer.get_mut(),
            Encoder::Brotli(writer) => writer.get_mut(),
            Encoder::Zstd(writer) => writer.get_mut(),
        };
        std::mem::take(written).into()
    }

    /// The rest, with the end.
    pub(super) fn finish(self) -> io::Result<Bytes> {
        let written = match self {
            Encoder::Gzip(writer) => writer.finish()?,
            Encoder::Brotli(writer) => writer.into_inner(),
            Encoder::Zstd(writer) => writer.finish()?,
        };
        Ok(written.into())
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Encoder::Gzip(_) => "Gzip",
            Encoder::Brotli(_) => "Brotli",
            Encoder::Zstd(_) => "Zstd",
        })
    }
}
