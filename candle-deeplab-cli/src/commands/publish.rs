//! `candle-deeplab publish`: a model directory onto the Hub.

use std::io::{self, Write};

use anyhow::{Context, Result};
use candle_deeplab_hub::hub::{Published, RepoId};

use super::table;
use crate::args::{PublishArgs, ZooArgs};
use crate::exit::Exit;
use crate::output::{Output, Report};
use crate::resolve;

pub(crate) fn run(args: PublishArgs) -> Result<Exit> {
    let repo = RepoId::new(&args.repo)?;
    let zoo = resolve::zoo(&ZooArgs { namespace: None }, !args.output.quiet)?;
    let published = zoo.hub().publish(&args.dir, &repo, args.private, &args.message)?;
    Output::of(args.output).print(&published).context("cannot print the result")?;
    Ok(Exit::Success)
}

impl Report for Published {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}: {} ({} sent)", self.url, self.files.join(", "), table::bytes(self.sent))?;
        writeln!(to, "commit {}", self.commit)
    }
}
