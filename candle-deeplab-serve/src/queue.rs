//! The queue before a model, and the thread that takes images from it.
//!
//! The queue is bounded by places, which are taken before an image is decoded, so that a server that is busy says so at
//! once. Images that become inputs of one size go through the network together.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use candle_deeplab::graph::Size;
use candle_deeplab::segment::{Segmented, Segmenter, Wanted};
use image::RgbImage;
use tokio::sync::oneshot;

use crate::meter;
use crate::problem::{Problem, Result};
use crate::turn::Turns;

/// How a queue is bounded, and how its images are joined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) places: usize,
    pub(crate) batch: usize,
    pub(crate) delay: Duration,
}

/// The queue before a model.
#[derive(Debug, Clone)]
pub(crate) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    model: String,
    limits: Limits,
    state: Mutex<State>,
    /// A job has come, or the queue was closed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Places that are taken, by jobs and by images that are still being decoded.
    taken: usize,
    is_closed: bool,
}

/// An image that waits for the network.
#[derive(Debug)]
struct Job {
    image: RgbImage,
    /// Jobs with the same key can go through the network together.
    key: (Size, Wanted),
    came: Instant,
    deadline: Instant,
    answer: oneshot::Sender<Result<Answer>>,
    place: Arc<Place>,
}

/// What came of an image, and how long it took.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) segmented: Segmented,
    pub(crate) waited: Duration,
    pub(crate) computed: Duration,
}

/// A place in the queue, for all images of a request. It is free again when this goes.
#[derive(Debug)]
pub(crate) struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.taken -= 1;
        self.0.tell(state.taken);
        if state.is_closed {
            self.0.changed.notify_all();
        }
    }
}

impl Queue {
    /// A queue before a model, and a thread that serves it. Of all threads that have `network`, one computes at a time,
    /// since each of them keeps all processors busy.
    pub(crate) fn new(model: &str, segmenter: Segmenter, limits: Limits, network: Arc<Turns>) -> std::io::Result<Self> {
        let state = Mutex::default();
        let shared = Arc::new(Shared { model: model.to_owned(), limits, state, changed: Condvar::new() });
        let queue = Self(shared.clone());
        thread::Builder::new().name(format!("model {model}")).spawn(move || {
            while let Some(batch) = shared.next_batch() {
                compute(&segmenter, batch, &network, &shared.model);
            }
        })?;
        Ok(queue)
    }

    /// Takes a place.
    ///
    /// # Errors
    /// All are taken, or the model is being unloaded.
    pub(crate) fn place(&self) -> Result<Place> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(Problem::unavailable(format!("the model `{}` is not loaded", self.0.model)));
        }
        if state.taken >= self.0.limits.places {
            let places = self.0.limits.places;
            return Err(Problem::busy(format!("{places} requests are waiting already: try again in a second")));
        }
        state.taken += 1;
        self.0.tell(state.taken);
        Ok(Place(self.0.clone()))
    }

    /// Puts an image into a place, and waits until the network has seen it.
    ///
    /// # Errors
    /// Those of the network, and that the deadline has passed. If this future is dropped, the image is, too.
    pub(crate) async fn segment(
        &self,
        place: Arc<Place>,
        image: RgbImage,
        key: (Size, Wanted),
        deadline: Instant,
    ) -> Result<Answer> {
        // Declared before the channel, and so dropped after it.
        let _leave = Leave(&self.0);
        let (answer, answered) = oneshot::channel();
        let job = Job { image, key, came: Instant::now(), deadline, answer, place };
        self.0.lock().jobs.push_back(job);
        self.0.changed.notify_all();
        match answered.await {
            Ok(answer) => answer,
            Err(_) => Err(Problem::unavailable(format!("the model `{}` was unloaded", self.0.model))),
        }
    }

    /// Lets nobody in any more. Those who wait are served, and then the thread ends.
    pub(crate) fn close(&self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

/// Takes jobs that nobody waits for any more out of the queue, so that they and their places do not wait for the network.
struct Leave<'a>(&'a Shared);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        let (gone, jobs) = std::mem::take(&mut state.jobs).into_iter().partition(|job| job.answer.is_closed());
        state.jobs = jobs;
        drop(state);
        // A place that is given back locks the queue.
        drop(gone);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, taken: usize) {
        meter::queue_length(&self.model, taken);
    }

    /// Waits for jobs that can go together; `None` when the queue is closed and nobody can come any more.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            let Some(first) = state.jobs.front() else {
                // Requests that have a place are still decoding, and will push a job.
                if state.is_closed && state.taken == 0 {
                    return None;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (key, until) = (first.key, first.came + self.limits.delay);
            let alike = state.jobs.iter().filter(|job| job.key == key).count();
            let left = until.saturating_duration_since(Instant::now());
            if alike < self.limits.batch && !left.is_zero() && !state.is_closed {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let (mut batch, mut others) = (vec![], VecDeque::new());
            for job in state.jobs.drain(..) {
                match job.key == key && batch.len() < self.limits.batch {
                    true => batch.push(job),
                    false => others.push_back(job),
                }
            }
            state.jobs = others;
            return Some(batch);
        }
    }
}

/// Computes jobs and answers them. Those whose clients have gone, or whose time is up, are left out.
fn compute(segmenter: &Segmenter, batch: Vec<Job>, network: &Turns, model: &str) {
    let turn = network.take();
    let start = Instant::now();
    let (mut images, mut waiting, mut wanted) = (vec![], vec![], Wanted::LabelMap);
    for Job { image, key, came, deadline, answer, place } in batch {
        drop(place);
        if answer.is_closed() {
            continue;
        }
        if deadline <= start {
            // Whoever does not wait any more needs no answer.
            let _ = answer.send(Err(Problem::late()));
            continue;
        }
        images.push(image);
        waiting.push((answer, start - came));
        wanted = key.1;
    }
    if images.is_empty() {
        return;
    }
    meter::batch(model, images.len());
    let found = run(segmenter, images, wanted);
    drop(turn);
    let computed = start.elapsed();
    for ((answer, waited), found) in waiting.into_iter().zip(found) {
        let _ = answer.send(found.map(|segmented| Answer { segmented, waited, computed }));
    }
}

/// Runs images together. If that panics, each is run alone, so that a panic is the answer to its own image only.
fn run(segmenter: &Segmenter, images: Vec<RgbImage>, wanted: Wanted) -> Vec<Result<Segmented>> {
    let alone = |image: RgbImage| match catch_unwind(AssertUnwindSafe(|| segmenter.run(image, wanted))) {
        Ok(found) => found.map_err(problem),
        Err(_) => Err(Problem::internal(&"the network panicked")),
    };
    if images.len() > 1
        && let Ok(found) = catch_unwind(AssertUnwindSafe(|| segmenter.run_batch(images.clone(), wanted)))
    {
        return found.into_iter().map(|found| found.map_err(problem)).collect();
    }
    images.into_iter().map(alone).collect()
}

/// What a network's error means to a client.
fn problem(error: candle_deeplab::Error) -> Problem {
    use candle_deeplab::Error;
    match error {
        Error::Memory { .. } => Problem::too_large(error.to_string()),
        Error::Input { .. } | Error::Pixels { .. } => Problem::bad(error.to_string()),
        error => Problem::internal(&error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::StatusCode;
    use candle_deeplab::candle_core::{Device, Tensor};
    use candle_deeplab::config::{Filter, Preprocessing, SizeRule};
    use candle_deeplab::{Labels, Segmenter};

    use super::*;

    const LIMITS: Limits = Limits { places: 4, batch: 3, delay: Duration::from_millis(30) };

    /// A segmenter that records the images of its calls, and panics at pixels of 1.
    fn segmenter(calls: Arc<Mutex<Vec<usize>>>) -> Segmenter {
        let network = move |pixels: &Tensor| {
            calls.lock().unwrap().push(pixels.dims()[0]);
            assert!(!pixels.flatten_all()?.to_vec1::<f32>()?.contains(&1.0), "the image that panics");
            pixels.affine(1.0, 0.0)
        };
        let preprocessing = Preprocessing {
            mean: [0.0; 3],
            std: [1.0; 3],
            pad_value: [0.0; 3],
            size: SizeRule::Native { height: 1, width: 1 },
            filter: Filter::Bilinear,
        };
        Segmenter::from_parts(network, preprocessing, Labels::numbered(3), Device::Cpu)
    }

    fn queue() -> (Queue, Arc<Mutex<Vec<usize>>>) {
        let calls = Arc::new(Mutex::new(vec![]));
        (Queue::new("test", segmenter(calls.clone()), LIMITS, Arc::default()).unwrap(), calls)
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    async fn ask(queue: &Queue, place: Place, image: RgbImage, deadline: Instant) -> Result<Answer> {
        let size = Size::new(image.height() as usize, image.width() as usize);
        queue.segment(Arc::new(place), image, (size, Wanted::LabelMap), deadline).await
    }

    #[tokio::test]
    async fn images_of_one_size_are_computed_together_and_others_alone() {
        let (queue, calls) = queue();
        let asked = [(4, 4), (4, 4), (5, 4), (4, 4)].map(|(width, height)| {
            let (queue, place) = (queue.clone(), queue.place().unwrap());
            tokio::spawn(async move { ask(&queue, place, RgbImage::new(width, height), later()).await })
        });
        assert_eq!(queue.place().unwrap_err().status, StatusCode::TOO_MANY_REQUESTS);
        for answer in asked {
            assert!(answer.await.unwrap().is_ok());
        }
        let mut calls = calls.lock().unwrap().clone();
        calls.sort();
        assert_eq!(calls, [1, 3]);
        assert!(queue.place().is_ok());
    }

    #[tokio::test]
    async fn clients_that_have_gone_and_those_whose_time_is_up_cost_nothing() {
        let (queue, calls) = queue();
        let gone = {
            let (queue, place) = (queue.clone(), queue.place().unwrap());
            tokio::spawn(async move { ask(&queue, place, RgbImage::new(2, 2), later()).await })
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
        gone.abort();
        let late = ask(&queue, queue.place().unwrap(), RgbImage::new(3, 3), Instant::now()).await;
        assert_eq!(late.unwrap_err().status, StatusCode::GATEWAY_TIMEOUT);
        assert!(calls.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_panic_answers_its_own_request_and_the_next_one_is_served() {
        let (queue, _) = queue();
        let asked = [9, 1, 9].map(|value| {
            let (queue, place) = (queue.clone(), queue.place().unwrap());
            let image = RgbImage::from_pixel(2, 2, image::Rgb([value; 3]));
            tokio::spawn(async move { ask(&queue, place, image, later()).await })
        });
        let mut statuses = vec![];
        for asked in asked {
            statuses.push(asked.await.unwrap().map_or_else(|error| error.status, |_| StatusCode::OK));
        }
        assert_eq!(statuses, [StatusCode::OK, StatusCode::INTERNAL_SERVER_ERROR, StatusCode::OK]);
        assert!(ask(&queue, queue.place().unwrap(), RgbImage::new(2, 2), later()).await.is_ok());
    }

    #[tokio::test]
    async fn a_closed_queue_serves_who_waits_and_lets_nobody_in() {
        let (queue, _) = queue();
        let served = Arc::new(AtomicUsize::new(0));
        let asked: Vec<_> = (0..3)
            .map(|_| {
                let (queue, place, served) = (queue.clone(), queue.place().unwrap(), served.clone());
                tokio::spawn(async move {
                    ask(&queue, place, RgbImage::new(2, 2), later()).await.unwrap();
                    served.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        queue.close();
        assert_eq!(queue.place().unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        for asked in asked {
            asked.await.unwrap();
        }
        assert_eq!(served.load(Ordering::SeqCst), 3);
    }
}
