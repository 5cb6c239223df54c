//! Videos and cameras, through the programs `ffprobe` and `ffmpeg`: frames come and go over pipes as plain RGB.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use image::RgbImage;
use serde::Deserialize;

use crate::input::Source;

/// No film has longer sides.
const MAX_SIDE: u32 = 1 << 14;

/// What a video is like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Video {
    /// As frames come: turned upright.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Frames a second, as ffmpeg writes it: `30000/1001`.
    rate: String,
    /// The shape of a pixel where it is no square: `16:15`.
    pixel: Option<String>,
    /// About how many frames it has, where that is known.
    pub(crate) frames: Option<u64>,
}

#[derive(Deserialize)]
struct Probe {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Format,
}

#[derive(Deserialize)]
struct Stream {
    width: Option<u32>,
    height: Option<u32>,
    avg_frame_rate: Option<String>,
    r_frame_rate: Option<String>,
    sample_aspect_ratio: Option<String>,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

#[derive(Deserialize, Default)]
struct Format {
    duration: Option<String>,
}

impl Video {
    /// Asks `ffprobe`.
    pub(crate) fn probe(source: &Source, seconds: Option<f64>) -> Result<Self> {
        const ENTRIES: &str = "stream=width,height,avg_frame_rate,r_frame_rate,sample_aspect_ratio:\
                               stream_side_data=rotation:format=duration";
        let mut command = Command::new("ffprobe");
        command.args(["-v", "error", "-select_streams", "v:0", "-show_entries", ENTRIES, "-of", "json"]);
        command.args(input(source)?).stdin(Stdio::null());
        let output = command.output().map_err(|error| not_started("ffprobe", error))?;
        if !output.status.success() {
            bail!("ffprobe cannot read it: {}", last_line(&String::from_utf8_lossy(&output.stderr)));
        }
        let probe = serde_json::from_slice(&output.stdout).context("ffprobe answers with something else than JSON")?;
        Self::from_probe(probe, seconds)
    }

    fn from_probe(probe: Probe, seconds: Option<f64>) -> Result<Self> {
        let stream = probe.streams.into_iter().next().context("there is no picture in it")?;
        let (Some(mut width), Some(mut height)) = (stream.width, stream.height) else {
            bail!("ffprobe does not say how large its pictures are");
        };
        let sides = 1..=MAX_SIDE;
        ensure!(
            sides.contains(&width) && sides.contains(&height),
            "its pictures of {width}×{height} pixels are larger than {MAX_SIDE} a side"
        );
        let turned = stream.side_data_list.iter().find_map(|data| data.rotation).unwrap_or(0.0);
        let upright = (turned / 90.0).round() as i64 % 2 == 0;
        if !upright {
            (width, height) = (height, width);
        }
        let rates = [stream.avg_frame_rate, stream.r_frame_rate].into_iter().flatten();
        let Some((rate, per_second)) = rates.filter_map(|rate| Some((rate.clone(), fraction(&rate)?))).next() else {
            bail!("ffprobe does not say how many frames a second it has");
        };
        let square = |pixel: &String| fraction(&pixel.replace(':', "/")).is_none_or(|ratio| ratio == 1.0);
        let pixel = stream.sample_aspect_ratio.filter(|pixel| upright && !square(pixel));
        let duration = probe.format.duration.and_then(|duration| duration.parse::<f64>().ok());
        let duration = [duration, seconds].into_iter().flatten().reduce(f64::min);
        let frames = duration.map(|duration| (duration * per_second).round().max(0.0) as u64);
        Ok(Self { width, height, rate, pixel, frames })
    }
}

/// `30000/1001`, if it is a number above zero.
fn fraction(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/')?;
    let ratio = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

/// The arguments that name an input. A file's name is never taken for one of ffmpeg's protocols.
fn input(source: &Source) -> Result<Vec<String>> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("`{}` is no name for ffmpeg", path.display()))
    };
    match source {
        Source::Video(path) => Ok(vec!["-i".into(), format!("file:{}", text(path)?)]),
        Source::Camera(path) => Ok(["-f", "v4l2", "-i"].map(String::from).into_iter().chain([text(path)?]).collect()),
        Source::File(_) | Source::Stdin | Source::Url(_) => bail!("it is no video"),
    }
}

fn not_started(program: &str, error: io::Error) -> anyhow::Error {
    let missing = error.kind() == io::ErrorKind::NotFound;
    let error = anyhow::Error::new(error);
    if missing {
        error.context(format!(
            "videos and cameras need the programs ffmpeg and ffprobe, and there is no `{program}` on the PATH: \
             install ffmpeg (https://ffmpeg.org/download.html), or segment single images"
        ))
    } else {
        error.context(format!("cannot start `{program}`"))
    }
}

fn last_line(text: &str) -> String {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it does not say why").to_owned()
}

/// An `ffmpeg` at work; it ends when this does.
struct Ffmpeg {
    child: Child,
    complaints: File,
}

impl Ffmpeg {
    fn start(command: &mut Command) -> Result<Self> {
        let complaints = tempfile::tempfile().context("cannot make a temporary file")?;
        // On Ctrl-C a camera's film is finished, so that signal is for us alone.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let stderr = complaints.try_clone().context("cannot use a temporary file")?;
        let child = command.stderr(stderr).spawn().map_err(|error| not_started("ffmpeg", error))?;
        Ok(Self { child, complaints })
    }

    /// Waits for its end, and says what it said.
    fn finish(&mut self) -> Result<()> {
        let status = self.child.wait().context("ffmpeg is lost")?;
        let mut said = String::new();
        self.complaints.seek(SeekFrom::Start(0)).context("cannot read what ffmpeg said")?;
        // It may say a lot; the end of the beginning will do.
        (&mut self.complaints).take(1 << 16).read_to_string(&mut said).unwrap_or_default();
        ensure!(status.success(), "ffmpeg failed: {}", last_line(&said));
        Ok(())
    }
}

impl Drop for Ffmpeg {
    fn drop(&mut self) {
        // Where it has ended already neither does anything.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Frames of a video, one after the other.
pub(crate) struct Reader {
    ffmpeg: Ffmpeg,
    pipe: ChildStdout,
    width: u32,
    height: u32,
}

impl Reader {
    pub(crate) fn new(source: &Source, video: &Video, seconds: Option<f64>) -> Result<Self> {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin"]).args(input(source)?).args(["-map", "0:v:0"]);
        if let Some(seconds) = seconds {
            command.args(["-t", &seconds.to_string()]);
        }
        // Where frames come at uneven times, a fixed rate keeps pictures and sound together.
        command.args(["-r", &video.rate, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]);
        let mut ffmpeg = Ffmpeg::start(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let pipe = ffmpeg.child.stdout.take().context("ffmpeg has no output")?;
        Ok(Self { ffmpeg, pipe, width: video.width, height: video.height })
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

/// A video that is being written.
pub(crate) struct Writer {
    ffmpeg: Ffmpeg,
    pipe: ChildStdin,
}

impl Writer {
    /// Begins a video at `path` like another, and copies that one's sound.
    pub(crate) fn new(path: &Path, like: &Video, sound: Option<&Source>, seconds: Option<f64>) -> Result<Self> {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-nostdin", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]);
        command.args(["-s", &format!("{}x{}", like.width, like.height), "-r", &like.rate, "-i", "pipe:0"]);
        if let Some(source) = sound {
            if let Some(seconds) = seconds {
                command.args(["-t", &seconds.to_string()]);
            }
            command.args(input(source)?).args(["-map", "1:a?", "-c:a", "copy"]);
        }
        // Players everywhere want halved colours, which want even sides: an odd one gets a row or column more.
        let mut filters = String::from("pad=ceil(iw/2)*2:ceil(ih/2)*2");
        if let Some(pixel) = &like.pixel {
            filters += &format!(",setsar={}", pixel.replace(':', "/"));
        }
        command.args(["-map", "0:v:0", "-vf", &filters, "-pix_fmt", "yuv420p"]);
        let to = path.to_str().with_context(|| format!("`{}` is no name for ffmpeg", path.display()))?;
        command.arg(format!("file:{to}")).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut ffmpeg = Ffmpeg::start(&mut command)?;
        let pipe = ffmpeg.child.stdin.take().context("ffmpeg has no input")?;
        Ok(Self { ffmpeg, pipe })
    }

    pub(crate) fn frame(&mut self, frame: &RgbImage) -> Result<()> {
        match self.pipe.write_all(frame) {
            // It has ended before us, and knows why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.ffmpeg.finish()?;
                bail!("ffmpeg ended before the video did")
            }
            written => written.context("cannot send frames to ffmpeg"),
        }
    }

    /// Ends the video.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { mut ffmpeg, pipe } = self;
        drop(pipe);
        ffmpeg.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(json: &str, seconds: Option<f64>) -> Result<Video, String> {
        Video::from_probe(serde_json::from_str(json).unwrap(), seconds).map_err(|error| error.to_string())
    }

    #[test]
    fn ffprobes_answer_is_understood() {
        let phone = r#"{"streams": [{"width": 1920, "height": 1080, "avg_frame_rate": "30000/1001",
            "sample_aspect_ratio": "1:1", "side_data_list": [{"rotation": -90}]}], "format": {"duration": "10.01"}}"#;
        let expected = Video { width: 1080, height: 1920, rate: "30000/1001".into(), pixel: None, frames: Some(300) };
        assert_eq!(probe(phone, None), Ok(expected.clone()));
        assert_eq!(probe(phone, Some(1.001)), Ok(Video { frames: Some(30), ..expected }));
        let dvd = r#"{"streams": [{"width": 720, "height": 576, "avg_frame_rate": "0/0", "r_frame_rate": "25/1",
            "sample_aspect_ratio": "16:15"}]}"#;
        let pixel = Some("16:15".into());
        assert_eq!(probe(dvd, None), Ok(Video { width: 720, height: 576, rate: "25/1".into(), pixel, frames: None }));
    }

    #[test]
    fn what_is_no_video_is_an_error() {
        assert!(probe("{}", None).unwrap_err().contains("no picture"));
        let large = r#"{"streams": [{"width": 20000, "height": 2, "avg_frame_rate": "1/1"}]}"#;
        assert!(probe(large, None).unwrap_err().contains("16384"));
        let still = r#"{"streams": [{"width": 2, "height": 2, "avg_frame_rate": "0/0"}]}"#;
        assert!(probe(still, None).unwrap_err().contains("frames a second"));
    }
}
