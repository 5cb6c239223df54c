//! Replaces the colours of classes.

use std::path::Path;

use super::{Labels, MAX_CLASSES};
use crate::error::{Error, Result};

/// The largest file in bytes. 256 colours are a few kilobytes; a larger file is something else.
const MAX_BYTES: u64 = 1 << 16;

impl Labels {
    /// These labels with other colours, one for each class in order; surplus colours are left out.
    ///
    /// # Errors
    /// A sentence that says how many colours are missing.
    pub fn with_palette(mut self, mut colors: Vec<[u8; 3]>) -> Result<Self, String> {
        let classes = self.names.len();
        if colors.len() < classes {
            return Err(format!("the palette has {} colours for {classes} classes", colors.len()));
        }
        colors.truncate(classes);
        self.palette = colors;
        Ok(self)
    }
}

/// Reads colours from a file, at most [`MAX_CLASSES`]: one per line, as `#rrggbb` or as red, green and blue from 0 to
/// 255, separated by spaces or commas. Empty lines are skipped. Class `i` gets the `i`-th colour, and so does the
/// background.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("palette.txt");
/// std::fs::write(&path, "#000000\n#ff8800\n0 136 255\n")?;
/// assert_eq!(candle_deeplab::labels::read_palette(&path)?, [[0, 0, 0], [255, 136, 0], [0, 136, 255]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Io`] where the file cannot be read, [`Error::Labels`] where a line is not a colour, or there are too many.
pub fn read_palette(path: impl AsRef<Path>) -> Result<Vec<[u8; 3]>> {
    let path = path.as_ref();
    let wrong = |reason: String| Error::Labels { path: path.to_owned(), reason };
    let Some(text) = crate::file::read_text(path, MAX_BYTES)? else {
        return Err(wrong(format!("more than {MAX_BYTES} bytes is too large for a palette")));
    };
    let lines = text.trim_start_matches('\u{feff}').lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let color = |(line, number): (&str, usize)| {
        let shown: String = line.chars().take(40).collect();
        let reason =
            format!("line {number} is {shown:?}: write a colour as `#rrggbb` or as `red green blue`, 0 to 255");
        parse(line).ok_or_else(|| wrong(reason))
    };
    let colors = lines.map(color).collect::<Result<Vec<_>>>()?;
    match colors.len() {
        0 => Err(wrong("it is empty: write one colour a line, as `#rrggbb` or as `red green blue`".into())),
        1..=MAX_CLASSES => Ok(colors),
        many => Err(wrong(format!("{many} colours: label maps are 8-bit and have at most {MAX_CLASSES} classes"))),
    }
}

fn parse(line: &str) -> Option<[u8; 3]> {
    let line = line.trim();
    if let Some(digits) = line.strip_prefix('#') {
        let is_color = digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let [_, color @ ..] = u32::from_str_radix(digits, 16).ok().filter(|_| is_color)?.to_be_bytes();
        return Some(color);
    }
    let separated = line.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|part| !part.is_empty());
    let values = separated.map(|value| value.parse().ok()).collect::<Option<Vec<u8>>>()?;
    values.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Vec<[u8; 3]>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("palette.txt");
        std::fs::write(&path, content).unwrap();
        read_palette(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_colour_is_written_in_one_of_two_ways() {
        let colors = read("\u{feff}#ff8000\r\n\r\n 1 2  3\n4,5, 6\n#ABCDEF").unwrap();
        assert_eq!(colors, [[255, 128, 0], [1, 2, 3], [4, 5, 6], [0xab, 0xcd, 0xef]]);
    }

    #[test]
    fn what_is_no_colour_is_said_with_its_line() {
        for line in ["#ff80", "#+12345", "1 2", "1 2 3 4", "1 2 256", "-1 2 3", "red", "#ff80zz"] {
            let error = read(&format!("0 0 0\n{line}\n")).unwrap_err();
            assert!(error.contains("palette.txt: line 2 is"), "{line}: {error}");
        }
        assert!(read(" \n").unwrap_err().contains("it is empty"));
        assert!(read(&"0 0 0\n".repeat(257)).unwrap_err().contains("257 colours"));
        assert!(read(&" ".repeat(1 << 17)).unwrap_err().contains("too large"));
    }

    #[test]
    fn a_palette_has_a_colour_for_each_class() {
        let labels = Labels::cityscapes().with_palette(Labels::voc().palette).unwrap();
        assert_eq!((labels.palette.len(), labels.palette[1]), (19, [128, 0, 0]));
        let error = Labels::voc().with_palette(Labels::cityscapes().palette).unwrap_err();
        assert_eq!(error, "the palette has 19 colours for 21 classes");
    }
}
