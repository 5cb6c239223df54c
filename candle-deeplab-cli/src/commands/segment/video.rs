//! Segments videos, streams and cameras frame by frame.

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use candle_deeplab::graph::Size;
use candle_deeplab::segment::Segmented;

use super::engine::{self, Engine};
use super::plan::Job;
use super::report::Film;
use super::sinks::Sink;
use super::style::Style;
use crate::budget::Budget;
use crate::exit;
use crate::ffmpeg::{Reader, Video};
use crate::interrupt;
use crate::progress::Progress;

/// How many frames may wait between two of reading, segmenting and writing.
const WAITING: usize = 2;

/// Segments a video. Reading, segmenting and writing overlap; the outputs appear when they are complete.
pub(super) fn segment(
    job: &Job,
    engine: &Engine,
    style: &Style,
    budget: &Budget,
    seconds: Option<f64>,
    device: String,
    hide_progress: bool,
) -> Result<Film> {
    let source = &job.input.source;
    let video = Video::probe(source, seconds)?;
    let size = Size::new(video.height as usize, video.width as usize);
    // The reader and the segmenter have a frame each and so has the writer, and others wait between them.
    let (waiting, pixels) = (WAITING as u64 + 1, 3 * size.area() as u64);
    let claim = budget.claim(size, (pixels.saturating_add(engine.kept(size))).saturating_mul(waiting + 1))?;
    let limit = budget.network(claim.bytes);
    let style = &style.for_film();
    // A camera or stream runs until Ctrl-C, and what was recorded is kept.
    let _recording = (!video.is_finite).then(interrupt::recording);
    let sinks = job.targets.iter().map(|target| Sink::new(target, job, &video, style, seconds));
    let mut sinks = sinks.collect::<Result<Vec<_>>>()?;
    let mut reader = Reader::new(source, &video, seconds)?;
    let progress = Progress::new(video.frames, "frames", hide_progress)?;
    let start = Instant::now();
    let mut frames = 0;
    thread::scope(|scope| {
        let (read, to_segment) = sync_channel(WAITING);
        let (segmented, to_write) = sync_channel::<Segmented>(WAITING);
        let reading = scope.spawn(move || {
            while !interrupt::stopped() {
                let Some(frame) = reader.frame()? else { break };
                if read.send(frame).is_err() {
                    break;
                }
            }
            anyhow::Ok(())
        });
        let (sinks, video) = (&mut sinks, &video);
        let writing = scope.spawn(move || {
            for (answer, number) in to_write.iter().zip(1..) {
                sinks.iter_mut().try_for_each(|sink| sink.frame(job, video, number, &answer, style))?;
            }
            anyhow::Ok(())
        });
        let segmenting = (|| {
            for frame in to_segment {
                let answer = engine.segment(frame, limit)?;
                if engine.has_hard_edges(&answer) && frames == 0 && !hide_progress {
                    exit::say(&format!("{}: {}", job.input.shown(), engine::HARD_EDGES));
                }
                if segmented.send(answer).is_err() {
                    break;
                }
                frames += 1;
                progress.step();
            }
            anyhow::Ok(())
        })();
        // Closes the channel, which ends the writer.
        drop(segmented);
        let crashed = |_| anyhow!("a thread crashed");
        // An error late in the chain ends the earlier stages, so the last stage's error is the cause.
        writing.join().map_err(crashed)??;
        segmenting?;
        reading.join().map_err(crashed)?
    })?;
    drop(progress);
    if frames == 0 {
        bail!("there are no frames in it");
    }
    sinks.into_iter().try_for_each(|sink| sink.finish(frames, style))?;
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
