//! What an evaluation has counted so far, in a file, so that it can go on after an interruption.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use candle_deeplab::Labels;
use serde::{Deserialize, Serialize};

use super::count::Counted;
use super::report::About;
use crate::error::{Error, Result};
use crate::lines::{self, Lines};

/// The longest line in bytes: 256 bands of 150 × 150 counts are far less.
const MAX_LINE: u64 = 256 << 20;
/// What the first line says of the form of the others.
const VERSION: u32 = 1;

/// A file with a line of JSON for what is evaluated, and one for the counts of each image.
///
/// A line that was not written to its end, since the program was killed, is dropped.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    file: File,
    /// What earlier runs have counted, by the images' names.
    pub(super) done: BTreeMap<String, Counted>,
}

/// The first line. Runs can go on with each other's counts if theirs are equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    about: About,
    classes: Vec<String>,
    trimap: Vec<u32>,
}

impl Header {
    /// What differs, for people.
    fn difference(&self, other: &Self) -> Option<String> {
        let About { model, digest, data, split, options } = &self.about;
        let same_model = match (digest, &other.about.digest) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => *model == other.about.model,
        };
        let quoted = |ours: &str, theirs: &str| format!("`{theirs}` and not `{ours}`");
        if !same_model {
            let what = if *model == other.about.model { "other weights or another config" } else { &other.about.model };
            Some(format!("the model was `{what}`"))
        } else if *data != other.about.data {
            Some(format!("the data set was {}", quoted(data, &other.about.data)))
        } else if *split != other.about.split {
            Some(format!("the split was {}", quoted(split, &other.about.split)))
        } else if *options != other.about.options {
            Some("the options of the model were others".into())
        } else if self.classes != other.classes {
            Some("the classes were others".into())
        } else if self.trimap != other.trimap {
            Some("the bands of the trimap were others".into())
        } else {
            None
        }
    }
}

impl State {
    /// Opens the file, or makes it. With `fresh`, what is in it is dropped.
    ///
    /// # Errors
    /// [`Error::Data`] where it is of another evaluation, is damaged, or another program is writing to it; [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, about: &About, labels: &Labels, widths: &[u32], fresh: bool) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(Error::io(&path))?;
        if !file.metadata().map_err(Error::io(&path))?.is_file() {
            return Err(Error::data(&path, "it is not a regular file: choose another folder for the results"));
        }
        lines::lock(&file, &path, "another evaluation is writing to it: wait for its end, or choose another folder")?;
        let header =
            Header { version: VERSION, about: about.clone(), classes: labels.names.clone(), trimap: widths.to_vec() };
        let mut state = Self { path, file, done: BTreeMap::new() };
        let end = if fresh { 0 } else { state.read(&header)? };
        lines::cut(&state.path, &state.file, end)?;
        if end == 0 {
            lines::append(&state.path, &state.file, &header)?;
        }
        Ok(state)
    }

    /// Reads what is there; gives the length of its whole lines.
    fn read(&mut self, expected: &Header) -> Result<u64> {
        let mut lines = Lines::new(&self.path, &self.file, MAX_LINE);
        let damaged = |number: usize| {
            let way_out = "remove the file, or add `--force` to evaluate anew";
            Error::data(&self.path, format!("line {number} is damaged: {way_out}"))
        };
        let fits = |counted: &Counted| {
            counted.confusion.classes() == expected.classes.len()
                && counted.trimap.as_ref().map_or(&[][..], |trimap| trimap.widths()) == expected.trimap
                && counted.seconds.is_finite()
        };
        let Some(line) = lines.read()? else { return Ok(0) };
        let header = serde_json::from_slice::<Header>(line).ok().filter(|header| header.version == VERSION);
        if let Some(difference) = expected.difference(&header.ok_or_else(|| damaged(1))?) {
            let reason = format!(
                "it is of another evaluation: {difference}. Choose another folder for the results, or replace these with \
                 `--force`"
            );
            return Err(Error::data(&self.path, reason));
        }
        while let Some(line) = lines.read()? {
            let counted = serde_json::from_slice::<Counted>(line).ok().filter(fits);
            let counted = counted.ok_or_else(|| damaged(lines.number()))?;
            self.done.insert(counted.name.clone(), counted);
        }
        Ok(lines.end())
    }

    /// Adds the counts of an image.
    pub(super) fn add(&mut self, counted: &Counted) -> Result<()> {
        lines::append(&self.path, &self.file, counted)
    }
}

#[cfg(test)]
mod tests {
    use candle_deeplab::metrics::Confusion;

    use super::*;

    fn counted(name: &str) -> Counted {
        let mut confusion = Confusion::new(3).unwrap();
        confusion.add(&[0, 1], &[0, 2], None).unwrap();
        Counted { name: name.into(), confusion, trimap: None, tiled: false, seconds: 0.25 }
    }

    fn about() -> About {
        About { model: "m".into(), digest: Some("12".into()), data: "d".into(), split: "val".into(), options: None }
    }

    fn open(path: &Path, about: &About, fresh: bool) -> Result<State> {
        State::open(path, about, &Labels::numbered(3), &[], fresh)
    }

    #[test]
    fn whole_lines_are_kept_and_a_half_one_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.jsonl");
        let mut state = open(&path, &about(), false).unwrap();
        assert!(state.done.is_empty());
        state.add(&counted("a")).unwrap();
        state.add(&counted("b")).unwrap();
        drop(state);
        let whole = std::fs::read(&path).unwrap();
        for cut in (0..whole.len()).step_by(5) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            let mut state = open(&path, &about(), false).unwrap();
            assert_eq!(state.done.len(), lines.saturating_sub(1), "{cut}");
            state.add(&counted("c")).unwrap();
            drop(state);
            assert_eq!(open(&path, &about(), false).unwrap().done["c"], counted("c"));
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(open(&path, &about(), true).unwrap().done.is_empty());
    }

    #[test]
    fn counts_of_another_evaluation_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.jsonl");
        open(&path, &about(), false).unwrap().add(&counted("a")).unwrap();
        let how = || How::new(&candle_deeplab::segment::Options::default(), "cpu", "eager");
        use super::super::report::How;
        for (other, says) in [
            (About { digest: Some("13".into()), ..about() }, "other weights"),
            (About { digest: None, model: "n".into(), ..about() }, "the model was `m`"),
            (About { data: "e".into(), ..about() }, "the data set was `d` and not `e`"),
            (About { split: "test".into(), ..about() }, "the split was `val` and not `test`"),
            (About { options: Some(how()), ..about() }, "the options"),
        ] {
            let said = open(&path, &other, false).unwrap_err().to_string();
            assert!(said.contains(says) && said.contains("--force") && said.contains("state.jsonl"), "{said}");
        }
        let said = State::open(&path, &about(), &Labels::numbered(3), &[1], false).unwrap_err().to_string();
        assert!(said.contains("trimap"), "{said}");
        // The same weights by another name.
        assert_eq!(open(&path, &About { model: "n".into(), ..about() }, false).unwrap().done.len(), 1);
    }

    #[test]
    fn a_damaged_line_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.jsonl");
        open(&path, &about(), false).unwrap().add(&counted("a")).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        let wrong = whole.replace("[0,0,1]", "[0,7,1]");
        assert_ne!(wrong, whole);
        for text in [wrong, "{}\n".into(), whole.replace("\"version\":1", "\"version\":2"), format!("{whole}x\n")] {
            std::fs::write(&path, text).unwrap();
            let said = open(&path, &about(), false).unwrap_err().to_string();
            assert!(said.contains("is damaged") && said.contains("--force"), "{said}");
        }
    }

    #[test]
    fn only_one_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.jsonl");
        let _first = open(&path, &about(), false).unwrap();
        let said = open(&path, &about(), true).unwrap_err().to_string();
        assert!(said.contains("another evaluation is writing"), "{said}");
    }
}
