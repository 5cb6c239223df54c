//! `candle-deeplab man`.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use candle_deeplab::atomic;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::args::{Args, ManArgs};
use crate::exit::Exit;

pub(crate) fn run(args: &ManArgs) -> Result<Exit> {
    let pages = pages().context("cannot make the pages")?;
    match &args.output {
        Some(folder) => write(folder, &pages)?,
        None => {
            for (_, page) in &pages {
                io::stdout().write_all(page).context("cannot print the pages")?;
            }
        }
    }
    Ok(Exit::Success)
}

/// The manual pages of the program and of each of its commands, with their file names.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut program = Args::command().disable_help_subcommand(true);
    program.build();
    let commands: Vec<Command> = program.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let page = |command: Command| {
        let file = format!("{}.1", command.get_display_name().unwrap_or(command.get_name()));
        let mut page = vec![];
        Man::new(command).render(&mut page)?;
        Ok((file, page))
    };
    std::iter::once(program).chain(commands).map(page).collect()
}

fn write(folder: &Path, pages: &[(String, Vec<u8>)]) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    for (name, page) in pages {
        atomic::write(folder.join(name), |file| file.write_all(page)).context("cannot write the pages")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &pages().unwrap()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("candle-deeplab-segment.1")).unwrap();
        assert!(page.contains(".TH candle-deeplab-segment 1") && page.contains("\\-\\-cutout"), "{page}");
        assert!(dir.path().join("candle-deeplab.1").is_file());
        assert!(!dir.path().join("candle-deeplab-help.1").exists());
    }
}
