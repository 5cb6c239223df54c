//! `candle-deeplab dataset check`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use candle_deeplab_train::data::{self, Check, SplitCheck};
use serde::Serialize;

use super::source;
use crate::args::DatasetCheckArgs;
use crate::commands::table;
use crate::exit::{Exit, say};
use crate::output::{Output, Report};
use crate::progress::Progress;

/// The most sizes of images that are shown.
const SIZES: usize = 3;

pub(super) fn run(args: DatasetCheckArgs) -> Result<Exit> {
    let output = Output::of(args.output);
    let progress = Progress::new(None, "images", output != Output::Text)?;
    let found = data::check(&source(&args.dir, &args.layout), &args.split, &|| progress.step())?;
    drop(progress);
    let faults = found.faults();
    if output == Output::Quiet {
        found.splits.iter().flat_map(|split| &split.faults).for_each(|fault| say(fault));
    }
    output.print(&Checked { faults, found }).context("cannot print the result")?;
    Ok(if faults == 0 { Exit::Success } else { Exit::SomeFailed })
}

#[derive(Debug, Serialize)]
struct Checked {
    /// How many faults there are in all splits.
    faults: usize,
    #[serde(flatten)]
    found: Check,
}

impl Report for Checked {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let Check { kind, labels, note, splits } = &self.found;
        writeln!(to, "layout {}, {} classes of `{}`", kind.name(), labels.names.len(), labels.dataset)?;
        if let Some(note) = note {
            writeln!(to, "{note}")?;
        }
        for split in splits {
            writeln!(to, "\n{}: {}", split.split, sizes(split))?;
            let rows: Vec<Vec<String>> = split
                .ids
                .iter()
                .map(|id| {
                    let share = format!("{:.2} %", 100.0 * id.share);
                    vec![id.id.to_string(), id.name.clone(), id.pixels.to_string(), share, id.images.to_string()]
                })
                .collect();
            if !rows.is_empty() {
                table::write(to, &["id", "class", "pixels", "share", "images"], &rows)?;
            }
            let absent: Vec<&str> = (0..=u8::MAX)
                .zip(&labels.names)
                .filter(|(class, _)| split.images > 0 && !split.ids.iter().any(|id| id.class == Some(*class)))
                .map(|(_, name)| name.as_str())
                .collect();
            if !absent.is_empty() {
                writeln!(to, "not in this split: {}", absent.join(", "))?;
            }
        }
        let faulty = splits.iter().filter(|split| !split.faults.is_empty());
        for split in faulty {
            writeln!(to, "\nwrong in {}:", split.split)?;
            split.faults.iter().try_for_each(|fault| writeln!(to, "  {fault}"))?;
        }
        match self.faults {
            0 => writeln!(to, "\nnothing is wrong"),
            1 => writeln!(to, "\n1 thing is wrong"),
            faults => writeln!(to, "\n{faults} things are wrong"),
        }
    }
}

/// `367 images of 480×360`, or the most frequent of several sizes.
fn sizes(split: &SplitCheck) -> String {
    let images = split.images;
    let shown = |size: &data::SizeCount| format!("{}×{}", size.width, size.height);
    match split.sizes.as_slice() {
        [] => format!("{images} images"),
        [one] => format!("{images} images of {}", shown(one)),
        sizes => {
            let most = sizes.iter().take(SIZES).map(|size| format!("{} of {}", size.images, shown(size)));
            let rest = sizes.len().saturating_sub(SIZES);
            let rest = if rest > 0 { format!(", and {rest} more sizes") } else { String::new() };
            format!("{images} images, {}{rest}", most.collect::<Vec<_>>().join(", "))
        }
    }
}
