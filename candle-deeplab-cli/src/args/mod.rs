//! The command line's arguments. Parsing does no input or output.

mod bench;
mod dataset;
mod demo;
mod docs;
mod dtype;
mod encoding;
mod eval;
mod export;
mod model;
mod network;
mod number;
mod segment;
mod serve;
mod style;
mod train;
mod zoo;

use clap::error::{ContextKind, ContextValue};
use clap::{Error, Parser, Subcommand};

pub(crate) use bench::{BenchArgs, ExecutorName};
pub(crate) use candle_deeplab::device::DeviceName;
pub(crate) use dataset::{
    DatasetArgs, DatasetBrowseArgs, DatasetCheckArgs, DatasetCommand, DatasetConvertArgs, Form, LayoutArgs,
};
pub(crate) use demo::DemoArgs;
pub(crate) use docs::{CompletionsArgs, ManArgs};
pub(crate) use dtype::DtypeName;
pub(crate) use encoding::{EncodingArgs, PictureFormat};
pub(crate) use eval::EvalArgs;
pub(crate) use export::{ExportArgs, ExportFormat, HeadName, OnnxArgs};
pub(crate) use model::{ModelArgs, ZooArgs};
pub(crate) use network::NetworkArgs;
pub(crate) use segment::{Format, SegmentArgs};
pub(crate) use serve::{LogForm, ServeArgs};
pub(crate) use style::{PaletteName, StyleArgs};
pub(crate) use train::TrainArgs;
pub(crate) use zoo::{
    CacheArgs, CacheCommand, CacheListArgs, CacheRemoveArgs, DoctorArgs, InfoArgs, ModelsArgs, OutputArgs, PublishArgs,
    PullArgs,
};

/// The program's name.
pub(crate) const NAME: &str = "candle-deeplab";

/// Semantic segmentation with DeepLabv3+: what is where in a photograph.
///
/// A network says of each pixel what it belongs to: a person, a car, the background. `segment` draws that over the
/// photograph, or writes it as masks, polygons or numbers for other programs.
#[derive(Debug, Parser)]
#[command(name = NAME, version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what is in images or videos, and draw where
    Segment(SegmentArgs),
    /// Segment a photograph that this program brings along, to see that it works
    Demo(DemoArgs),
    /// Measure how well a network, or label maps, agree with a data set
    Eval(EvalArgs),
    /// Measure how fast a network runs on this machine
    Bench(BenchArgs),
    /// Check, look at and convert data sets for training
    Dataset(DatasetArgs),
    /// Train a network on your own images and label maps, or go on with a run
    Train(TrainArgs),
    /// Answer requests over HTTP: a page for people, an interface for programs and annotation tools
    Serve(ServeArgs),
    /// Write a model as a file for another runtime
    Export(ExportArgs),
    /// List the models that are known by name
    Models(ModelsArgs),
    /// Say what a model is: recipe, costs, numerics, where it comes from
    Info(InfoArgs),
    /// Fetch models now, so that they are there when needed
    Pull(PullArgs),
    /// Put a model directory onto the Hub
    Publish(PublishArgs),
    /// The models on this machine
    Cache(CacheArgs),
    /// Say what this machine has: devices, instructions, cache, token, network
    Doctor(DoctorArgs),
    /// Print a script that lets a shell complete this program's arguments
    Completions(CompletionsArgs),
    /// Print or write manual pages
    Man(ManArgs),
}

/// What to say to somebody who gives a file where a command is wanted.
pub(crate) fn hint(error: &Error, exists: impl Fn(&str) -> bool) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    exists(given).then(|| format!("`{NAME} segment {given}` says what is in it"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_file_in_the_place_of_a_command_is_met_with_the_command_for_it() {
        let hint = |args: &[&str], there| hint(&Args::try_parse_from(args).unwrap_err(), |_| there);
        let said = hint(&[NAME, "cat.jpg"], true).unwrap();
        assert!(said.contains("`candle-deeplab segment cat.jpg`"), "{said}");
        assert_eq!(hint(&[NAME, "cat.jpg"], false), None);
        assert_eq!(hint(&[NAME, "segment", "--no-such-option"], true), None);
        assert_eq!(hint(&[NAME, "--help"], true), None);
    }

    /// `UPDATE_DOCS=1 cargo test -p candle-deeplab-cli docs_cli` writes the page anew.
    #[test]
    fn docs_cli_is_what_help_says() {
        let title = "<!-- Made from the program: UPDATE_DOCS=1 cargo test -p candle-deeplab-cli docs_cli -->\n\n";
        let options = clap_markdown::MarkdownOptions::new().title("The command line".into()).show_footer(false);
        let page = title.to_owned() + &clap_markdown::help_markdown_custom::<Args>(&options);
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        // A published crate comes without the docs of its repository.
        if !docs.is_dir() {
            return;
        }
        let path = docs.join("cli.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written.replace('\r', "") == page,
            "docs/cli.md is out of date: run `UPDATE_DOCS=1 cargo test -p candle-deeplab-cli docs_cli`"
        );
    }
}
