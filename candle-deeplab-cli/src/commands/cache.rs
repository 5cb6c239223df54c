//! `candle-deeplab cache`: the models on this machine.

use std::io::{self, Write};

use anyhow::{Context, Result};
use candle_deeplab::zoo::{Cached, Verified};
use serde::Serialize;

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
    let models = resolve::zoo(&args.zoo, false)?.cache_list()?;
    let bytes = models.iter().map(|model| model.bytes).sum();
    Output::of(args.output).print(&Listed { models, bytes }).context("cannot print the list")?;
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

#[derive(Debug, Serialize)]
struct Listed {
    models: Vec<Cached>,
    bytes: u64,
}

impl Report for Listed {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        if self.models.is_empty() {
            return writeln!(to, "no models are here yet");
        }
        let row = |model: &Cached| {
            let kind = if model.converted.is_some() { "converted" } else { "from the Hub" };
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
