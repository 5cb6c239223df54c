//! `candle-deeplab doctor`: what this machine has, as the program sees it.

use std::io::{self, Write};

use anyhow::{Context, Result};
use candle_deeplab::Precision;
use candle_deeplab::exec::{Isa, Unavailable};
use serde::Serialize;

use super::table;
use crate::args::{DeviceName, DoctorArgs, ZooArgs};
use crate::device;
use crate::exit::Exit;
use crate::output::{Output, Report};
use crate::resolve;

pub(crate) fn run(args: DoctorArgs) -> Result<Exit> {
    let zoo = resolve::zoo(&ZooArgs { namespace: None }, false)?;
    let settings = zoo.hub().settings();
    let devices = [DeviceName::Cpu, DeviceName::Cuda(0), DeviceName::Metal(0)].map(device);
    let features = [
        ("cuda", cfg!(feature = "cuda")),
        ("cudnn", cfg!(feature = "cudnn")),
        ("metal", cfg!(feature = "metal")),
        ("mkl", cfg!(feature = "mkl")),
        ("accelerate", cfg!(feature = "accelerate")),
    ];
    let cached = zoo.cache_list()?;
    let proxies =
        ["https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];
    let network = match settings.offline {
        true => Network::Off,
        false => match zoo.hub().ping() {
            Ok(()) => Network::Good,
            Err(error) => Network::Bad(error.to_string()),
        },
    };
    let exit = if matches!(network, Network::Bad(_)) { Exit::Remote } else { Exit::Success };
    let found = Diagnosis {
        version: env!("CARGO_PKG_VERSION"),
        devices: devices.to_vec(),
        auto: device::choose(DeviceName::Auto, Precision::F32, |_| ())?.name.to_string(),
        features: features.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect(),
        instructions: Isa::detect().to_string(),
        bf16: Isa::detect_for(Precision::Bf16).ok().map(|isa| isa.to_string()),
        cuda_fused: match cfg!(feature = "cuda") {
            true => "built (`--executor cuda-fused`), but it has not yet run on a GPU",
            false => "not built (`--features cuda`)",
        },
        threads: rayon::current_num_threads(),
        cache: settings.cache.display().to_string(),
        converted: settings.models.display().to_string(),
        models: cached.len(),
        bytes: cached.iter().map(|model| model.bytes).sum(),
        endpoint: settings.endpoint.clone(),
        token: settings.token.as_ref().map(|token| token.from.clone()),
        namespace: settings.namespace.clone(),
        // A proxy's address may hold a password.
        proxies: proxies.into_iter().filter(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty())).collect(),
        network,
    };
    Output::of(args.output).print(&found).context("cannot print the result")?;
    Ok(exit)
}

fn device(name: DeviceName) -> DeviceFound {
    let state = match device::choose(name, Precision::F32, |_| ()) {
        Ok(_) => "works".into(),
        Err(error) => error.to_string(),
    };
    DeviceFound { name: name.to_string(), state }
}

#[derive(Debug, Clone, Serialize)]
struct DeviceFound {
    name: String,
    state: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Network {
    Off,
    Good,
    Bad(String),
}

#[derive(Debug, Serialize)]
struct Diagnosis {
    version: &'static str,
    devices: Vec<DeviceFound>,
    /// The device that `--device auto`, the default, chooses.
    auto: String,
    features: Vec<&'static str>,
    instructions: String,
    /// The instruction set that makes bf16 fast, if there is one.
    bf16: Option<String>,
    /// What there is to say of the fused executor on a GPU.
    cuda_fused: &'static str,
    threads: usize,
    cache: String,
    converted: String,
    models: usize,
    bytes: u64,
    endpoint: String,
    /// Where the token comes from, never the token itself.
    token: Option<String>,
    namespace: Option<String>,
    /// The environment variables that name a proxy.
    proxies: Vec<&'static str>,
    network: Network,
}

impl Report for Diagnosis {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let listed = |names: &[&str]| if names.is_empty() { "none".into() } else { names.join(", ") };
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
        let mut line = |what: &str, value: String| writeln!(to, "{what:13} {value}");
        line("version", self.version.into())?;
        for DeviceFound { name, state } in &self.devices {
            line(name, state.clone())?;
        }
        line("auto", format!("{}: what `segment` runs on unless `--device` says otherwise", self.auto))?;
        line("features", listed(&self.features))?;
        line("instructions", self.instructions.clone())?;
        let bf16 = self.bf16.as_ref().map(|isa| format!("works (`--dtype bf16`, with {isa})"));
        line("bf16", bf16.unwrap_or_else(|| Unavailable::Precision(Precision::Bf16).to_string()))?;
        line("cuda-fused", self.cuda_fused.into())?;
        line("threads", self.threads.to_string())?;
        line("cache", format!("{} (Hub), {} (converted)", self.cache, self.converted))?;
        line("models", format!("{}, {}", self.models, table::bytes(self.bytes)))?;
        line("endpoint", self.endpoint.clone())?;
        line("token", self.token.as_ref().map_or("none".into(), |from| format!("from {from}")))?;
        line("namespace", or_none(&self.namespace))?;
        line("proxy", listed(&self.proxies))?;
        line(
            "network",
            match &self.network {
                Network::Off => "not to be used: HF_HUB_OFFLINE is set".into(),
                Network::Good => "the Hub answers".into(),
                Network::Bad(reason) => reason.clone(),
            },
        )
    }
}
