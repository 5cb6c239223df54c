//! `candle-deeplab segment`: one image in, one picture and a table of its classes out.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use candle_deeplab::DeepLab;
use candle_deeplab::mask::Found;
use candle_deeplab::segment::{Segmentation, Segmenter};
use serde::Serialize;

use crate::args::{Format, SegmentArgs};
use crate::exit::Exit;
use crate::output::{Output, Report};
use crate::resolve::Segment;

pub(crate) fn run(args: SegmentArgs) -> Result<Exit> {
    let output = Output::new(args.json, args.quiet);
    let job = Segment::resolve(args)?;
    let image = candle_deeplab::image::open(&job.image)
        .context("cannot read the image (JPEG, PNG, WebP, BMP and TIFF files can be read)")?;

    let start = Instant::now();
    let segmenter = Segmenter::new(load(&job)?);
    let loaded = start.elapsed();
    let segmentation = segmenter.segment(&image).context("cannot segment the image")?;
    let segmented = start.elapsed() - loaded;

    job.output.write(|file| match job.format {
        Format::Overlay => segmentation
            .overlay(job.opacity)
            .write_with_encoder(image::codecs::png::PngEncoder::new(file))
            .map_err(io::Error::other),
        Format::Mask => segmentation.write_mask(file),
        Format::Ids => segmentation.write_ids(file),
    })?;
    output.print(&Summary::new(&job, &segmentation, loaded, segmented)).context("cannot print the result")?;
    Ok(Exit::Success)
}

fn load(job: &Segment) -> Result<DeepLab> {
    let model = DeepLab::load(&job.weights, &job.device)
        .with_context(|| format!("cannot load the model in `{}`", job.weights.display()))?;
    match job.output_stride {
        Some(stride) => Ok(model.at_output_stride(stride)?),
        None => Ok(model),
    }
}

/// What there is to say about a segmented image.
#[derive(Debug, Serialize)]
struct Summary {
    image: String,
    width: u32,
    height: u32,
    output: String,
    format: Format,
    device: String,
    found: Vec<Found>,
    seconds: Seconds,
}

/// How long the two expensive parts took.
#[derive(Debug, Serialize)]
struct Seconds {
    load: f64,
    segment: f64,
}

impl Summary {
    fn new(job: &Segment, segmentation: &Segmentation, loaded: Duration, segmented: Duration) -> Self {
        Self {
            image: job.image.display().to_string(),
            width: segmentation.width(),
            height: segmentation.height(),
            output: job.output.path().display().to_string(),
            format: job.format,
            device: job.device_name.to_string(),
            found: segmentation.found(),
            seconds: Seconds { load: loaded.as_secs_f64(), segment: segmented.as_secs_f64() },
        }
    }
}

impl Report for Summary {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}: {}×{}", self.image, self.width, self.height)?;
        let widest = self.found.iter().map(|found| found.name.chars().count()).max().unwrap_or(0);
        for found in &self.found {
            writeln!(to, "  {:widest$}  {:>7}", found.name, percent(found.share))?;
        }
        let Seconds { load, segment } = self.seconds;
        writeln!(to, "wrote {} ({segment:.2} s on {}, {load:.2} s to load the model)", self.output, self.device)
    }
}

/// A share with one decimal; what would round to nothing is still shown to be something.
fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent < 0.05 => "<0.1 %".into(),
        percent => format!("{percent:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let found = |class, name: &str, pixels, share| Found { class, name: name.into(), pixels, share, bbox: [0; 4] };
        Summary {
            image: "in/cat.jpg".into(),
            width: 4000,
            height: 1000,
            output: "cat.overlay.png".into(),
            format: Format::Overlay,
            device: "cpu".into(),
            found: vec![
                found(0, "background", 2_999_000, 0.74975),
                found(8, "cat", 1_000_000, 0.25),
                found(18, "sofa", 1000, 0.00025),
            ],
            seconds: Seconds { load: 0.123, segment: 1.5 },
        }
    }

    #[test]
    fn the_table_is_aligned() {
        let mut text = vec![];
        summary().text(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "\
in/cat.jpg: 4000×1000
  background   75.0 %
  cat          25.0 %
  sofa         <0.1 %
wrote cat.overlay.png (1.50 s on cpu, 0.12 s to load the model)
"
        );
    }

    #[test]
    fn json_says_the_same() {
        let value: serde_json::Value = serde_json::to_value(summary()).unwrap();
        assert_eq!(value["output"], "cat.overlay.png");
        assert_eq!(value["format"], "overlay");
        assert_eq!(
            value["found"][1],
            serde_json::json!({"class": 8, "name": "cat", "pixels": 1_000_000, "share": 0.25, "bbox": [0, 0, 0, 0]})
        );
        assert_eq!(value["seconds"]["segment"], 1.5);
    }

    #[test]
    fn small_shares_do_not_vanish() {
        let shown = [1.0, 0.123_44, 0.0005, 0.000_499, 1e-9].map(percent);
        assert_eq!(shown, ["100.0 %", "12.3 %", "0.1 %", "<0.1 %", "<0.1 %"]);
    }
}
