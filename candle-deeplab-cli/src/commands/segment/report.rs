//! The reports of `segment`.

use std::io::{self, Write};
use std::time::Duration;

use candle_deeplab::mask::Coverage;
use candle_deeplab::segment::Tiles;
use serde::{Serialize, Serializer};

use super::target::Target;
use crate::args::Format;
use crate::output::Report;

/// The report on a segmented image.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) image: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) outputs: Vec<Written>,
    pub(super) device: String,
    #[serde(serialize_with = "tiles", skip_serializing_if = "Option::is_none")]
    pub(super) tiled: Option<(Tiles, usize)>,
    /// What was missing of the image, which was segmented all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) damaged: Option<String>,
    pub(super) found: Vec<Coverage>,
    /// Classes that were asked for but are not in the image.
    pub(super) absent: Vec<String>,
    /// Why the input counts as failed although it was segmented. Standard error has the same as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    pub(super) seconds: Seconds,
    /// Whether to print one line only, since it is one of many images.
    #[serde(skip)]
    pub(super) brief: bool,
}

/// A file that was written.
#[derive(Debug, Serialize)]
pub(super) struct Written {
    format: Format,
    path: String,
}

impl From<&Target> for Written {
    fn from(target: &Target) -> Self {
        Self { format: target.format, path: target.shown() }
    }
}

/// The time of each part. The parts of several images overlap.
#[derive(Debug, Default, Serialize)]
pub(super) struct Seconds {
    pub(super) load: f64,
    pub(super) read: f64,
    pub(super) segment: f64,
    pub(super) write: f64,
}

impl Seconds {
    /// The time of one image, from reading to the last output.
    fn total(&self) -> f64 {
        self.read + self.segment + self.write
    }
}

fn tiles<S: Serializer>(tiled: &Option<(Tiles, usize)>, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Shown {
        height: usize,
        width: usize,
        overlap: usize,
        count: usize,
    }
    let shown = |(tiles, count): (Tiles, usize)| {
        let size = tiles.size();
        Shown { height: size.height, width: size.width, overlap: tiles.overlap(), count }
    };
    tiled.map(shown).serialize(to)
}

impl Report for Summary {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        if let Some((tiles, count)) = self.tiled {
            let size = tiles.size();
            writeln!(
                to,
                "{}: cut into {count} tiles of {}×{} (overlap {}), since it would not fit into memory whole",
                self.image,
                size.width,
                size.height,
                tiles.overlap()
            )?;
        }
        if let Some(damage) = &self.damaged {
            writeln!(to, "{}: damaged: {damage}; its classes are those of what is there", self.image)?;
        }
        let outputs = match &self.outputs[..] {
            [] => "wrote nothing".into(),
            outputs => {
                format!("wrote {}", outputs.iter().map(|output| output.path.as_str()).collect::<Vec<_>>().join(", "))
            }
        };
        if self.brief {
            let absent = self.absent.iter().map(|name| format!(", no {name}")).collect::<String>();
            return writeln!(to, "{}: {}{absent}; {outputs}", self.image, brief(&self.found));
        }
        writeln!(to, "{}: {}×{}", self.image, self.width, self.height)?;
        let names = self.found.iter().map(|found| &found.name).chain(&self.absent);
        let widest = names.map(|name| name.chars().count()).max().unwrap_or(0);
        for found in &self.found {
            writeln!(to, "  {:widest$}  {:>7}", found.name, percent(found.share))?;
        }
        for name in &self.absent {
            writeln!(to, "  {name:widest$}  not in it")?;
        }
        let (total, load) = (self.seconds.total(), self.seconds.load);
        writeln!(to, "{outputs} ({total:.2} s on {}, {load:.2} s to load the model)", self.device)
    }
}

/// The largest classes, on one line.
fn brief(found: &[Coverage]) -> String {
    const SHOWN: usize = 4;
    let shown = |found: &Coverage| format!("{} {}", found.name, percent(found.share));
    let mut words: Vec<String> = found.iter().take(SHOWN).map(shown).collect();
    if found.len() > SHOWN {
        words.push(format!("{} more", found.len() - SHOWN));
    }
    words.join(", ")
}

/// A percentage with one decimal; a small share is not rounded to zero.
fn percent(share: f64) -> String {
    match 100.0 * share {
        percent if percent < 0.05 => "<0.1 %".into(),
        percent => format!("{percent:.1} %"),
    }
}

/// An input that could not be segmented. Standard error has the same as text.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    pub(super) image: String,
    pub(super) error: String,
    /// The message for people.
    #[serde(skip)]
    pub(super) message: String,
}

impl Report for Failure {
    fn text(&self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// The summary of a run over several images.
pub(super) struct Batch {
    pub(super) images: usize,
    pub(super) failed: usize,
    pub(super) took: Duration,
    pub(super) device: String,
}

impl Batch {
    pub(super) fn text(&self) -> String {
        let Self { images, failed, device, .. } = self;
        let seconds = self.took.as_secs_f64();
        let rate = *images as f64 / seconds.max(1e-9);
        let failed = if *failed == 0 { String::new() } else { format!(", {failed} failed") };
        let what = if *images == 1 { "image" } else { "images" };
        format!("{images} {what} in {seconds:.1} s, {rate:.1} a second on {device}{failed}")
    }
}

/// The report on a segmented video.
#[derive(Debug, Serialize)]
pub(super) struct Film {
    pub(super) video: String,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) frames: u64,
    pub(super) outputs: Vec<Written>,
    pub(super) device: String,
    pub(super) seconds: f64,
}

impl Report for Film {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let Self { video, width, height, frames, device, seconds, .. } = self;
        let rate = *frames as f64 / seconds.max(1e-9);
        writeln!(to, "{video}: {width}×{height}, {frames} frames in {seconds:.1} s, {rate:.1} a second on {device}")?;
        self.outputs.iter().try_for_each(|output| writeln!(to, "wrote {}", output.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let bbox = [0, 0, 9, 9];
        let found = |class, name: &str, pixels, share| Coverage { class, name: name.into(), pixels, share, bbox };
        let written = |format, path: &str| Written { format, path: path.into() };
        Summary {
            image: "in/cat.jpg".into(),
            width: 4000,
            height: 1000,
            outputs: vec![written(Format::Overlay, "cat.overlay.png"), written(Format::Rle, "cat.rle.json")],
            device: "cpu".into(),
            tiled: None,
            damaged: None,
            found: vec![
                found(0, "background", 2_999_000, 0.74975),
                found(8, "cat", 1_000_000, 0.25),
                found(18, "sofa", 1000, 0.00025),
            ],
            absent: vec![],
            error: None,
            seconds: Seconds { load: 0.123, read: 0.2, segment: 1.5, write: 0.05 },
            brief: false,
        }
    }

    fn text(report: &impl Report) -> String {
        let mut text = vec![];
        report.text(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_table_is_aligned() {
        assert_eq!(
            text(&summary()),
            "\
in/cat.jpg: 4000×1000
  background   75.0 %
  cat          25.0 %
  sofa         <0.1 %
wrote cat.overlay.png, cat.rle.json (1.75 s on cpu, 0.12 s to load the model)
"
        );
    }

    #[test]
    fn one_of_many_gets_a_line_and_tiles_are_said() {
        let mut summary = Summary { brief: true, ..summary() };
        let line = "in/cat.jpg: background 75.0 %, cat 25.0 %, sofa <0.1 %; wrote cat.overlay.png, cat.rle.json\n";
        assert_eq!(text(&summary), line);
        summary.tiled = Some((Tiles::new(513, 1025, 64).unwrap(), 6));
        assert!(text(&summary).starts_with("in/cat.jpg: cut into 6 tiles of 1025×513 (overlap 64), since"));
        let json = serde_json::to_value(summary).unwrap();
        assert_eq!(json["tiled"], serde_json::json!({"height": 513, "width": 1025, "overlap": 64, "count": 6}));
    }

    #[test]
    fn json_says_the_same() {
        let value = serde_json::to_value(summary()).unwrap();
        assert_eq!(value["outputs"][1], serde_json::json!({"format": "rle", "path": "cat.rle.json"}));
        assert_eq!((&value["found"][1]["name"], &value["found"][1]["pixels"]), (&"cat".into(), &1_000_000.into()));
        assert_eq!((value["seconds"]["segment"].as_f64(), value.get("tiled")), (Some(1.5), None));
    }

    #[test]
    fn classes_that_were_asked_for_and_are_not_there_are_said() {
        let absent = || vec!["diningtable".into(), "dog".into()];
        let said = text(&Summary { absent: absent(), outputs: vec![], ..summary() });
        assert!(said.contains("  cat           25.0 %\n"), "{said}");
        assert!(said.contains("  diningtable  not in it\n  dog          not in it\nwrote nothing (1.75 s"), "{said}");
        let said = text(&Summary { absent: absent(), brief: true, ..summary() });
        assert!(said.contains("sofa <0.1 %, no diningtable, no dog; wrote cat.overlay.png"), "{said}");
        let json = serde_json::to_value(Summary { absent: absent(), ..summary() }).unwrap();
        assert_eq!((&json["absent"], json.get("error")), (&serde_json::json!(["diningtable", "dog"]), None));
    }

    #[test]
    fn small_shares_do_not_vanish() {
        let shown = [1.0, 0.123_44, 0.0005, 0.000_499, 1e-9].map(percent);
        assert_eq!(shown, ["100.0 %", "12.3 %", "0.1 %", "<0.1 %", "<0.1 %"]);
    }
}
