//! What `ffprobe` says about a video.

use std::io::Read;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::process::{last_line, not_started};
use super::source;
use crate::input::Source;
use crate::program::Program;

/// The longest side that a video may have, in pixels.
const MAX_SIDE: u32 = 1 << 14;

/// Far more bytes than ffprobe's answer about any video has.
const MAX_ANSWER: u64 = 16 << 20;

/// What a video is like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Video {
    /// Of a frame in pixels, after rotation.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Frames per second as ffmpeg writes it: `30000/1001`.
    pub(super) rate: String,
    /// The same as a number.
    pub(crate) frames_per_second: f64,
    /// The aspect ratio of a pixel that is not square: `16:15`.
    pub(super) pixel: Option<String>,
    /// The approximate number of frames, if it is known.
    pub(crate) frames: Option<u64>,
    /// The codecs of the audio tracks.
    pub(super) sounds: Vec<String>,
    /// Whether it has an end, so that it can be read again from the beginning.
    pub(crate) is_finite: bool,
    /// Whether ffmpeg rotates the stored pictures.
    pub(super) turned: bool,
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
    #[serde(default)]
    codec_type: String,
    #[serde(default)]
    codec_name: String,
    width: Option<u32>,
    height: Option<u32>,
    avg_frame_rate: Option<String>,
    r_frame_rate: Option<String>,
    sample_aspect_ratio: Option<String>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Deserialize, Default)]
struct Disposition {
    /// 1 for cover art, which is not the video.
    #[serde(default)]
    attached_pic: u8,
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
    /// Reads the properties with `ffprobe`.
    pub(crate) fn probe(from: &Source, seconds: Option<f64>) -> Result<Self> {
        const ENTRIES: &str = "stream=codec_type,codec_name,width,height,avg_frame_rate,r_frame_rate,\
                               sample_aspect_ratio:stream_disposition=attached_pic:stream_side_data=rotation:\
                               format=duration";
        let mut command = Command::new("ffprobe");
        command.args(["-v", "error", "-show_entries", ENTRIES, "-of", "json"]);
        command.args(source::arguments(from)?).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut complaints = tempfile::tempfile().context("cannot make a temporary file")?;
        command.stderr(complaints.try_clone().context("cannot use a temporary file")?);
        let program = Program::start(&mut command).map_err(|error| not_started("ffprobe", error))?;
        let mut answer = vec![];
        let pipe = program.stdout().context("ffprobe has no output")?;
        pipe.take(MAX_ANSWER + 1).read_to_end(&mut answer).context("cannot read what ffprobe says")?;
        ensure!(answer.len() as u64 <= MAX_ANSWER, "ffprobe says more than {} MiB about it", MAX_ANSWER >> 20);
        if !program.wait().context("ffprobe is lost")?.success() {
            let said = last_line(&mut complaints).context("cannot read what ffprobe said")?;
            bail!("ffprobe cannot read it: {}", source::without_password(from, &said));
        }
        let probe = serde_json::from_slice(&answer).context("ffprobe answers with something else than JSON")?;
        Self::from_probe(probe, seconds)
    }

    fn from_probe(probe: Probe, seconds: Option<f64>) -> Result<Self> {
        let of_type = |wanted| probe.streams.iter().filter(move |stream: &&Stream| stream.codec_type == wanted);
        let sounds = of_type("audio").map(|stream| stream.codec_name.clone()).collect();
        let stream = of_type("video").find(|stream| stream.disposition.attached_pic == 0);
        let stream = stream.context("there is no picture in it")?;
        let (Some(mut width), Some(mut height)) = (stream.width, stream.height) else {
            bail!("ffprobe does not say how large its pictures are");
        };
        let sides = 1..=MAX_SIDE;
        ensure!(
            sides.contains(&width) && sides.contains(&height),
            "its pictures of {width}×{height} pixels are larger than {MAX_SIDE} a side"
        );
        let rotation = stream.side_data_list.iter().find_map(|data| data.rotation);
        let upright = (rotation.unwrap_or(0.0) / 90.0).round() as i64 % 2 == 0;
        if !upright {
            (width, height) = (height, width);
        }
        let rates = [&stream.avg_frame_rate, &stream.r_frame_rate].into_iter().flatten();
        let Some((rate, frames_per_second)) = rates.filter_map(|rate| Some((rate.clone(), fraction(rate)?))).next()
        else {
            bail!("ffprobe does not say how many frames a second it has");
        };
        let square = |pixel: &&String| fraction(&pixel.replace(':', "/")).is_none_or(|ratio| ratio == 1.0);
        let pixel = stream.sample_aspect_ratio.as_ref().filter(|pixel| upright && !square(pixel)).cloned();
        let duration = probe.format.duration.and_then(|duration| duration.parse::<f64>().ok());
        let known = [duration, seconds].into_iter().flatten().reduce(f64::min);
        let frames = known.map(|duration| (duration * frames_per_second).round().max(0.0) as u64);
        let (is_finite, turned) = (duration.is_some(), rotation.is_some());
        Ok(Self { width, height, rate, frames_per_second, pixel, frames, sounds, is_finite, turned })
    }
}

/// The value of `30000/1001` and the like, if it is above zero.
fn fraction(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/')?;
    let ratio = above.parse::<f64>().ok()? / below.parse::<f64>().ok()?;
    (ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(json: &str, seconds: Option<f64>) -> Result<Video, String> {
        Video::from_probe(serde_json::from_str(json).unwrap(), seconds).map_err(|error| error.to_string())
    }

    #[test]
    fn ffprobes_answer_is_understood() {
        let phone = r#"{"streams": [{"codec_type": "audio", "codec_name": "aac", "avg_frame_rate": "0/0"},
            {"codec_type": "video", "width": 500, "height": 500, "disposition": {"attached_pic": 1}},
            {"codec_type": "video", "width": 1920, "height": 1080, "avg_frame_rate": "30000/1001",
            "sample_aspect_ratio": "1:1", "side_data_list": [{"rotation": -90}]}], "format": {"duration": "10.01"}}"#;
        let expected = Video {
            width: 1080,
            height: 1920,
            rate: "30000/1001".into(),
            frames_per_second: 30000.0 / 1001.0,
            pixel: None,
            frames: Some(300),
            sounds: vec!["aac".into()],
            is_finite: true,
            turned: true,
        };
        assert_eq!(probe(phone, None), Ok(expected.clone()));
        assert_eq!(probe(phone, Some(1.001)), Ok(Video { frames: Some(30), ..expected }));
        let dvd = r#"{"streams": [{"codec_type": "video", "width": 720, "height": 576, "avg_frame_rate": "0/0",
            "r_frame_rate": "25/1", "sample_aspect_ratio": "16:15"}]}"#;
        let dvd = probe(dvd, None).unwrap();
        assert_eq!((dvd.width, dvd.height, dvd.rate.as_str()), (720, 576, "25/1"));
        assert_eq!((dvd.pixel.as_deref(), dvd.frames, dvd.is_finite), (Some("16:15"), None, false));
    }

    #[test]
    fn what_is_no_video_is_an_error() {
        assert!(probe("{}", None).unwrap_err().contains("no picture"));
        let song = r#"{"streams": [{"codec_type": "audio", "codec_name": "mp3"},
            {"codec_type": "video", "width": 9, "height": 9, "disposition": {"attached_pic": 1}}]}"#;
        assert!(probe(song, None).unwrap_err().contains("no picture"));
        let of = |stream: &str| probe(&format!(r#"{{"streams": [{{"codec_type": "video", {stream}}}]}}"#), None);
        let large = of(r#""width": 20000, "height": 2, "avg_frame_rate": "1/1""#);
        assert!(large.unwrap_err().contains("16384"));
        let still = of(r#""width": 2, "height": 2, "avg_frame_rate": "0/0""#);
        assert!(still.unwrap_err().contains("frames a second"));
    }
}
