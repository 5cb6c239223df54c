//! `candle-deeplab info`: what a model is.

use std::io::{self, Write};

use anyhow::{Context, Result};
use candle_deeplab::config::{Config, Network, Normalization, Preprocessing, Provenance, SizeRule};
use candle_deeplab::graph::Summary;
use candle_deeplab::{Labels, arch};
use candle_deeplab_hub::{Entry, Files, Manifest, Name, Zoo};
use serde::Serialize;

use crate::args::InfoArgs;
use crate::exit::Exit;
use crate::output::{Output, Report};
use crate::resolve;

pub(crate) fn run(args: InfoArgs) -> Result<Exit> {
    let zoo = resolve::zoo(&args.zoo, false)?;
    let published = match Name::parse(&args.model, &zoo.hub().settings().endpoint)? {
        Name::Entry(model) => Some(model),
        _ => None,
    };
    let here = zoo.find(&args.model)?.map(|found| here(&zoo, &found.files, &args)).transpose()?;
    let known = published.is_some() || here.is_some();
    anyhow::ensure!(known, "`{}` is not in the cache: `candle-deeplab pull {0}` fetches it", args.model);
    let info = Info { name: args.model, published, here, layers: args.layers };
    Output::of(args.output).print(&info).context("cannot print the result")?;
    Ok(Exit::Success)
}

fn here(zoo: &Zoo, files: &Files, args: &InfoArgs) -> Result<Here> {
    let config = files.config()?;
    let (height, width) = args.size.unwrap_or_else(|| config.preprocessing.size.network_size());
    let summary = arch::graph(&config.network)?.summary(height, width)?;
    let converted = zoo.cache_list()?.into_iter().find(|cached| Some(cached.path.as_path()) == files.directory());
    Ok(Here { place: files.to_string(), converted: converted.and_then(|cached| cached.converted), config, summary })
}

#[derive(Debug, Serialize)]
struct Info {
    name: String,
    /// The model's row of the registry.
    published: Option<&'static Entry>,
    /// The copy on this machine.
    here: Option<Here>,
    #[serde(skip)]
    layers: bool,
}

#[derive(Debug, Serialize)]
struct Here {
    #[serde(rename = "dir")]
    place: String,
    converted: Option<Manifest>,
    config: Config,
    summary: Summary,
}

impl Report for Info {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        match self.published {
            Some(model) if model.id != self.name => writeln!(to, "{} ({})", self.name, model.id)?,
            _ => writeln!(to, "{}", self.name)?,
        }
        if let Some(model) = self.published {
            published(to, model)?;
        }
        match &self.here {
            Some(here) => here.text(to, self.layers),
            None => writeln!(to, "not on this machine: `candle-deeplab pull {}` fetches it", self.name),
        }
    }
}

fn line(to: &mut dyn Write, what: &str, value: impl std::fmt::Display) -> io::Result<()> {
    writeln!(to, "  {what:14} {value}")
}

fn published(to: &mut dyn Write, model: &Entry) -> io::Result<()> {
    line(to, "description", model.description)?;
    if !model.aliases.is_empty() {
        line(to, "also called", model.aliases.join(", "))?;
    }
    for e in model.evaluations {
        let scales = if e.scales.len() > 1 { format!(", {} scales", e.scales.len()) } else { String::new() };
        let flip = if e.flip { " and mirror images" } else { "" };
        line(to, "mIoU", format!("{} ({}, output stride {}{scales}{flip})", e.miou, e.split, e.output_stride))?;
    }
    if let (Some(params), Some(macs), (height, width)) = (model.params, model.macs, model.input) {
        line(to, "size", format!("{params} parameters, {:.1} GMAC at {height}×{width}", macs as f64 / 1e9))?;
    }
    line(to, "licence", model.licence)?;
    line(to, "paper", model.paper)?;
    for source in model.sources {
        line(to, "source", source.location)?;
    }
    Ok(())
}

impl Here {
    fn text(&self, to: &mut dyn Write, layers: bool) -> io::Result<()> {
        let Config { network, preprocessing, labels, provenance, .. } = &self.config;
        line(to, "place", &self.place)?;
        recipe(to, network, labels)?;
        numerics(to, network, preprocessing)?;
        self::provenance(to, provenance, self.converted.as_ref())?;
        let summary = self.summary.to_string();
        let (all, total) = summary.rsplit_once('\n').unwrap_or(("", &summary));
        if layers {
            writeln!(to, "{all}")?;
        }
        line(to, "cost", total)
    }
}

fn recipe(to: &mut dyn Write, network: &Network, labels: &Labels) -> io::Result<()> {
    let Some(aspp) = &network.aspp else {
        line(to, "network", format!("{}, a backbone without a head", network.backbone.name()))?;
        return line(to, "output stride", network.output_stride);
    };
    let plus = if network.decoder.is_some() { "+" } else { "" };
    line(to, "network", format!("DeepLabv3{plus} {}", network.backbone.name()))?;
    line(to, "classes", format!("{} ({})", network.classes, labels.dataset))?;
    line(to, "output stride", network.output_stride)?;
    let rates: Vec<String> = aspp.rates.iter().map(usize::to_string).collect();
    let rates = if rates.is_empty() { "no atrous branches".into() } else { format!("rates {}", rates.join(", ")) };
    let convolution = format!("{:?}", aspp.convolution).to_lowercase();
    line(to, "ASPP", format!("{rates}, {} channels, {convolution}", aspp.width))?;
    match &network.decoder {
        Some(decoder) => {
            let mut stages: Vec<String> = std::iter::successors(Some(decoder), |decoder| decoder.before.as_deref())
                .map(|of| format!("{} channels of {}.{}", of.low_level_width, arch::BACKBONE, of.low_level))
                .collect();
            stages.reverse();
            line(to, "decoder", stages.join(", then "))
        }
        None => line(to, "decoder", "none"),
    }
}

fn numerics(to: &mut dyn Write, network: &Network, preprocessing: &Preprocessing) -> io::Result<()> {
    line(to, "align corners", if network.align_corners { "yes" } else { "no" })?;
    let head = network.aspp.as_ref().map_or(String::new(), |aspp| format!(", {:e} in the head", aspp.batch_norm_eps));
    let norms = match network.normalization {
        Normalization::BatchNorm => format!("epsilon {:e} in the backbone{head}", network.backbone.batch_norm_eps()),
        Normalization::Folded => "folded into the convolutions".into(),
    };
    line(to, "batch norm", norms)?;
    let Preprocessing { mean, std, size, .. } = preprocessing;
    line(to, "pixels", format!("(RGB − {mean:?}) / {std:?}"))?;
    let (height, width) = size.network_size();
    let how = match size {
        SizeRule::Fit { .. } => "fit into",
        SizeRule::Stretch { .. } => "stretch to",
        SizeRule::Native { .. } => "pad to at least",
    };
    line(to, "input", format!("{how} {height}×{width}"))
}

fn provenance(to: &mut dyn Write, provenance: &Provenance, manifest: Option<&Manifest>) -> io::Result<()> {
    let Provenance { family, source, format, converter } = provenance;
    line(to, "weights", format!("{family}, from {source} ({format}) by {converter}"))?;
    match manifest {
        Some(manifest) => line(to, "converted from", format!("{} (SHA-256 {})", manifest.source, manifest.sha256)),
        None => Ok(()),
    }
}
