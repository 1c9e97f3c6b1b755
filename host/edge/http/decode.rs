//! Decodes bodies: in small pieces, and no further than what arrived makes likely.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use http::header::{self, HeaderValue};
use http_body::{Body, Frame};

use crate::capability::http::Failed;

/// The bytes that a body may become for each that arrived: text seldom shrinks to less than a twentieth.
const RATIO: u64 = 100;
/// What it may become in any case.
const FREE: u64 = 64 * 1024;
/// What is decoded at once: DEFLATE makes at most 1032 bytes of one.
const STEP: usize = 512;
/// What is given on at once.
const PIECE: usize = 64 * 1024;

/// A body, decoded.
pub(super) struct Decoded<B> {
    body: B,
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
    /// What has arrived and is not decoded yet, or not given on.
    waiting: Bytes,
    arrived: u64,
    made: u64,
}

impl<B> Decoded<B> {
    /// A body with these headers, from which what is undone here is removed.
    ///
    /// # Errors
    /// When it is encoded in a way that was not asked for.
    pub(super) fn new(body: B, headers: &mut HeaderMap) -> Result<Self, Failed> {
        let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
        let decoder = match (encodings.next().map(HeaderValue::as_bytes), encodings.next()) {
            (None, _) => None,
            (Some(only), None) if only.eq_ignore_ascii_case(b"identity") => None,
            (Some(only), None) if only.eq_ignore_ascii_case(b"gzip") || only.eq_ignore_ascii_case(b"x-gzip") => {
                headers.remove(header::CONTENT_ENCODING);
                headers.remove(header::CONTENT_LENGTH);
                Some(MultiGzDecoder::new(Vec::new()))
            }
            _ => return Err(Failed::Encoding("it was asked for plain or as gzip")),
        };
        Ok(Self { body, decoder, waiting: Bytes::new(), arrived: 0, made: 0 })
    }

    /// The next piece of what is waiting; none when more has to arrive.
    fn piece(&mut self) -> Result<Option<Bytes>, Failed> {
        let Some(decoder) = &mut self.decoder else {
            let length = self.waiting.len().min(PIECE);
            return Ok((length > 0).then(|| self.waiting.split_to(length)));
        };
        while !self.waiting.is_empty() {
            let step = self.waiting.len().min(STEP);
            decoder.write_all(&self.waiting[..step]).map_err(|_| DAMAGED)?;
            // Some of what was written may still be inside, and comes out with the next step.
            decoder.flush().map_err(|_| DAMAGED)?;
            self.waiting.advance(step);
            let made = std::mem::take(decoder.get_mut());
            self.made += made.len() as u64;
            if self.made > FREE + RATIO * self.arrived {
                return Err(Failed::Encoding("it becomes more than 100 times as long"));
            }
            if !made.is_empty() {
                return Ok(Some(made.into()));
            }
        }
        Ok(None)
    }

    /// The body has arrived: is it whole?
    fn end(&mut self) -> Result<Option<Bytes>, Failed> {
        let Some(mut decoder) = self.decoder.take().filter(|_| self.arrived > 0) else { return Ok(None) };
        decoder.try_finish().map_err(|_| DAMAGED)?;
        let made = std::mem::take(decoder.get_mut());
        Ok((!made.is_empty()).then(|| made.into()))
    }
}

const DAMAGED: Failed = Failed::Encoding("it is damaged");

impl<B: Body<Data = Bytes, Error = Failed> + Unpin> Body for Decoded<B> {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        loop {
            if let Some(piece) = self.piece().transpose() {
                return Poll::Ready(Some(piece.map(Frame::data)));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(self.end().transpose().map(|piece| piece.map(Frame::data))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // Trailers are not for guests.
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.arrived += bytes.len() as u64;
                        self.waiting = bytes;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::Compression;
    use flate2::read::GzEncoder;
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    fn gzip(text: &[u8]) -> Bytes {
        let mut made = Vec::new();
        GzEncoder::new(text, Compression::best()).read_to_end(&mut made).unwrap();
        made.into()
    }

    fn decoded(encoding: Option<&'static str>, body: Bytes) -> Result<Bytes, Failed> {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let body = Full::new(body).map_err(|never| match never {});
        let body = Decoded::new(body, &mut headers)?;
        assert!(!headers.contains_key(header::CONTENT_ENCODING) || encoding == Some("identity"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Ok(runtime.block_on(body.collect())?.to_bytes())
    }

    #[test]
    fn bodies_arrive_as_they_were_before_they_were_encoded() {
        let text: Vec<u8> =
            (0..200_000u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        assert_eq!(decoded(None, Bytes::from(text.clone())).unwrap(), text);
        assert_eq!(decoded(Some("identity"), Bytes::from(text.clone())).unwrap(), text);
        assert_eq!(decoded(Some("gzip"), gzip(&text)).unwrap(), text);
        // One stream after another (RFC 1952, section 2.2).
        let two = [gzip(b"one, "), gzip(b"two")].concat();
        assert_eq!(decoded(Some("X-Gzip"), two.into()).unwrap(), "one, two");
        assert_eq!(decoded(Some("gzip"), Bytes::new()).unwrap(), "");
    }

    #[test]
    fn what_becomes_far_too_long_or_is_damaged_is_refused() {
        let bomb = gzip(&vec![0; 8 << 20]);
        assert!(matches!(decoded(Some("gzip"), bomb), Err(Failed::Encoding(why)) if why.contains("100 times")));
        let whole = gzip(b"a text that is not very long");
        for damaged in [whole.slice(..whole.len() - 6), whole.slice(4..), Bytes::from_static(b"not gzip")] {
            assert!(matches!(decoded(Some("gzip"), damaged), Err(Failed::Encoding(_))));
        }
        for other in ["br", "gzip, gzip", "zstd", ""] {
            assert!(matches!(decoded(Some(other), whole.clone()), Err(Failed::Encoding(_))), "{other}");
        }
    }
}
