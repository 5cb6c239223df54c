//! Videos and cameras, frame by frame.

use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use image::RgbImage;
use tempfile::TempPath;

use super::engine::Engine;
use super::plan::{Job, Target, already_there};
use super::report::Film;
use super::style::Style;
use crate::ffmpeg::{Reader, Video, Writer};
use crate::input::Source;
use crate::interrupt::{self, Unfinished};
use crate::progress::Progress;

/// Frames that wait between reading, segmenting and writing.
const WAITING: usize = 2;

/// Segments a video. Reading, segmenting and writing overlap; the outputs appear when they are whole.
pub(super) fn segment(
    job: &Job,
    engine: &Engine,
    style: &Style,
    seconds: Option<f64>,
    device: String,
    hide_progress: bool,
) -> Result<Film> {
    let source = &job.input.source;
    let video = Video::probe(source, seconds)?;
    let style = &style.for_film();
    let mut written = video.clone();
    written.height = style.film_height(video.width, video.height);
    let is_camera = matches!(source, Source::Camera(_));
    let _recording = is_camera.then(interrupt::recording);
    let mut reader = Reader::new(source, &video, seconds)?;
    let mut outputs =
        job.targets.iter().map(|target| Output::new(target, &written, source, seconds)).collect::<Result<Vec<_>>>()?;
    let progress = Progress::new(video.frames, "frames", hide_progress)?;
    let start = Instant::now();
    let mut frames = 0;
    thread::scope(|scope| {
        let (read, to_segment) = sync_channel(WAITING);
        let (segmented, to_write) = sync_channel::<Vec<RgbImage>>(WAITING);
        let reading = scope.spawn(move || {
            while !interrupt::stopped() {
                let Some(frame) = reader.frame()? else { break };
                if read.send(frame).is_err() {
                    break;
                }
            }
            anyhow::Ok(())
        });
        let writers = &mut outputs;
        let writing = scope.spawn(move || {
            for pictures in to_write {
                for (output, picture) in writers.iter_mut().zip(&pictures) {
                    output.writer.frame(picture)?;
                }
            }
            anyhow::Ok(())
        });
        let segmenting = (|| {
            for frame in to_segment {
                let segmentation = engine.segment(&frame.into())?.segmentation;
                let pictures = job.targets.iter().map(|target| style.picture(&segmentation, target.format)).collect();
                if segmented.send(pictures).is_err() {
                    break;
                }
                frames += 1;
                progress.step();
            }
            anyhow::Ok(())
        })();
        // The writer waits for more until this is gone.
        drop(segmented);
        let crashed = |_| anyhow!("a thread crashed");
        // What went wrong last in the chain stopped the others.
        writing.join().map_err(crashed)??;
        segmenting?;
        reading.join().map_err(crashed)?
    })?;
    drop(progress);
    if frames == 0 {
        bail!("there are no frames in it");
    }
    outputs.into_iter().try_for_each(|output| output.finish(style.replace))?;
    Ok(Film {
        video: job.input.shown(),
        width: video.width,
        height: video.height,
        frames,
        outputs: job.targets.iter().map(Into::into).collect(),
        device,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// A video that is written beside its target.
struct Output {
    writer: Writer,
    unfinished: Unfinished,
    target: PathBuf,
}

impl Output {
    fn new(target: &Target, video: &Video, source: &Source, seconds: Option<f64>) -> Result<Self> {
        let path = &target.path;
        let folder = path.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        }
        let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        // ffmpeg goes by the extension.
        let name = format!(".{}.{}.incomplete.{}", part(path.file_stem()), process::id(), part(path.extension()));
        let unfinished = interrupt::unfinished(folder.join(name));
        let sound = matches!(source, Source::Video(_)).then_some(source);
        let writer = Writer::new(unfinished.path(), video, sound, seconds)?;
        Ok(Self { writer, unfinished, target: path.clone() })
    }

    fn finish(self, replace: bool) -> Result<()> {
        let Self { writer, unfinished, target } = self;
        writer.finish()?;
        let _unfinished = interrupt::writing();
        let shown = || format!("cannot write `{}`", target.display());
        std::fs::File::open(unfinished.path()).and_then(|file| file.sync_all()).with_context(shown)?;
        let file = TempPath::try_from_path(unfinished.path()).with_context(shown)?;
        let renamed = if replace { file.persist(&target) } else { file.persist_noclobber(&target) };
        match renamed {
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
                bail!("{}", already_there(&target, ""))
            }
            renamed => renamed.with_context(shown),
        }
    }
}
