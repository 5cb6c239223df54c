//! A log with one JSON object a line.
//!
//! Each line is written at once, so that a run that is killed leaves whole lines and at most a part of one at the end.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::lines::{self, Lines};

/// The key that every object has: the number of steps that are done.
pub const STEP: &str = "step";

/// The longest line, in bytes.
const MOST_LINE: u64 = 1 << 20;

/// A log that grows line by line.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens a log to be continued after `step` steps: lines of later steps, and a part of a line at the end, are cut.
    /// A log that does not exist begins empty.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read or written; [`Error::Data`] where a line before the last is no JSON
    /// object with a step.
    pub fn open(path: impl AsRef<Path>, step: usize) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path).map_err(Error::io(&path))?;
        let mut kept = 0;
        for line in Objects::new(&path, &file) {
            let line = line?;
            if line.step > step as u64 {
                break;
            }
            kept = line.end;
        }
        lines::cut(&path, &file, kept)?;
        Ok(Self { path, file })
    }

    /// Appends a line. `record` is a struct or map with the key [`STEP`], whose numbers are finite: JSON has no others.
    ///
    /// # Errors
    /// [`Error::Io`] where the line cannot be written.
    pub fn append(&mut self, record: &impl Serialize) -> Result<()> {
        lines::append(&self.path, &self.file, record)
    }
}

/// The objects of a log, in their order. A part of a line at the end is left out.
///
/// # Errors
/// As [`JsonLines::open`].
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Map<String, Value>>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::io(path))?;
    Objects::new(path, &file).map(|line| Ok(line?.object)).collect()
}

/// A line of a log.
struct Line {
    step: u64,
    object: Map<String, Value>,
    /// The place after it in the file.
    end: u64,
}

/// The lines of a log.
struct Objects<'a>(Lines<'a>);

impl<'a> Objects<'a> {
    fn new(path: &'a Path, file: &'a File) -> Self {
        Self(Lines::new(path, file, MOST_LINE))
    }

    fn read(&mut self) -> Result<Option<Line>> {
        let Some(text) = self.0.read()? else { return Ok(None) };
        let object = serde_json::from_slice::<Map<String, Value>>(text);
        let object = object.map_err(|error| self.0.wrong(&format!("is no JSON object ({error})")))?;
        let step = object.get(STEP).and_then(Value::as_u64).ok_or_else(|| self.0.wrong("has no `step`"))?;
        Ok(Some(Line { step, object, end: self.0.end() }))
    }
}

impl Iterator for Objects<'_> {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steps(path: &Path) -> Vec<u64> {
        read(path).unwrap().iter().map(|object| object[STEP].as_u64().unwrap()).collect()
    }

    fn log(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_resumed_log_is_that_of_a_run_that_never_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, resumed) = (dir.path().join("whole.jsonl"), dir.path().join("resumed.jsonl"));
        let append = |log: &mut JsonLines, steps: std::ops::RangeInclusive<usize>| {
            for step in steps {
                log.append(&json!({"step": step, "loss": 1.0 / step as f64})).unwrap();
                if step % 3 == 0 {
                    log.append(&json!({"step": step, "miou": 0.5})).unwrap();
                }
            }
        };
        append(&mut JsonLines::open(&whole, 0).unwrap(), 1..=9);
        append(&mut JsonLines::open(&resumed, 0).unwrap(), 1..=8);
        // The run went on after its checkpoint at step 6, and was killed within a line.
        let text = log(&resumed);
        std::fs::write(&resumed, &text[..text.len() - 5]).unwrap();
        append(&mut JsonLines::open(&resumed, 6).unwrap(), 7..=9);
        assert_eq!(log(&resumed), log(&whole));
        assert_eq!(steps(&whole), [1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9]);
    }

    #[test]
    fn any_part_of_a_line_at_the_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        let text = "{\"step\":1,\"loss\":0.5}\n{\"step\":2,\"loss\":0.25}\n";
        for len in 0..=text.len() {
            std::fs::write(&path, &text[..len]).unwrap();
            let whole = text[..len].matches('\n').count();
            assert_eq!(read(&path).unwrap().len(), whole);
            JsonLines::open(&path, 10).unwrap().append(&json!({"step": 9})).unwrap();
            assert_eq!(steps(&path).len(), whole + 1);
        }
    }

    #[test]
    fn a_damaged_line_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        for damaged in ["{\"step\":2", "[2]", "{\"loss\":2}", "{\"step\":-2}", ""] {
            let text = format!("{{\"step\":1}}\n{damaged}\n{{\"step\":3}}\n");
            std::fs::write(&path, &text).unwrap();
            let error = JsonLines::open(&path, 10).unwrap_err();
            assert!(matches!(&error, Error::Data { reason, .. } if reason.starts_with("line 2 ")), "{error}");
            assert_eq!(log(&path), text, "nothing is changed");
        }
        std::fs::write(&path, vec![b' '; (MOST_LINE + 10) as usize]).unwrap();
        assert!(matches!(read(&path), Err(Error::Data { .. })));
        assert!(matches!(read(dir.path().join("none.jsonl")), Err(Error::Io { .. })));
    }
}
