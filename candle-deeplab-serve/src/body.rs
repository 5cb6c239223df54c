//! Reads the bodies of requests, whoever sends them, and however slowly.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::{GzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};

use crate::app::{App, KIB, blocking};
use crate::meter;
use crate::problem::{Problem, Result};

/// How many bytes of text a byte of an image takes at most, as a number and a comma.
const TEXT: usize = 4;

/// The longest pause of a sender.
const PAUSE: Duration = Duration::from_secs(10);

/// The bytes of a body, and what they take of the memory for bodies. It counts until the images in it are decoded.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) memory: BodyMemory,
}

impl Received {
    /// Nothing yet.
    pub(crate) fn none(memory: &Arc<Semaphore>) -> Self {
        Self { bytes: vec![], memory: BodyMemory { semaphore: memory.clone(), bytes: 0, permit: None } }
    }

    /// Appends bytes, of which there are no more than `limit` together.
    ///
    /// # Errors
    /// Bodies take too much memory at the moment.
    pub(crate) fn append(&mut self, bytes: &[u8], limit: usize) -> Result<()> {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            // What is allocated counts, not what has come.
            let capacity = needed.max(2 * self.bytes.capacity()).min(limit);
            self.memory.grow(capacity - self.bytes.capacity())?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Reads a body that is an image's file.
///
/// # Errors
/// It is longer than the server's limit, too slow, or in an unknown encoding; or bodies take too much memory at the moment.
pub(crate) async fn read(app: &App, headers: &HeaderMap, body: Body, deadline: Instant) -> Result<Received> {
    read_up_to(app, headers, body, app.settings.max_bytes, deadline).await
}

/// Reads a body that may hold an image as text, which takes up to four times its bytes.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_text(app: &App, headers: &HeaderMap, body: Body, deadline: Instant) -> Result<Received> {
    read_up_to(app, headers, body, app.settings.max_bytes.saturating_mul(TEXT), deadline).await
}

/// Reads a body that is JSON, whatever its content type says. The memory counts for what the value has kept of it.
///
/// # Errors
/// As [`read_text`], and that it is not the JSON that is expected.
pub(crate) async fn read_json<T: DeserializeOwned + Send + 'static>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    deadline: Instant,
) -> Result<(T, BodyMemory)> {
    let received = read_text(app, headers, body, deadline).await?;
    // Long texts take their time, which the threads that serve do not have.
    let read = move || {
        let Received { bytes, memory } = received;
        Ok((parse(&bytes)?, memory))
    };
    blocking(&app.decoders, deadline, read).await
}

/// Reads a short body, and checks that it is JSON.
///
/// # Errors
/// As [`read_json`].
pub(crate) async fn read_ignored(app: &App, headers: &HeaderMap, body: Body, deadline: Instant) -> Result<()> {
    /// More than any labeling configuration.
    const MOST: usize = 1 << 20;
    let received = read_up_to(app, headers, body, MOST, deadline).await?;
    parse::<BTreeMap<String, IgnoredAny>>(&received.bytes).map(|_| ())
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let parsed = serde_json::from_slice(bytes);
    parsed.map_err(|error| Problem::bad(format!("the body is not the JSON that is expected: {error}")))
}

async fn read_up_to(
    app: &App,
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    deadline: Instant,
) -> Result<Received> {
    let too_long =
        || Problem::too_large(format!("the body is longer than {limit} bytes, the most that this server takes"));
    let encoding = Encoding::of(headers)?;
    if body.size_hint().lower() > limit as u64 {
        return Err(too_long());
    }
    let mut received = Received::none(&app.body_memory);
    loop {
        let frame = timeout_at(deadline.into(), timeout(PAUSE, body.frame())).await;
        let frame = match frame {
            Ok(Ok(frame)) => frame,
            _ => {
                let message = "the body came too slowly: send it faster, or a smaller one";
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, message));
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| Problem::bad(format!("the body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if received.bytes.len() + data.len() > limit {
            return Err(too_long());
        }
        received.append(&data, limit)?;
    }
    meter::received(received.bytes.len());
    match encoding {
        Encoding::Identity => Ok(received),
        _ => blocking(&app.decoders, deadline, move || encoding.decode(received, limit)).await,
    }
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    /// With zlib's header, as HTTP says.
    Deflate,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self> {
        let Some(name) = headers.get(header::CONTENT_ENCODING) else { return Ok(Self::Identity) };
        match name.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            _ => {
                let message = "this `Content-Encoding` is not read: send the body with gzip, deflate or none";
                Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
            }
        }
    }

    /// The decompressed bytes, of which there may be `limit`.
    fn decode(self, compressed: Received, limit: usize) -> Result<Received> {
        let bytes = &compressed.bytes[..];
        let mut reader: Box<dyn Read> = match self {
            Self::Identity => Box::new(bytes),
            Self::Gzip => Box::new(GzDecoder::new(bytes)),
            Self::Deflate => Box::new(ZlibDecoder::new(bytes)),
        };
        let mut decoded = Received::none(&compressed.memory.semaphore);
        read_to_end(&mut reader, &mut decoded, limit)
            .map_err(|error| Problem::bad(format!("the body cannot be decompressed: {error}")))??;
        Ok(decoded)
    }
}

/// Reads to the end, of which `limit` bytes are the most, so that each byte counts before it is there.
///
/// # Errors
/// Those of the reader; and within, that there are more bytes, or that bodies take too much memory.
pub(crate) fn read_to_end(reader: &mut impl Read, to: &mut Received, limit: usize) -> std::io::Result<Result<()>> {
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = reader.read(&mut piece)?;
        if read == 0 {
            return Ok(Ok(()));
        }
        if to.bytes.len() + read > limit {
            let message = format!("there are more than {limit} bytes, the most that this server takes");
            return Ok(Err(Problem::too_large(message)));
        }
        if let Err(problem) = to.append(&piece[..read], limit) {
            return Ok(Err(problem));
        }
    }
}

/// Reads a list of at most `MOST` values, so that a body does not become many times as much memory. `null` is an empty list.
///
/// # Errors
/// There are more.
pub(crate) fn at_most<'de, D, T, const MOST: usize>(deserializer: D) -> std::result::Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T, const MOST: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST} values")
        }

        fn visit_unit<E>(self) -> std::result::Result<Vec<T>, E> {
            Ok(vec![])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<Vec<T>, A::Error> {
            let mut values = vec![];
            while let Some(value) = list.next_element()? {
                if values.len() == MOST {
                    return Err(A::Error::invalid_length(MOST + 1, &self));
                }
                values.push(value);
            }
            Ok(values)
        }
    }
    deserializer.deserialize_any(List::<T, MOST>(PhantomData))
}

/// A part of the memory for bodies, as permits of a KiB each.
#[derive(Debug)]
pub(crate) struct BodyMemory {
    semaphore: Arc<Semaphore>,
    bytes: u64,
    permit: Option<OwnedSemaphorePermit>,
}

impl BodyMemory {
    fn grow(&mut self, bytes: usize) -> Result<()> {
        let (before, after) = (self.bytes.div_ceil(KIB), (self.bytes + bytes as u64).div_ceil(KIB));
        self.bytes += bytes as u64;
        let Some(more) = u32::try_from(after - before).ok().filter(|more| *more > 0) else { return Ok(()) };
        let Ok(permit) = self.semaphore.clone().try_acquire_many_owned(more) else {
            return Err(Problem::busy("the server is reading too many large requests: try again in a second"));
        };
        match &mut self.permit {
            Some(before) => before.merge(permit),
            None => self.permit = Some(permit),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    #[test]
    fn compressed_bodies_are_read_and_bombs_are_cut_off() {
        let bomb = vec![0; 100_000];
        let mut gzip = GzEncoder::new(vec![], Compression::best());
        gzip.write_all(&bomb).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = ZlibEncoder::new(vec![], Compression::best());
        zlib.write_all(&bomb).unwrap();
        let zlib = zlib.finish().unwrap();
        let memory = Arc::new(Semaphore::new(200));
        let received = |bytes: &[u8]| Received { bytes: bytes.to_vec(), ..Received::none(&memory) };
        for (encoding, bytes) in [(Encoding::Gzip, gzip), (Encoding::Deflate, zlib)] {
            assert_eq!(encoding.decode(received(&bytes), bomb.len()).unwrap().bytes, bomb);
            let refused = |bytes: &[u8], limit| encoding.decode(received(bytes), limit).unwrap_err().status;
            assert_eq!(refused(&bytes, bomb.len() - 1), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(refused(&bytes[..20], bomb.len()), StatusCode::BAD_REQUEST);
            // Another body has taken 150 of the 200 KiB.
            let _other = memory.try_acquire_many(150).unwrap();
            assert_eq!(refused(&bytes, bomb.len()), StatusCode::TOO_MANY_REQUESTS);
        }
        assert_eq!(memory.available_permits(), 200);
    }

    #[test]
    fn lists_are_bounded() {
        #[derive(Debug, Deserialize, PartialEq)]
        struct Few(#[serde(deserialize_with = "at_most::<_, _, 2>")] Vec<u8>);
        let read = |text| serde_json::from_str::<Few>(text).map_err(|error| error.to_string());
        assert_eq!((read("[1, 2]"), read("null")), (Ok(Few(vec![1, 2])), Ok(Few(vec![]))));
        assert!(read("[1, 2, 3]").unwrap_err().contains("at most 2 values"));
    }
}
