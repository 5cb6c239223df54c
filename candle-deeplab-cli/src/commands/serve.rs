//! `candle-deeplab serve`: models over HTTP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use candle_deeplab::segment::{Options, free_memory};
use candle_deeplab::{Executor, Segmenter, file};
use candle_deeplab_serve::logs::{self, Form};
use candle_deeplab_serve::{Server, Settings};

use crate::args::{LogForm, ModelArgs, ServeArgs, ZooArgs};
use crate::device::Chosen;
use crate::exit::{Exit, say};
use crate::resolve;
use crate::signals::Signals;

/// The environment's key.
const API_KEY: &str = "CANDLE_DEEPLAB_API_KEY";

/// The longest key in bytes.
const MAX_KEY: u64 = 4096;

pub(crate) fn run(args: ServeArgs) -> Result<Exit> {
    if args.health {
        return health(args.listen);
    }
    resolve::threads(args.network.threads)?;
    let (device, executor, precision) = resolve::runner(&args.network, say)?;
    // Bodies of requests have theirs, if it is no more than half.
    let bodies = Settings::body_memory(args.max_bytes);
    let memory = free_memory().map(|memory| memory.saturating_sub(bodies).max(memory / 2));
    let options = Options {
        // A quarter of the rest is for images, and what is left for the network, which sees one batch at a time.
        memory_limit: memory.filter(|_| device.device.is_cpu()).map(|memory| memory / 4 * 3),
        ..resolve::options(&args.network, precision)?
    };
    let settings = Settings {
        listen: args.listen,
        max_queue: args.max_queue,
        max_batch: args.max_batch.unwrap_or(if device.device.is_cpu() { 1 } else { 8 }),
        max_delay: Duration::from_millis(args.max_delay_ms),
        timeout: Duration::from_secs(args.timeout),
        max_bytes: args.max_bytes,
        max_pixels: args.max_pixels,
        max_connections: args.max_connections,
        image_memory: memory.map_or(Settings::default().image_memory, |memory| memory / 4),
        api_key: api_key(args.api_key_file.as_deref())?,
        url_hosts: args.allow_url,
        cors: args.cors,
        model_control: args.allow_model_control,
    };
    let form = match args.log {
        LogForm::Text => Form::Text,
        LogForm::Json => Form::Json,
    };
    let _logs = logs::start(form, args.quiet)?;
    if settings.api_key.is_none() && !settings.listen.ip().is_loopback() {
        say("anybody who reaches this address can use the server: `--api-key-file` asks for a key");
    }
    let (zoo, quiet) = (args.zoo, args.quiet);
    let models: Vec<(String, String)> = args.model.iter().map(|model| named(model)).collect();
    let names = models.iter().map(|(name, _)| name.clone()).collect();
    let models: BTreeMap<String, String> = models.into_iter().collect();
    let load = move |name: &str| {
        let model = models.get(name).map_or(name, String::as_str);
        load(model, &zoo, (&options, executor), &device, quiet).map_err(|error| format!("{error:#}"))
    };
    let server = Server::bind(settings, names, load)?;
    say(&format!("http://{}", server.address()));
    server.run(told_to_end)?;
    Ok(Exit::Success)
}

fn load(
    name: &str,
    zoo: &ZooArgs,
    (options, executor): (&Options, Executor),
    device: &Chosen,
    quiet: bool,
) -> Result<Segmenter> {
    let args = ModelArgs { model: Some(name.to_owned()), zoo: zoo.clone() };
    let found = resolve::model(&args, !quiet)?;
    Ok(options.segmenter(resolve::load(&found, &device.device)?.with_executor(executor)?)?)
}

/// The name by which clients know a model, and the model: `NAME=MODEL`, or of a path its last part, since paths of this machine
/// are nobody's business.
fn named(model: &str) -> (String, String) {
    if let Some((name, model)) = model.split_once('=')
        && !name.is_empty()
        && !name.contains(['/', '\\'])
    {
        return (name.to_owned(), model.to_owned());
    }
    let path = Path::new(model);
    let name = path.file_name().filter(|_| path.exists()).and_then(|name| name.to_str());
    (name.unwrap_or(model).to_owned(), model.to_owned())
}

/// The key that requests must bring.
fn api_key(path: Option<&Path>) -> Result<Option<String>> {
    let (key, from) = match path {
        Some(path) => {
            let Some(text) = file::read_text(path, MAX_KEY)? else {
                bail!("`{}` is longer than a key of {MAX_KEY} bytes", path.display())
            };
            (text, format!("`{}`", path.display()))
        }
        None => match std::env::var(API_KEY) {
            Ok(key) => (key, API_KEY.to_owned()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(error) => return Err(error).context(API_KEY),
        },
    };
    let key = key.trim().to_owned();
    ensure!(!key.is_empty(), "{from} has no key: an empty one would let everybody in");
    Ok(Some(key))
}

/// Ends when the program is told to end.
async fn told_to_end() {
    match Signals::listen() {
        Ok(mut signals) => signals.next().await,
        Err(error) => {
            say(&format!("the server cannot hear Ctrl-C: {error}"));
            std::future::pending().await
        }
    }
}

/// Asks a server whether it is ready.
fn health(mut listen: SocketAddr) -> Result<Exit> {
    /// A server that does not answer by then is not well.
    const PATIENCE: Duration = Duration::from_secs(5);
    // A server that listens at every address is asked at this machine's own.
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let config = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).proxy(None).max_redirects(0).build();
    let asked = ureq::Agent::new_with_config(config).get(format!("http://{listen}/v2/health/ready")).call();
    match asked {
        Ok(_) => Ok(Exit::Success),
        Err(error) => {
            say(&format!("the server at {listen} is not ready: {error}"));
            // Docker knows no other code for it.
            Ok(Exit::SomeFailed)
        }
    }
}
