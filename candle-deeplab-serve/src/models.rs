//! The models that are served.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use axum::http::StatusCode;
use candle_deeplab::segment::{Segmenter, Wanted};
use candle_deeplab::{Labels, graph::Size};
use image::RgbImage;

use crate::problem::{Problem, Result};
use crate::queue::{Limits, Queue};
use crate::turn::Turns;

/// Where models come from.
pub trait Source: Send + Sync + 'static {
    /// Loads the model with a name that the server was started with, or that a client asks to be loaded. It may take as
    /// long as a download.
    ///
    /// # Errors
    /// A sentence for the log, which may name paths.
    fn load(&self, name: &str) -> Result<Segmenter, String>;
}

impl<F: Fn(&str) -> Result<Segmenter, String> + Send + Sync + 'static> Source for F {
    fn load(&self, name: &str) -> Result<Segmenter, String> {
        self(name)
    }
}

/// A model that can be used.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) queue: Queue,
    segmenter: Segmenter,
}

impl Ready {
    /// About how many bytes the scores of an image of a size take.
    ///
    /// # Errors
    /// The image cannot be segmented in the memory that there is.
    pub(crate) fn scores_memory(&self, image: Size) -> Result<u64> {
        self.segmenter.scores_memory(image).map_err(|error| Problem::too_large(error.to_string()))
    }

    /// The size of the network's input for an image of a size.
    pub(crate) fn input_size(&self, image: Size) -> Size {
        self.segmenter.input_size(image)
    }
}

/// What has become of a model.
#[derive(Debug, Clone)]
pub(crate) enum State {
    Loading,
    Ready(Arc<Ready>),
    /// It could not be loaded.
    Failed,
    /// A client unloaded it.
    Unloaded,
}

/// All models, by their names.
pub(crate) struct Models {
    source: Box<dyn Source>,
    limits: Limits,
    /// The names that the server was started with; the first is used where a request names none.
    names: Vec<String>,
    states: RwLock<BTreeMap<String, State>>,
    network: Arc<Turns>,
    /// Held while a model is loaded or unloaded.
    control: Mutex<()>,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Models {
    pub(crate) fn new(names: Vec<String>, source: Box<dyn Source>, limits: Limits) -> Self {
        let states = names.iter().map(|name| (name.clone(), State::Loading)).collect();
        Self { source, limits, names, states: RwLock::new(states), network: Arc::default(), control: Mutex::new(()) }
    }

    /// Loads all models that the server was started with, one after another, in a thread of its own, and then calls `ended`
    /// with whether all of them could be loaded.
    pub(crate) fn load_all(self: Arc<Self>, ended: impl FnOnce(bool) + Send + 'static) -> std::io::Result<()> {
        let load = move || {
            // What goes wrong is logged. The server ends then, so that the others need not be loaded.
            ended(self.names.iter().all(|name| self.load(name).is_ok()));
        };
        thread::Builder::new().name("loader".into()).spawn(load).map(|_| ())
    }

    /// Loads a model, and lets it compute once, so that the first request does not wait longer than the others. A model
    /// that is loaded already is loaded anew, and serves until then.
    ///
    /// # Errors
    /// The model cannot be loaded.
    pub(crate) fn load(&self, name: &str) -> Result<()> {
        let _alone = self.control();
        if !self.names.iter().any(|known| known == name) {
            return Err(unknown(name));
        }
        let before = self.state(name);
        if !matches!(before, Some(State::Ready(_))) {
            self.set(name, State::Loading);
        }
        let make = || {
            let segmenter = self.source.load(name)?;
            let start = std::time::Instant::now();
            segmenter.run(RgbImage::new(64, 64), Wanted::LabelMap).map_err(|error| error.to_string())?;
            let labels = segmenter.labels().clone();
            let queue = Queue::new(name, segmenter.clone(), self.limits, self.network.clone());
            let queue = queue.map_err(|error| format!("cannot start a thread: {error}"))?;
            tracing::info!(model = name, seconds = start.elapsed().as_secs_f64(), "the model is ready");
            Ok(Arc::new(Ready { name: name.to_owned(), labels, queue, segmenter }))
        };
        let loaded = catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|_| Err("loading it panicked".to_owned()));
        match loaded {
            Ok(ready) => {
                if let Some(State::Ready(before)) = self.set(name, State::Ready(ready)) {
                    before.queue.close();
                }
                Ok(())
            }
            Err(reason) => {
                tracing::error!(model = name, reason, "the model could not be loaded");
                if !matches!(before, Some(State::Ready(_))) {
                    self.set(name, State::Failed);
                }
                let message = format!("the model `{name}` could not be loaded: the server's log says why");
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, message))
            }
        }
    }

    /// Unloads a model. Requests that wait for it are served.
    ///
    /// # Errors
    /// There is no such model.
    pub(crate) fn unload(&self, name: &str) -> Result<()> {
        let _alone = self.control();
        match self.state(name) {
            None => Err(unknown(name)),
            Some(_) => {
                if let Some(State::Ready(before)) = self.set(name, State::Unloaded) {
                    before.queue.close();
                }
                Ok(())
            }
        }
    }

    /// The model with a name, or the first of all.
    ///
    /// # Errors
    /// There is no such model, or it cannot be used now.
    pub(crate) fn ready(&self, name: Option<&str>) -> Result<Arc<Ready>> {
        let name = match name.or(self.names.first().map(String::as_str)) {
            Some(name) => name,
            None => return Err(Problem::unavailable("no model is served")),
        };
        match self.state(name) {
            Some(State::Ready(ready)) => Ok(ready),
            Some(State::Loading) => Err(Problem::unavailable(format!("the model `{name}` is being loaded"))),
            Some(State::Failed) => Err(Problem::unavailable(format!("the model `{name}` could not be loaded"))),
            Some(State::Unloaded) => Err(Problem::unavailable(format!("the model `{name}` is not loaded"))),
            None => Err(unknown(name)),
        }
    }

    /// What has become of each model, in the order in which they were given.
    pub(crate) fn all(&self) -> Vec<(&str, State)> {
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        let state = |name: &String| states.get(name).cloned().unwrap_or(State::Unloaded);
        self.names.iter().map(|name| (name.as_str(), state(name))).collect()
    }

    /// Whether every model is ready, or was unloaded on purpose.
    pub(crate) fn is_ready(&self) -> bool {
        self.all().iter().all(|(_, state)| matches!(state, State::Ready(_) | State::Unloaded))
    }

    fn state(&self, name: &str) -> Option<State> {
        self.states.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn set(&self, name: &str, state: State) -> Option<State> {
        self.states.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), state)
    }

    fn control(&self) -> MutexGuard<'_, ()> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(name: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    Problem::new(StatusCode::NOT_FOUND, format!("there is no model `{name}`: `/v1/models` lists them"))
}
