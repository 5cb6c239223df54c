//! The server's log, on standard error, and its traces.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::error::Error;
#[cfg(feature = "otlp")]
use crate::otlp::Traces;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line of text for each event.
    Text,
    /// A line of JSON for each event.
    Json,
}

/// Keeps the logs and traces of this process. What has not yet been sent to a collector is sent when this goes.
#[derive(Debug)]
#[must_use]
pub struct Logs {
    #[cfg(feature = "otlp")]
    _traces: Option<Traces>,
}

/// Writes the log of this process to standard error, from now on. With `quiet`, only warnings and errors. With the feature
/// `otlp`, spans go to the collector that the environment names (`OTEL_EXPORTER_OTLP_ENDPOINT`), if it names one.
///
/// # Errors
/// [`Error::Setting`] where the environment says of a collector what cannot be used.
pub fn start(form: Form, quiet: bool) -> Result<Logs, Error> {
    let level = if quiet { LevelFilter::WARN } else { LevelFilter::INFO };
    let log = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let log = match form {
        Form::Text => log.with_ansi(false).boxed(),
        Form::Json => log.json().flatten_event(true).boxed(),
    };
    let subscriber = Registry::default().with(log.with_filter(level));
    #[cfg(feature = "otlp")]
    let (subscriber, traces) = {
        let traces = Traces::from_env()?;
        let layer = traces.as_ref().map(|traces| traces.layer().with_filter(LevelFilter::INFO));
        (subscriber.with(layer), traces)
    };
    // Somebody else's subscriber stays.
    let _ = subscriber.try_init();
    Ok(Logs {
        #[cfg(feature = "otlp")]
        _traces: traces,
    })
}
