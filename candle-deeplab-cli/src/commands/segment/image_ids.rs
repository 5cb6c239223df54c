//! The numbers of images in COCO results.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_deeplab::{Labels, atomic};
use serde::{Deserialize, Serialize};

use super::plan::Job;
use crate::input::Input;

/// The file name of the table of numbers.
const FILE: &str = "image_ids.json";

/// Larger than a table of a million images.
const MAX_BYTES: u64 = 256 << 20;

/// The number of each image: an array `images` as in COCO's annotation files, with `categories`, so that
/// `pycocotools.coco.COCO` reads the table.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Table {
    images: Vec<Image>,
    #[serde(default)]
    categories: Vec<Category>,
    #[serde(default)]
    annotations: [(); 0],
}

#[derive(Debug, Deserialize, Serialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Category {
    id: u64,
    name: String,
}

/// Numbers the images. If each file name is a different number, as COCO's are, the images get these. Otherwise they are
/// counted from 1, and a table in `folder` keeps the numbers, so that an image has the same one in the next run.
/// Without a folder the images are counted and no table is written.
pub(super) fn assign(jobs: &mut [Job], folder: Option<&Path>, labels: &Labels) -> Result<()> {
    let numbers: Vec<Option<u64>> = jobs.iter().map(|job| number_in_name(&job.input)).collect();
    let different: HashSet<u64> = numbers.iter().flatten().copied().collect();
    if different.len() == jobs.len() {
        jobs.iter_mut().zip(numbers).for_each(|(job, number)| job.image_id = number.unwrap_or_default());
        return Ok(());
    }
    let path = folder.map(|folder| folder.join(FILE));
    let mut table = path.as_deref().map_or(Ok(Table::default()), read)?;
    let mut known: HashMap<String, u64> =
        table.images.iter().map(|image| (image.file_name.clone(), image.id)).collect();
    let mut last = table.images.iter().map(|image| image.id).max().unwrap_or(0);
    for job in jobs {
        let file_name = job.name.to_string_lossy().replace('\\', "/");
        job.image_id = *known.entry(file_name).or_insert_with_key(|file_name| {
            last += 1;
            table.images.push(Image { id: last, file_name: file_name.clone() });
            last
        });
    }
    table.categories = (0..).zip(&labels.names).map(|(id, name)| Category { id, name: name.clone() }).collect();
    path.map_or(Ok(()), |path| write(&path, &table))
}

/// The number in an image's name: 397133 in `000000397133.jpg` and in `COCO_val2014_000000397133.jpg`.
fn number_in_name(input: &Input) -> Option<u64> {
    let name = input.relative.file_stem()?.to_str()?;
    let digits = name.strip_prefix("COCO_").and_then(|rest| rest.rsplit_once('_')).map_or(name, |(_, digits)| digits);
    // numpy reads ids as signed 64-bit integers.
    let number = |digits: &str| digits.parse().ok().filter(|number| *number <= i64::MAX as u64);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { number(digits) } else { None }
}

fn read(path: &Path) -> Result<Table> {
    let shown = path.display();
    let way_out = || {
        format!("`{shown}` is no table of image ids of this program: move it away, or choose another folder with `-o`")
    };
    let bytes = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Table::default()),
        Ok(found) if found.is_file() && found.len() <= MAX_BYTES => std::fs::read(path),
        Ok(_) => return Err(anyhow::anyhow!("it is too large")).with_context(way_out),
        Err(error) => Err(error),
    };
    let bytes = bytes.with_context(|| format!("cannot read `{shown}`"))?;
    let table: Table = serde_json::from_slice(&bytes).with_context(way_out)?;
    let (ids, names): (HashSet<u64>, HashSet<&str>) =
        table.images.iter().map(|image| (image.id, image.file_name.as_str())).unzip();
    let images = table.images.len();
    let usable = ids.len() == images && names.len() == images && ids.iter().all(|id| *id < u64::MAX / 2);
    ensure!(usable, "{}: an id or a name is in it twice", way_out());
    Ok(table)
}

fn write(path: &Path, table: &Table) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    }
    let _unfinished = crate::interrupt::writing();
    let content = |file: &mut std::io::BufWriter<&mut std::fs::File>| {
        serde_json::to_writer_pretty(&mut *file, table)?;
        writeln!(file)
    };
    atomic::write(path, content).context("cannot write the table of image ids")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Source;

    fn jobs(names: &[&str]) -> Vec<Job> {
        let job = |name: &&str| Job {
            input: Input { source: Source::File(name.into()), relative: name.into(), named: true },
            name: name.into(),
            targets: vec![],
            image_id: 0,
            is_wanted: true,
        };
        names.iter().map(job).collect()
    }

    fn ids(names: &[&str], folder: Option<&Path>) -> Result<Vec<u64>, String> {
        let mut jobs = jobs(names);
        assign(&mut jobs, folder, &Labels::voc()).map_err(|error| format!("{error:#}"))?;
        Ok(jobs.iter().map(|job| job.image_id).collect())
    }

    #[test]
    fn images_that_are_called_by_numbers_keep_them_and_need_no_table() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["000000397133.jpg", "COCO_val2014_000000000042.jpg", "sub/7.png"];
        assert_eq!(ids(&names, Some(dir.path())).unwrap(), [397_133, 42, 7]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn other_images_are_counted_and_the_table_remembers_them() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Some(dir.path());
        // One name without a number, or two names with the same one, suffice.
        assert_eq!(ids(&["cat.jpg", "000000397133.jpg"], folder).unwrap(), [1, 2]);
        assert_eq!(ids(&["a/7.jpg", "b/7.jpg", "cat.jpg"], folder).unwrap(), [3, 4, 1]);
        let table: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join(FILE)).unwrap()).unwrap();
        assert_eq!(table["images"][3], serde_json::json!({"id": 4, "file_name": "b/7.jpg"}));
        assert_eq!(table["categories"][15], serde_json::json!({"id": 15, "name": "person"}));
        assert_eq!(table["annotations"], serde_json::json!([]));
        // Outputs on standard output have no folder for the table.
        assert_eq!(ids(&["cat.jpg"], None).unwrap(), [1]);
    }

    #[test]
    fn a_file_that_is_no_table_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let twice = r#"{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}"#;
        let huge = format!(r#"{{"images": [{{"id": {}, "file_name": "a"}}]}}"#, u64::MAX);
        for content in ["", "[]", twice, &huge, r#"{"images": [{"id": "x"}]}"#] {
            std::fs::write(&path, content).unwrap();
            let said = ids(&["cat.jpg"], Some(dir.path())).unwrap_err();
            assert!(said.contains(FILE) && said.contains("`-o`"), "{said}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }
}
