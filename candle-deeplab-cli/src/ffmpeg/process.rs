//! The `ffmpeg` process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::source;
use crate::input::Source;
use crate::program::Program;

pub(super) fn not_started(program: &str, error: io::Error) -> anyhow::Error {
    let missing = error.kind() == io::ErrorKind::NotFound;
    let error = anyhow::Error::new(error);
    if missing {
        error.context(format!(
            "videos, cameras and AVIF images need the programs ffmpeg and ffprobe, and there is no `{program}` on the \
             PATH: install ffmpeg (https://ffmpeg.org/download.html), or give JPEG or PNG files"
        ))
    } else {
        error.context(format!("cannot start `{program}`"))
    }
}

/// The last thing that a program said, whose standard error is a file.
pub(super) fn last_line(complaints: &mut File) -> io::Result<String> {
    let mut said = vec![];
    complaints.seek(SeekFrom::Start(0))?;
    // It may say a lot; the end of the beginning will do.
    complaints.take(1 << 16).read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said);
    Ok(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it does not say why").to_owned())
}

/// A running `ffmpeg`, which is killed on drop.
pub(super) struct Ffmpeg {
    pub(super) program: Program,
    complaints: File,
    /// The input, unless it is our frames.
    source: Option<Source>,
}

impl Ffmpeg {
    pub(super) fn start(command: &mut Command, source: Option<&Source>) -> Result<Self> {
        let complaints = tempfile::tempfile().context("cannot make a temporary file")?;
        // Ctrl-C must not reach ffmpeg, which still has to finish the video of a camera.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let stderr = complaints.try_clone().context("cannot use a temporary file")?;
        let program = Program::start(command.stderr(stderr)).map_err(|error| not_started("ffmpeg", error))?;
        Ok(Self { program, complaints, source: source.cloned() })
    }

    /// Waits for the end. The error has the last line that ffmpeg printed.
    pub(super) fn finish(&mut self) -> Result<()> {
        let status = self.program.wait().context("ffmpeg is lost")?;
        let said = last_line(&mut self.complaints).context("cannot read what ffmpeg said")?;
        let said = self.source.as_ref().map_or(said.clone(), |source| source::without_password(source, &said));
        ensure!(status.success(), "ffmpeg failed: {said}");
        Ok(())
    }
}
