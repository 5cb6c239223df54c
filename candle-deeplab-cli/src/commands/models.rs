//! `candle-deeplab models`: what is known by name.

use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use candle_deeplab::zoo::{self, Kind, Model};
use serde::Serialize;

use super::table;
use crate::args::ModelsArgs;
use crate::exit::Exit;
use crate::output::{Output, Report};
use crate::resolve;

pub(crate) fn run(args: ModelsArgs) -> Result<Exit> {
    let zoo = resolve::zoo(&args.zoo, false)?;
    let same = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
    check("--dataset", &args.dataset, |model| model.dataset)?;
    check("--backbone", &args.backbone, |model| model.backbone)?;
    let mut models = vec![];
    for model in zoo::list() {
        if !same(&args.dataset, model.dataset) || !same(&args.backbone, model.backbone) {
            continue;
        }
        let cached = zoo.find_model(model)?.is_some();
        if cached || !args.cached {
            models.push(Row { model, cached });
        }
    }
    Output::of(args.output).print(&Models { models }).context("cannot print the models")?;
    Ok(Exit::Success)
}

/// A filter that no model could pass is a slip of the hand.
fn check(flag: &str, wanted: &Option<String>, value: fn(&Model) -> &'static str) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    let mut known: Vec<&str> = zoo::list().iter().map(value).collect();
    known.sort_unstable();
    known.dedup();
    if !known.contains(&wanted.as_str()) {
        bail!("`{flag} {wanted}`: choose one of {}", known.join(", "));
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct Models {
    models: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    model: &'static Model,
    cached: bool,
}

impl Report for Models {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        if self.models.is_empty() {
            return writeln!(to, "none; without `--cached`, all that can be fetched are listed");
        }
        let rows: Vec<Vec<String>> = self.models.iter().map(Row::cells).collect();
        table::write(to, &["name", "data set", "mIoU", "parameters", "GMAC", "licence", "here"], &rows)
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let Model { id, dataset, evaluations, params, macs, licence, kind, .. } = self.model;
        let miou = match (kind, evaluations.first()) {
            (Kind::Backbone, _) => "backbone".into(),
            (_, Some(e)) => format!("{} {}", e.miou, e.split),
            (_, None) => String::new(),
        };
        let number = |count: &Option<u64>, unit: f64| count.map_or("–".into(), |n| format!("{:.1}", n as f64 / unit));
        let millions = match params {
            Some(_) => format!("{} M", number(params, 1e6)),
            None => "–".into(),
        };
        let here = if self.cached { "yes" } else { "" };
        vec![(*id).into(), (*dataset).into(), miou, millions, number(macs, 1e9), (*licence).into(), here.into()]
    }
}
