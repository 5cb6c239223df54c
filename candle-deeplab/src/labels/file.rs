//! Reads labels from a user's file.

use std::path::Path;

use serde::Deserialize;

use super::{Labels, generated_palette};
use crate::error::{Error, Result};

/// The largest file in bytes. 256 names are a few kilobytes; a larger file is something else.
const MAX_BYTES: u64 = 1 << 20;

/// A JSON label file: the fields of [`Labels`], all but the names optional.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    dataset: Option<String>,
    names: Vec<String>,
    palette: Option<Vec<[u8; 3]>>,
    ignore: Option<u8>,
    background: Option<u8>,
}

impl Labels {
    /// Reads labels from a file in one of three forms: one name per line, a JSON array of names, or a JSON object with
    /// `names` and optionally `dataset`, `palette`, `ignore` and `background` (the form inside `config.json`).
    ///
    /// Missing fields are filled in: the file's stem names the data set, VOC's colour map gives the colours, and a
    /// class 0 that is called "background" is the background.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Labels`] where it has none of these forms.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |reason: String| Error::Labels { path: path.to_owned(), reason };
        let Some(text) = crate::file::read_text(path, MAX_BYTES)? else {
            return Err(wrong(format!("more than {MAX_BYTES} bytes is too large for a list of names")));
        };
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let labels = parse(&text, stem).map_err(wrong)?;
        labels.validate(labels.names.len()).map_err(wrong)?;
        Ok(labels)
    }
}

fn parse(text: &str, stem: String) -> Result<Labels, String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let json = |error: serde_json::Error| error.to_string();
    let object = match text.chars().next() {
        None => return Err("it is empty: write one class name a line".into()),
        Some('{') => serde_json::from_str(text).map_err(json)?,
        Some('[') => Object::named(serde_json::from_str(text).map_err(json)?),
        Some(_) => Object::named(text.lines().map(|line| line.trim().to_owned()).collect()),
    };
    // labelme writes `_background_`, torchvision `__background__`.
    let is_background = |name: &String| name.trim_matches('_').eq_ignore_ascii_case("background");
    let background = object.background.or_else(|| object.names.first().is_some_and(is_background).then_some(0));
    Ok(Labels {
        dataset: object.dataset.unwrap_or(stem),
        palette: object.palette.unwrap_or_else(|| generated_palette(object.names.len())),
        names: object.names,
        ignore: object.ignore,
        background,
    })
}

impl Object {
    fn named(names: Vec<String>) -> Self {
        Self { dataset: None, names, palette: None, ignore: None, background: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: impl AsRef<[u8]>) -> Result<Labels, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        Labels::from_file(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn one_name_a_line() {
        let labels = read("pets.txt", "\u{feff}background\r\ncat\r\nguinea pig\r\n\r\n").unwrap();
        assert_eq!(labels.dataset, "pets");
        assert_eq!(labels.names, ["background", "cat", "guinea pig"]);
        assert_eq!(labels.palette, Labels::voc().palette[..3]);
        assert_eq!((labels.ignore, labels.background), (None, Some(0)));
    }

    #[test]
    fn a_json_array_of_names() {
        let labels = read("pets.json", r#"["cat", "dog"]"#).unwrap();
        assert_eq!(labels.names, ["cat", "dog"]);
        assert_eq!(labels.background, None);
    }

    #[test]
    fn a_json_object_in_our_form() {
        for labels in [Labels::cityscapes(), Labels::ade20k()] {
            assert_eq!(read("x.json", serde_json::to_string(&labels).unwrap()), Ok(labels));
        }
        let short = read("x.json", r#"{"names": ["a", "b"], "palette": [[1, 2, 3], [4, 5, 6]], "ignore": 9}"#).unwrap();
        assert_eq!((short.palette[1], short.ignore), ([4, 5, 6], Some(9)));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_files_name() {
        let cases: [(&str, &[u8]); 8] = [
            ("empty", b" \n"),
            ("a blank line", b"cat\n\ndog"),
            ("too many", "x\n".repeat(257).leak().as_bytes()),
            ("unfinished", b"[\"cat\","),
            ("an unknown field", br#"{"names": ["a"], "colours": []}"#),
            ("too few colours", br#"{"names": ["a", "b"], "palette": [[0, 0, 0]]}"#),
            ("not text", b"\xff\xfe\0"),
            ("too large", &[b'a'; (MAX_BYTES + 1) as usize]),
        ];
        for (what, content) in cases {
            let error = read("bad.txt", content).expect_err(what);
            assert!(error.contains("bad.txt"), "{what}: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_an_io_error() {
        assert!(matches!(Labels::from_file("no/such/file"), Err(Error::Io { .. })));
    }
}
