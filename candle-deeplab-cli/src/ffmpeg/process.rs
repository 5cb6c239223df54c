//! The `ffmpeg` process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};

use super::source;
use crate::input::Source;

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

pub(super) fn last_line(text: &str) -> String {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it does not say why").to_owned()
}

/// A running `ffmpeg`, which is killed on drop.
pub(super) struct Ffmpeg {
    pub(super) child: Child,
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
        let child = command.stderr(stderr).spawn().map_err(|error| not_started("ffmpeg", error))?;
        Ok(Self { child, complaints, source: source.cloned() })
    }

    /// Waits for the end. The error has the last line that ffmpeg printed.
    pub(super) fn finish(&mut self) -> Result<()> {
        let status = self.child.wait().context("ffmpeg is lost")?;
        let mut said = vec![];
        self.complaints.seek(SeekFrom::Start(0)).context("cannot read what ffmpeg said")?;
        // The output may be long; its first 64 KiB suffice.
        (&mut self.complaints).take(1 << 16).read_to_end(&mut said).context("cannot read what ffmpeg said")?;
        let said = last_line(&String::from_utf8_lossy(&said));
        let said = self.source.as_ref().map_or(said.clone(), |source| source::without_password(source, &said));
        ensure!(status.success(), "ffmpeg failed: {said}");
        Ok(())
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // Both do nothing if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
