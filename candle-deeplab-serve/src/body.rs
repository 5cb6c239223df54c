//! Reads the bodies of requests, whoever sends them, and however slowly.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::{GzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{timeout, timeout_at};

use crate::app::{App, KIB};
use crate::meter;
use crate::problem::{Problem, Result};

/// How many bytes of text a byte of an image takes at most, as a number and a comma.
const TEXT: usize = 4;

/// The longest pause of a sender.
const PAUSE: Duration = Duration::from_secs(10);

/// A request's body. Its memory counts until it goes.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    _memory: Option<OwnedSemaphorePermit>,
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

/// Reads a body that is JSON, whatever its content type says, with the memory that counts for it.
///
/// # Errors
/// As [`read_text`], and that it is not the JSON that is expected.
pub(crate) async fn read_json<T: DeserializeOwned + Send + 'static>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    deadline: Instant,
) -> Result<(T, Received)> {
    let mut received = read_text(app, headers, body, deadline).await?;
    let bytes = std::mem::take(&mut received.bytes);
    // Long texts take their time, which the threads that serve do not have.
    let value = spawn_blocking(move || parse(&bytes)).await.map_err(|error| Problem::internal(&error))??;
    Ok((value, received))
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
        discard(body, limit).await;
        return Err(too_long());
    }
    let mut received = Received::default();
    let mut memory = Memory { semaphore: app.body_memory.clone(), bytes: 0, permit: None };
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
        let needed = received.bytes.len() + data.len();
        if needed > limit {
            discard(body, limit).await;
            return Err(too_long());
        }
        if needed > received.bytes.capacity() {
            // What is allocated counts, not what has come.
            let capacity = needed.max(2 * received.bytes.capacity()).min(limit);
            memory.grow(capacity - received.bytes.capacity())?;
            received.bytes.reserve_exact(capacity - received.bytes.len());
        }
        received.bytes.extend_from_slice(&data);
    }
    meter::received(received.bytes.len());
    if encoding != Encoding::Identity {
        let bytes = std::mem::take(&mut received.bytes);
        let decoded = spawn_blocking(move || encoding.decode(&bytes, limit)).await;
        received.bytes = decoded.map_err(|error| Problem::internal(&error))??;
        memory.grow(received.bytes.len())?;
    }
    received._memory = memory.permit;
    Ok(received)
}

/// Reads the rest of a body that is too long, for a while: a client that is still sending would see a broken connection
/// instead of the answer.
async fn discard(mut body: Body, limit: usize) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let read = async {
        let mut left = limit.saturating_mul(4);
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, |data| data.len())) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // Whether all was read makes no difference.
    let _ = timeout(PATIENCE, read).await;
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
    fn decode(self, bytes: &[u8], limit: usize) -> Result<Vec<u8>> {
        let most = limit as u64 + 1;
        let mut decoded = vec![];
        let read = match self {
            Self::Identity => bytes.take(most).read_to_end(&mut decoded),
            Self::Gzip => GzDecoder::new(bytes).take(most).read_to_end(&mut decoded),
            Self::Deflate => ZlibDecoder::new(bytes).take(most).read_to_end(&mut decoded),
        };
        read.map_err(|error| Problem::bad(format!("the body cannot be decompressed: {error}")))?;
        if decoded.len() > limit {
            return Err(Problem::too_large(format!("the body has more than {limit} bytes when decompressed")));
        }
        Ok(decoded)
    }
}

/// The memory that a body takes, as permits of a KiB each.
struct Memory {
    semaphore: Arc<Semaphore>,
    bytes: u64,
    permit: Option<OwnedSemaphorePermit>,
}

impl Memory {
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
        for (encoding, bytes) in [(Encoding::Gzip, gzip), (Encoding::Deflate, zlib)] {
            assert_eq!(encoding.decode(&bytes, bomb.len()).unwrap(), bomb);
            let error = encoding.decode(&bytes, bomb.len() - 1).unwrap_err();
            assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(encoding.decode(&bytes[..20], bomb.len()).unwrap_err().status, StatusCode::BAD_REQUEST);
        }
    }
}
