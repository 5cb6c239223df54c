//! Prints tables of text.

use std::io::{self, Write};

/// Writes rows under headings in aligned columns; numbers are aligned right.
pub(crate) fn write(to: &mut dyn Write, headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let all = || std::iter::once(&headings).chain(rows);
    // The formatter takes no widths beyond 65535; what is longer than this is not aligned.
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0).min(500);
    let numeric = |column: usize| {
        let number = |text: &str| text == "–" || text.starts_with(|c: char| c.is_ascii_digit());
        !rows.is_empty() && rows.iter().all(|row| number(&row[column]))
    };
    let columns: Vec<(usize, bool)> = (0..headings.len()).map(|column| (width(column), numeric(column))).collect();
    for row in all() {
        let cell = |(text, (width, numeric)): (&String, &(usize, bool))| match numeric {
            true => format!("{text:>width$}"),
            false => format!("{text:width$}"),
        };
        let line = row.iter().zip(&columns).map(cell).collect::<Vec<_>>().join("  ");
        writeln!(to, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A size for people: 123456789 bytes are `123 MB`.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{} kB", count.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut text = vec![];
        let rows = [["a", "9.5", "x"], ["längst", "–", ""]].map(|row| row.map(String::from).to_vec());
        write(&mut text, &["name", "mIoU", "note"], &rows).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "name    mIoU  note\na        9.5  x\nlängst     –\n");
    }

    #[test]
    fn sizes_are_short() {
        let shown = [0, 999, 1_000, 10_300_000, 1_600_000_000].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1 kB", "10.3 MB", "1.6 GB"]);
    }
}
