//! `candle-deeplab models`: what is known by name.

use std::collections::BTreeSet;
use std::io::{self, Write};

use anyhow::{Context, Result, bail};
use candle_deeplab::zoo::{self, Kind, Model};
use serde::Serialize;

use super::cache::Listed;
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
    for model in zoo::list().iter().filter(|model| filter.passes(model.dataset, model.backbone)) {
        models.push(Row { model, cached: zoo.find_model(model)?.is_some() });
    }
    output.print(&Models { models }).context("cannot print the models")?;
    Ok(Exit::Success)
}

/// The models that somebody wants to see, by the beginning of what they are called.
#[derive(Debug, Default)]
pub(super) struct Filter {
    dataset: Option<String>,
    backbone: Option<String>,
}

impl Filter {
    pub(super) fn is_empty(&self) -> bool {
        self.dataset.is_none() && self.backbone.is_none()
    }

    pub(super) fn passes(&self, dataset: &str, backbone: &str) -> bool {
        let begins = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| plain(value).starts_with(&plain(wanted)))
        };
        begins(&self.dataset, dataset) && begins(&self.backbone, backbone)
    }

    /// A filter that no model passes is a slip of the hand.
    fn check(&self) -> Result<()> {
        let (datasets, backbones): (Field, Field) = (|model| model.dataset, |model| model.backbone);
        let all = Self::default();
        let of_dataset = Self { dataset: self.dataset.clone(), backbone: None };
        let of_backbone = Self { dataset: None, backbone: self.backbone.clone() };
        for (flag, wanted, filter, field) in [
            ("--dataset", &self.dataset, &of_dataset, datasets),
            ("--backbone", &self.backbone, &of_backbone, backbones),
        ] {
            if let (Some(wanted), true) = (wanted, filter.values(field).is_empty()) {
                bail!("`{flag} {wanted}`: choose one of {}", all.values(field).join(", "));
            }
        }
        if let (Some(dataset), Some(backbone), true) = (&self.dataset, &self.backbone, self.values(datasets).is_empty())
        {
            bail!(
                "no model has both `--dataset {dataset}` and `--backbone {backbone}`: with that data set choose one of {}, \
                 with that backbone one of {}",
                of_dataset.values(backbones).join(", "),
                of_backbone.values(datasets).join(", ")
            );
        }
        Ok(())
    }

    /// What the models that pass have in a field, each once.
    fn values(&self, field: Field) -> Vec<&'static str> {
        let passing = zoo::list().iter().filter(|model| self.passes(model.dataset, model.backbone));
        passing.map(field).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

type Field = fn(&Model) -> &'static str;

/// A name without what people write in different ways: `mobilenet_v2` is `mobilenetv2`.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(['_', '-', ' '], "")
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
        let rows: Vec<Vec<String>> = self.models.iter().map(Row::cells).collect();
        table::write(to, &["name", "data set", "mIoU", "parameters", "GMAC", "licence", "here", "also called"], &rows)
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let Model { id, aliases, dataset, evaluations, params, macs, licence, kind, .. } = self.model;
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
