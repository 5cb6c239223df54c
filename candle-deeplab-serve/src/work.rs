//! The way of an image through the server: decoded, queued, computed.

use std::io::Cursor;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use candle_deeplab::Error;
use candle_deeplab::graph::Size;
use candle_deeplab::pixels::Encoded;
use candle_deeplab::segment::{Segmented, Wanted};
use futures_util::future::try_join_all;
use image::RgbImage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use tracing::Instrument;
use tracing::field::Empty;

use crate::app::{App, KIB, blocking};
use crate::body::BodyMemory;
use crate::meter::{self, Stage};
use crate::models::Ready;
use crate::problem::{Problem, Result};

/// The longest side of an image over its shortest. More is no photograph, and would be padded to something huge.
const MAX_RATIO: usize = 256;

/// What an image is called in errors and documents, since nobody told its name.
pub(crate) const NAME: &str = "image";

/// An image as a client sends it.
#[derive(Debug)]
pub(crate) enum Picture {
    /// A file.
    Encoded(Vec<u8>),
    /// Red, green and blue of each pixel.
    Pixels(RgbImage),
}

/// What a request wants of its images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) wanted: Wanted,
    /// The memory that the answer takes, beside that of an ordinary picture.
    pub(crate) bytes_per_pixel: u64,
}

/// The segmented images of a request, and the times that they took.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) images: Vec<Segmented>,
    pub(crate) times: Times,
    /// What they take of the memory for images.
    pub(crate) memory: ImageMemory,
}

/// The times of the stages; of several images, the longest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    pub(crate) decode: Duration,
    pub(crate) queue: Duration,
    pub(crate) compute: Duration,
}

/// Segments the images of a request, which together are bounded as one is. `body` is the memory of what they came in.
///
/// # Errors
/// The queue is full, a file is no image or too large, the network fails, or the deadline passes.
pub(crate) async fn segment(
    app: &App,
    model: &Ready,
    pictures: Vec<Picture>,
    body: BodyMemory,
    wish: Wish,
    deadline: Instant,
) -> Result<Done> {
    // It may have been loaded anew while the request was read.
    let model = &app.models.ready(Some(&model.name))?;
    // Before any work is done for it.
    let place = Arc::new(model.queue.place()?);
    let start = Instant::now();
    let decoded = decode(app, model, (pictures, body), wish, deadline).instrument(tracing::info_span!("decode"));
    let (images, memory) = decoded.await?;
    let mut times = Times { decode: start.elapsed(), ..Times::default() };
    let images = images.into_iter().map(|image| {
        let key = (model.input_size(size_of(&image)), wish.wanted);
        model.queue.segment(place.clone(), image, key, deadline)
    });
    let images: Vec<_> = images.collect();
    // From here on only the jobs have the place, so that it is free when the last one is computed.
    drop(place);
    // All are in the queue before the first is waited for, so that they go through the network together.
    let span = tracing::info_span!("network", waited = Empty, computed = Empty);
    let images = timeout_at(deadline.into(), try_join_all(images)).instrument(span.clone()).await;
    let images = images.map_err(|_| Problem::late())??;
    times.queue = images.iter().map(|answer| answer.waited).max().unwrap_or_default();
    times.compute = images.iter().map(|answer| answer.computed).max().unwrap_or_default();
    span.record("waited", times.queue.as_secs_f64());
    span.record("computed", times.compute.as_secs_f64());
    meter::stage(Stage::Decode, times.decode);
    meter::stage(Stage::Queue, times.queue);
    meter::stage(Stage::Compute, times.compute);
    let images = images.into_iter().map(|answer| answer.segmented).collect();
    Ok(Done { images, times, memory })
}

/// Runs `encode`, which writes an answer, beside the threads that serve.
///
/// # Errors
/// Those of `encode`, and that the deadline passes.
pub(crate) async fn encode<R: Send + 'static>(
    app: &App,
    deadline: Instant,
    encode: impl FnOnce() -> Result<R> + Send + 'static,
) -> Result<(R, Duration)> {
    let timed = move || {
        let start = Instant::now();
        let encoded = encode()?;
        Ok((encoded, start.elapsed()))
    };
    let encoded = blocking(&app.encoders, deadline, timed).instrument(tracing::info_span!("encode"));
    let (encoded, time) = encoded.await?;
    meter::stage(Stage::Encode, time);
    Ok((encoded, time))
}

/// Decodes the images of a request, for all of which memory is claimed before the first is decoded. What they came in counts
/// until then.
async fn decode(
    app: &App,
    model: &Arc<Ready>,
    (pictures, body): (Vec<Picture>, BodyMemory),
    wish: Wish,
    deadline: Instant,
) -> Result<(Vec<RgbImage>, ImageMemory)> {
    let (most_pixels, most_bytes) = (app.settings.max_pixels, app.settings.max_bytes);
    let measured = model.clone();
    let measure = move || {
        let (mut pixels, mut bytes) = (0, 0u64);
        for picture in &pictures {
            let (size, decoding) = picture.measure(most_bytes)?;
            check_size(size, &mut pixels, most_pixels)?;
            let scores = if wish.wanted == Wanted::LabelMap { 0 } else { measured.scores_memory(size)? };
            let kept = (KEPT + wish.bytes_per_pixel).saturating_mul(size.area() as u64).saturating_add(scores);
            bytes = bytes.saturating_add(decoding.max(kept));
        }
        Ok((pictures, bytes))
    };
    let (pictures, bytes) = blocking(&app.decoders, deadline, measure).await?;
    let total = app.settings.image_memory;
    if wish.wanted == Wanted::Scores && bytes > total {
        let message =
            "the answer for so many pixels takes more memory than this server has for images: send smaller ones";
        return Err(Problem::too_large(message));
    }
    let claim = timeout_at(deadline.into(), ImageMemory::claim(app.image_memory.clone(), bytes, total));
    let memory = claim.await.map_err(|_| Problem::late())??;
    let decode = move || {
        let _body = body;
        pictures.into_iter().map(Picture::decode).collect::<Result<Vec<_>>>()
    };
    Ok((blocking(&app.decoders, deadline, decode).await?, memory))
}

impl Picture {
    /// Its size, and about how many bytes decoding takes.
    fn measure(&self, most_bytes: usize) -> Result<(Size, u64)> {
        match self {
            Self::Encoded(bytes) if bytes.len() > most_bytes => {
                let message =
                    format!("the image's file is longer than {most_bytes} bytes, the most that this server takes");
                Err(Problem::too_large(message))
            }
            Self::Encoded(bytes) => {
                let file = Self::file(bytes)?;
                Ok((file.size(), file.memory()))
            }
            Self::Pixels(image) => Ok((size_of(image), image.as_raw().len() as u64)),
        }
    }

    fn decode(self) -> Result<RgbImage> {
        match self {
            Self::Encoded(bytes) => Self::file(&bytes)?.into_rgb8().map_err(problem),
            Self::Pixels(image) => Ok(image),
        }
    }

    fn file(bytes: &[u8]) -> Result<Encoded<'_>> {
        if bytes.is_empty() {
            return Err(Problem::bad("there is no image in the request: send the file as its body"));
        }
        Encoded::from_reader(Cursor::new(bytes), NAME).map_err(problem)
    }
}

/// The image in a text, as [`image_of_text`] has it, beside the threads that serve.
///
/// # Errors
/// It is no base64, or the deadline passes.
pub(crate) async fn read_text(app: &App, text: String, deadline: Instant) -> Result<Picture> {
    blocking(&app.decoders, deadline, move || image_of_text(&text).map(Picture::Encoded)).await
}

/// The image in a base64 text, or in a `data:` address with one.
///
/// # Errors
/// It is no base64.
pub(crate) fn image_of_text(text: &str) -> Result<Vec<u8>> {
    let text = match text.strip_prefix("data:") {
        None => text,
        Some(data) => {
            let (kind, data) = data.split_once(',').unwrap_or((data, ""));
            if !kind.ends_with(";base64") {
                return Err(Problem::bad("a `data:` address must have its image in base64"));
            }
            data
        }
    };
    STANDARD.decode(text.trim()).map_err(|_| Problem::bad("the image is no base64"))
}

/// Checks the size of an image, and adds its pixels to those of the request.
fn check_size(size: Size, pixels: &mut u64, most: u64) -> Result<()> {
    let Size { height, width } = size;
    *pixels = pixels.saturating_add(size.area() as u64);
    if *pixels > most {
        return Err(Problem::too_large(format!(
            "with an image of {width}×{height} pixels there are more than the {most} that this server takes: send less"
        )));
    }
    if height.max(width) > MAX_RATIO.saturating_mul(height.min(width)) {
        return Err(Problem::bad(format!("an image of {width}×{height} pixels is too narrow to be segmented: cut it")));
    }
    Ok(())
}

fn size_of(image: &RgbImage) -> Size {
    Size::new(image.height() as usize, image.width() as usize)
}

/// About how many bytes a pixel takes from the image to the answer: its colours (3), its class (1), an output (4) and its
/// encoding (4), and room for what is made on the way.
const KEPT: u64 = 16;

/// What a file's error means to a client.
fn problem(error: Error) -> Problem {
    match error {
        Error::TooLarge { .. } => Problem::too_large(error.to_string()),
        Error::Image { source: image::ImageError::Unsupported(_), .. } => {
            let message = "the body is no image that is read here: send a JPEG, PNG, WebP, BMP, TIFF or GIF file";
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
        }
        Error::Image { source: image::ImageError::Limits(_), .. } => Problem::too_large(error.to_string()),
        error => Problem::bad(error.to_string()),
    }
}

/// A part of the memory for images.
#[derive(Debug)]
pub(crate) struct ImageMemory {
    semaphore: Arc<Semaphore>,
    total: u64,
    permit: Option<OwnedSemaphorePermit>,
}

impl ImageMemory {
    /// Waits for so many bytes; for all that there are, if that is less.
    async fn claim(semaphore: Arc<Semaphore>, bytes: u64, total: u64) -> Result<Self> {
        let most = (total / KIB).clamp(1, u32::MAX.into());
        let permits = u32::try_from(bytes.div_ceil(KIB).clamp(1, most)).unwrap_or(u32::MAX);
        let permit = semaphore.clone().acquire_many_owned(permits).await.map_err(|error| Problem::internal(&error))?;
        let memory = Self { semaphore, total, permit: Some(permit) };
        memory.tell();
        Ok(memory)
    }

    fn tell(&self) {
        meter::image_memory(self.total.saturating_sub(self.semaphore.available_permits() as u64 * KIB));
    }
}

impl Drop for ImageMemory {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.tell();
    }
}
