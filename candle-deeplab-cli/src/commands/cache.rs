//! `candle-deeplab cache`: the models on this machine.

use std::io::{self, Write};

use anyhow::{Context, Result};
use candle_deeplab_hub::{self as hub, Cached, Entry, Files, Verified, Zoo};
use serde::Serialize;

use super::filter::Filter;
use super::table;
use crate::args::{CacheArgs, CacheCommand, CacheListArgs, CacheRemoveArgs};
use crate::exit::{self, Exit};
use crate::output::{Output, Report};
use crate::resolve;

pub(crate) fn run(args: CacheArgs) -> Result<Exit> {
    match args.command {
        CacheCommand::List(args) => list(&args),
        CacheCommand::Remove(args) => remove(&args),
        CacheCommand::Verify(args) => verify(&args),
    }
}

fn list(args: &CacheListArgs) -> Result<Exit> {
    let zoo = resolve::zoo(&args.zoo, false)?;
    Output::of(args.output).print(&Listed::new(&zoo, &Filter::default())?).context("cannot print the list")?;
    Ok(Exit::Success)
}

fn remove(args: &CacheRemoveArgs) -> Result<Exit> {
    let zoo = resolve::zoo(&args.zoo, false)?;
    let mut removed = vec![];
    let mut failed = None;
    for name in &args.models {
        match zoo.cache_remove(name) {
            Ok(models) => removed.extend(models),
            Err(error) => failed = Some(exit::report(&error.into())),
        }
    }
    let some = !removed.is_empty();
    Output::of(args.output).print(&Removed { removed }).context("cannot print the result")?;
    Ok(match failed {
        Some(_) if some => Exit::SomeFailed,
        Some(exit) => exit,
        None => Exit::Success,
    })
}

fn verify(args: &CacheListArgs) -> Result<Exit> {
    let models = resolve::zoo(&args.zoo, false)?.cache_verify()?;
    let bad = models.iter().any(|model| !model.bad.is_empty());
    Output::of(args.output).print(&Checked { models }).context("cannot print the result")?;
    Ok(if bad { Exit::SomeFailed } else { Exit::Success })
}

/// The models on this machine, as `cache list` and `models --cached` print them.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    models: Vec<Here>,
    bytes: u64,
    /// How many models the filter leaves out.
    #[serde(skip)]
    others: usize,
}

/// A model on this machine, with its row of the registry.
#[derive(Debug, Serialize)]
struct Here {
    #[serde(flatten)]
    model: Cached,
    #[serde(flatten)]
    published: Option<&'static Entry>,
    /// Always true; `models` has this field for each row of the registry.
    cached: bool,
}

impl Listed {
    pub(super) fn new(zoo: &Zoo, filter: &Filter) -> Result<Self> {
        let all = zoo.cache_list()?;
        let (mut models, count) = (vec![], all.len());
        for model in all {
            let published = model.model.map(hub::get).transpose()?;
            if passes(zoo, filter, &model, published) {
                models.push(Here { model, published, cached: true });
            }
        }
        let bytes = models.iter().map(|here| here.model.bytes).sum();
        Ok(Self { others: count - models.len(), models, bytes })
    }
}

/// Whether a model passes a filter, by its row of the registry or, if it has none, by its own recipe.
fn passes(zoo: &Zoo, filter: &Filter, model: &Cached, published: Option<&Entry>) -> bool {
    if filter.is_empty() {
        return true;
    }
    if let Some(published) = published {
        return filter.passes(published.dataset, published.backbone);
    }
    let files = match model.converted {
        Some(_) => Some(Files::Directory(model.path.clone())),
        None => zoo.find(&model.name).ok().flatten().map(|found| found.files),
    };
    let recipe = files.and_then(|files| files.config().ok());
    recipe.is_some_and(|recipe| filter.passes(&recipe.labels.dataset, recipe.network.backbone.name()))
}

impl Report for Listed {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        match (self.models.is_empty(), self.others) {
            (false, _) => {}
            (true, 0) => return writeln!(to, "no models are here yet"),
            (true, others) => return writeln!(to, "none of the {others} models here is one of those"),
        }
        let row = |Here { model, .. }: &Here| {
            let kind = match (&model.converted, model.current) {
                (None, _) => "from the Hub",
                (Some(_), true) => "converted",
                (Some(_), false) => "converted by another version",
            };
            vec![model.name.clone(), table::bytes(model.bytes), kind.into(), model.path.display().to_string()]
        };
        let rows: Vec<_> = self.models.iter().map(row).collect();
        table::write(to, &["name", "size", "", "path"], &rows)?;
        writeln!(to, "{} in all", table::bytes(self.bytes))
    }
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: Vec<Cached>,
}

impl Report for Removed {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for model in &self.removed {
            writeln!(to, "removed {} ({})", model.path.display(), table::bytes(model.bytes))?;
        }
        Ok(())
    }
}

#[derive(Debug, Serialize)]
struct Checked {
    models: Vec<Verified>,
}

impl Report for Checked {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for Verified { name, good, unknown, incomplete, bad } in &self.models {
            write!(to, "{name}: {good} good")?;
            for (count, what) in [(unknown, "without a digest"), (incomplete, "incomplete"), (&bad.len(), "bad")] {
                if *count > 0 {
                    write!(to, ", {count} {what}")?;
                }
            }
            writeln!(to)?;
            for bad in bad {
                writeln!(to, "  {bad}")?;
            }
        }
        if self.models.iter().any(|model| !model.bad.is_empty()) {
            writeln!(to, "`candle-deeplab cache remove NAME` and `pull NAME` make a bad model good")?;
        }
        Ok(())
    }
}
