//! `candle-deeplab serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use candle_deeplab_hub::BUNDLED;
use clap::{Args, ValueEnum};

use super::number::count;
use super::{NetworkArgs, ZooArgs};

const EXAMPLES: &str = "\
Examples:

    # The bundled model on this machine: open http://127.0.0.1:8080
    candle-deeplab serve

    # Two models, for others in the network, who need a key
    candle-deeplab serve --model xception65-voc --model bundled --listen 0.0.0.0:8080 --api-key-file key.txt

    # From a shell
    curl --data-binary @photo.jpg 'http://127.0.0.1:8080/v1/segment?format=mask' -o mask.png

    # Whether a server is ready, for a container's health check
    candle-deeplab serve --health --listen 127.0.0.1:8080

Ctrl-C and SIGTERM end the server: it answers the requests that have begun, refuses others with status 503, and ends with exit code 0.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// The models to serve, as `segment` takes them, or NAME=MODEL for another name; this option may be given several times, and
    /// the first model is used by requests that name none
    ///
    /// Clients know a model by the name that is given here, and a path by its last part.
    #[arg(short, long, value_name = "MODEL", default_values_t = [BUNDLED.to_owned()])]
    pub(crate) model: Vec<String>,

    #[command(flatten)]
    pub(crate) zoo: ZooArgs,

    /// The address and port to listen at; 0.0.0.0 is every address of this machine, port 0 any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Ask the server that listens at this address whether it is ready, and end with 0 if it is, else with 1
    #[arg(long)]
    pub(crate) health: bool,

    /// Requests of a model that may wait; those beyond are answered with status 429
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count::<1_000_000>, help_heading = "Limits")]
    pub(crate) max_queue: usize,

    /// Images of one size that go through the network together [default: 1 on the CPU, which gains nothing by more, and 8 on a
    /// GPU]
    #[arg(long, value_name = "N", value_parser = count::<1024>, help_heading = "Limits")]
    pub(crate) max_batch: Option<usize>,

    /// How long an image waits for others to go with it
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(..=60_000), help_heading = "Limits")]
    pub(crate) max_delay_ms: u64,

    /// The time for a request; later ones are answered with status 504
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400), help_heading = "Limits")]
    pub(crate) timeout: u64,

    /// The largest file of an image, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = count::<{ 1 << 30 }>, help_heading = "Limits")]
    pub(crate) max_bytes: usize,

    /// The largest image, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 64_000_000, value_parser = clap::value_parser!(u64).range(1..=350_000_000), help_heading = "Limits")]
    pub(crate) max_pixels: u64,

    /// Connections at a time; others wait
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = count::<1_000_000>, help_heading = "Limits")]
    pub(crate) max_connections: usize,

    /// A file with the key that requests must bring as `Authorization: Bearer KEY` or `X-API-Key: KEY` [default: the
    /// environment's CANDLE_DEEPLAB_API_KEY; without either, everybody is served]
    #[arg(long, value_name = "FILE", help_heading = "Access")]
    pub(crate) api_key_file: Option<PathBuf>,

    /// A host from which images may be fetched by their addresses, if it is public; this option may be given several times
    #[arg(long, value_name = "HOST", help_heading = "Access")]
    pub(crate) allow_url: Vec<String>,

    /// A web site whose scripts may use the server, e.g. https://example.org, or * for all; this option may be given several
    /// times
    #[arg(long, value_name = "SITE", help_heading = "Access")]
    pub(crate) cors: Vec<String>,

    /// Let clients load and unload models
    #[arg(long, help_heading = "Access")]
    pub(crate) allow_model_control: bool,

    /// How the log is written, to standard error
    #[arg(long, value_name = "FORM", value_enum, default_value_t = LogForm::Text)]
    pub(crate) log: LogForm,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    /// Log warnings and errors only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// A line of text for each event
    Text,
    /// A line of JSON for each event
    Json,
}
