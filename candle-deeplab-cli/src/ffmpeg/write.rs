//! Encodes videos.

use std::io::{self, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::process::Ffmpeg;
use super::source;
use super::{Container, Pixels, Video};
use crate::input::Source;

/// The settings of a video, which have been tried out with this ffmpeg, container and codecs.
pub(crate) struct Recipe<'a> {
    container: Container,
    pixels: Pixels,
    like: &'a Video,
    sound: Option<Sound<'a>>,
    seconds: Option<f64>,
}

/// The source of the sound, and ffmpeg's arguments for it.
struct Sound<'a> {
    source: &'a Source,
    arguments: Vec<String>,
}

impl<'a> Recipe<'a> {
    /// A video with the size and rate of `like`, and with the sound of `source` if there is one. When this returns,
    /// ffmpeg has written one frame with these settings.
    pub(crate) fn new(
        container: Container,
        pixels: Pixels,
        like: &'a Video,
        source: Option<&'a Source>,
        seconds: Option<f64>,
    ) -> Result<Self> {
        // A video of class ids gets no sound.
        let source = source.filter(|_| !like.sounds.is_empty() && pixels != Pixels::Gray);
        let mut refused = None;
        for arguments in container.sounds(&like.sounds) {
            let sound = source.filter(|_| !arguments.is_empty()).map(|source| Sound { source, arguments });
            let recipe = Self { container, pixels, like, sound, seconds };
            match recipe.try_out() {
                Ok(()) => return Ok(recipe),
                Err(error) => refused = refused.or(Some(error)),
            }
            if recipe.sound.is_none() {
                break;
            }
        }
        let error = refused.context("there is no way to write it")?;
        Err(error).with_context(|| {
            let extension = container.extension();
            let others: Vec<_> = Container::ALL
                .into_iter()
                .filter(|other| *other != container && other.holds(pixels))
                .map(|other| format!(".{}", other.extension()))
                .collect();
            let other = if others.is_empty() {
                "or write images with `--frames`".into()
            } else {
                format!("or name a file with `-o` that ends in {}", others.join(", "))
            };
            format!("this ffmpeg cannot write .{extension} files: install one that can, {other}")
        })
    }

    fn try_out(&self) -> Result<()> {
        /// Long enough to see whether the sound can be decoded.
        const SECONDS: f64 = 0.2;
        let file = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
        let short = Self {
            sound: self.sound.as_ref().map(|sound| Sound { arguments: sound.arguments.clone(), ..*sound }),
            seconds: Some(SECONDS),
            ..*self
        };
        let mut writer = short.start(Some(file.path()))?;
        let bytes = self.pixels.channels() * self.like.width as usize * self.like.height as usize;
        // If ffmpeg ends early, its own error says more than the broken pipe.
        let written = writer.frame(&vec![0; bytes]);
        writer.finish()?;
        written
    }

    /// Starts the video, in a file or on standard output.
    pub(crate) fn start(&self, path: Option<&Path>) -> Result<Writer> {
        let Self { container, pixels, like, .. } = self;
        let codec = container.codec(*pixels).context("such frames do not go into such a container")?;
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", pixels.name()]);
        command.args(["-s", &format!("{}x{}", like.width, like.height), "-r", &like.rate, "-i", "pipe:0"]);
        if let Some(sound) = &self.sound {
            if let Some(seconds) = self.seconds {
                command.args(["-t", &seconds.to_string()]);
            }
            command.args(source::arguments(sound.source)?).args(["-map", "1:a?"]).args(&sound.arguments);
        }
        let mut filters = codec.filter.to_owned();
        if let Some(pixel) = &like.pixel {
            filters += &format!(",setsar={}", pixel.replace(':', "/"));
        }
        command.args(["-map", "0:v:0", "-vf", &filters]).args(codec.arguments).args(["-f", container.muxer()]);
        match path {
            Some(path) => {
                let to = path.to_str().with_context(|| format!("`{}` is no name for ffmpeg", path.display()))?;
                command.arg(format!("file:{to}")).stdout(Stdio::null());
            }
            None => {
                command.arg("pipe:1").stdout(Stdio::inherit());
            }
        }
        let ffmpeg = Ffmpeg::start(command.stdin(Stdio::piped()), self.sound.as_ref().map(|sound| sound.source))?;
        let pipe = ffmpeg.program.stdin().context("ffmpeg has no input")?;
        Ok(Writer { ffmpeg, pipe, to_stdout: path.is_none() })
    }
}

/// A video that is being written.
pub(crate) struct Writer {
    ffmpeg: Ffmpeg,
    pipe: ChildStdin,
    to_stdout: bool,
}

impl Writer {
    pub(crate) fn frame(&mut self, frame: &[u8]) -> Result<()> {
        match self.pipe.write_all(frame) {
            // ffmpeg ended early; its own error says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Self::end(&mut self.ffmpeg, self.to_stdout)?;
                bail!("ffmpeg ended before the video did")
            }
            written => written.context("cannot send frames to ffmpeg"),
        }
    }

    /// Ends the video.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { mut ffmpeg, pipe, to_stdout } = self;
        drop(pipe);
        Self::end(&mut ffmpeg, to_stdout)
    }

    /// Waits for ffmpeg. That the reader closed standard output is reported as a broken pipe.
    fn end(ffmpeg: &mut Ffmpeg, to_stdout: bool) -> Result<()> {
        match ffmpeg.finish() {
            Err(error) if to_stdout && error.to_string().contains("Broken pipe") => {
                Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("nobody reads the video")
            }
            ended => ended,
        }
    }
}
