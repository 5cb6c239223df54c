//! Decodes videos and AVIF images.

use std::io::{self, Read};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use candle_deeplab::graph::Size;
use image::RgbImage;

use super::Video;
use super::process::Ffmpeg;
use super::source;
use crate::input::Source;

/// The frames of a video, in order.
pub(crate) struct Reader {
    ffmpeg: Ffmpeg,
    pipe: ChildStdout,
    width: u32,
    height: u32,
}

impl Reader {
    pub(crate) fn new(from: &Source, video: &Video, seconds: Option<f64>) -> Result<Self> {
        // A fixed rate keeps pictures and sound together if frames come at uneven times.
        let mut options = vec!["-r".into(), video.rate.clone()];
        if let Some(seconds) = seconds {
            options.extend(["-t".into(), seconds.to_string()]);
        }
        Self::start(from, (video.width, video.height), &options)
    }

    fn start(from: &Source, (width, height): (u32, u32), options: &[String]) -> Result<Self> {
        let mut command = Command::new("ffmpeg");
        // `V` selects video streams without cover art.
        command.args(["-v", "error", "-nostdin"]).args(source::arguments(from)?).args(["-map", "0:V:0"]);
        command.args(options).args(["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]);
        let ffmpeg = Ffmpeg::start(command.stdin(Stdio::null()).stdout(Stdio::piped()), Some(from))?;
        let pipe = ffmpeg.program.stdout().context("ffmpeg has no output")?;
        Ok(Self { ffmpeg, pipe, width, height })
    }

    /// The next frame; `None` after the last.
    pub(crate) fn frame(&mut self) -> Result<Option<RgbImage>> {
        let mut frame = vec![0; 3 * self.width as usize * self.height as usize];
        let mut filled = 0;
        while filled < frame.len() {
            match self.pipe.read(&mut frame[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot read frames from ffmpeg"),
            }
        }
        if filled == frame.len() {
            return Ok(RgbImage::from_raw(self.width, self.height, frame));
        }
        self.ffmpeg.finish()?;
        ensure!(filled == 0, "ffmpeg broke off in the middle of a frame");
        Ok(None)
    }
}

/// The picture in an AVIF file, which has not been read yet.
///
/// A decoder in Rust would cost more than it is worth: rav1d, which is well kept, takes the better part of a minute of
/// processor time to compile.
pub(crate) struct Avif {
    source: Source,
    video: Video,
}

impl Avif {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let source = Source::File(path.to_owned());
        let video = Video::probe(&source, None)?;
        ensure!(
            video.turned || !says_to_turn(path)?,
            "it has to be turned, which this ffmpeg does not know: make a JPEG or PNG of it, or install a newer ffmpeg"
        );
        Ok(Self { source, video })
    }

    /// The picture's size, upright.
    pub(crate) fn size(&self) -> Size {
        Size::new(self.video.height as usize, self.video.width as usize)
    }

    /// About how many bytes the picture takes, here and in ffmpeg: there in the video's colours and in ours.
    pub(crate) fn memory(&self) -> u64 {
        12 * self.size().area() as u64
    }

    /// The picture, upright.
    pub(crate) fn read(&self) -> Result<RgbImage> {
        let options = ["-frames:v", "1"].map(String::from);
        let frame = Reader::start(&self.source, (self.video.width, self.video.height), &options)?.frame()?;
        frame.context("there is no picture in it")
    }
}

/// Whether an AVIF file has the property `irot` or `imir` (ISO/IEC 23008-12, 6.5.10 and 6.5.12) and is not just rotated
/// by 0°.
fn says_to_turn(path: &Path) -> Result<bool> {
    /// Properties are near the beginning.
    const SEARCHED: u64 = 1 << 16;
    let mut head = vec![];
    candle_deeplab::file::open(path)?.take(SEARCHED).read_to_end(&mut head)?;
    Ok(head.windows(9).any(|bytes| match bytes.split_at(8) {
        // A box of nine bytes: length, name and value.
        (b"\0\0\0\x09irot", [angle]) => angle & 3 != 0,
        (b"\0\0\0\x09imir", _) => true,
        _ => false,
    }))
}
