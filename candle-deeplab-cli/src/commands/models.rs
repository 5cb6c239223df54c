//! `candle-deeplab models`: the models of the registry.

use std::io::{self, Write};

use anyhow::{Context, Result};
use candle_deeplab_hub::{self as hub, Entry, Kind};
use serde::Serialize;

use super::cache::Listed;
use super::filter::Filter;
use super::table;
use crate::args::ModelsArgs;
use crate::exit::Exit;
use crate::output::{Output, Report};
use crate::resolve;

pub(crate) fn run(args: ModelsArgs) -> Result<Exit> {
    let zoo = resolve::zoo(&args.zoo, false)?;
    let output = Output::of(args.output);
    let filter = Filter { dataset: args.dataset, backbone: args.backbone };
    if args.cached {
        output.print(&Listed::new(&zoo, &filter)?).context("cannot print the models")?;
        return Ok(Exit::Success);
    }
    filter.check()?;
    let mut models = vec![];
    for model in hub::list().iter().filter(|model| filter.passes(model.dataset, model.backbone)) {
        models.push(Row { model, cached: zoo.find_model(model)?.is_some() });
    }
    output.print(&Models { models }).context("cannot print the models")?;
    Ok(Exit::Success)
}

#[derive(Debug, Serialize)]
struct Models {
    models: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    model: &'static Entry,
    cached: bool,
}

impl Report for Models {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<Vec<String>> = self.models.iter().map(Row::cells).collect();
        table::write(to, &["name", "data set", "mIoU", "parameters", "GMAC", "licence", "here", "also called"], &rows)
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let Entry { id, aliases, dataset, evaluations, params, macs, licence, kind, .. } = self.model;
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
        let (id, dataset, licence) = ((*id).into(), (*dataset).into(), (*licence).into());
        vec![id, dataset, miou, millions, number(macs, 1e9), licence, here.into(), aliases.join(", ")]
    }
}
