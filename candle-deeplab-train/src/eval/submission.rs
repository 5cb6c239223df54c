//! Label maps in the form that the servers of benchmarks take.

use std::path::{Path, PathBuf};

use candle_deeplab::{LabelMap, Labels, atomic};

use crate::data::CITYSCAPES_LABEL_IDS;
use crate::error::{Error, Result};

/// A benchmark that takes submissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Benchmark {
    /// Cityscapes' pixel-level task: PNGs of label ids, not train ids, whose names begin with city, sequence and frame, all in
    /// one folder (`evaluation/evalPixelLevelSemanticLabeling.py`).
    Cityscapes,
    /// PASCAL VOC 2012's comp6 (any training data): indexed PNGs in `results/VOC2012/Segmentation/comp6_SPLIT_cls`
    /// (development kit, section 11.1).
    Voc,
}

/// Label maps for a benchmark's server, in a folder.
#[derive(Debug, Clone)]
pub struct Submission {
    benchmark: Benchmark,
    folder: PathBuf,
    labels: Labels,
}

impl Submission {
    /// Makes the folder for a submission below `root`.
    ///
    /// # Errors
    /// [`Error::Data`] where the classes are not the benchmark's, [`Error::Io`].
    pub fn new(benchmark: Benchmark, root: &Path, split: &str, labels: &Labels) -> Result<Self> {
        let (name, classes) = match benchmark {
            Benchmark::Cityscapes => ("Cityscapes", CITYSCAPES_LABEL_IDS.len()),
            Benchmark::Voc => ("VOC", Labels::voc().names.len()),
        };
        let there = labels.names.len();
        if there != classes {
            let reason =
                format!("{name}'s server takes {classes} classes, and there are {there} (`{}`)", labels.dataset);
            return Err(Error::data(root, reason));
        }
        let folder = match benchmark {
            Benchmark::Cityscapes => root.to_owned(),
            Benchmark::Voc => {
                let place =
                    ["results", "VOC2012", "Segmentation"].iter().fold(root.to_owned(), |path, part| path.join(part));
                place.join(format!("comp6_{split}_cls"))
            }
        };
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let labels = if benchmark == Benchmark::Voc { Labels::voc() } else { labels.clone() };
        Ok(Self { benchmark, folder, labels })
    }

    /// The file of an image's label map. The server does not know folders of cities.
    pub fn path(&self, name: &str) -> PathBuf {
        let base = name.rsplit('/').next().unwrap_or(name);
        match self.benchmark {
            Benchmark::Cityscapes => self.folder.join(format!("{base}_pred_labelIds.png")),
            Benchmark::Voc => self.folder.join(format!("{base}.png")),
        }
    }

    /// Writes a label map whose ids are classes.
    ///
    /// # Errors
    /// [`Error::Data`] for an id without a class, [`Error::Model`] where the file cannot be written.
    pub(super) fn write(&self, name: &str, map: &LabelMap) -> Result<()> {
        let path = self.path(name);
        match self.benchmark {
            Benchmark::Voc => atomic::write(&path, |file| map.write_mask(&self.labels, file))?,
            Benchmark::Cityscapes => {
                let id = |class: &u8| {
                    let id = CITYSCAPES_LABEL_IDS.get(usize::from(*class)).copied();
                    id.ok_or_else(|| Error::data(&path, format!("id {class} is none of Cityscapes' 19 classes")))
                };
                let ids = map.ids().iter().map(id).collect::<Result<Vec<u8>>>()?;
                let map = LabelMap::new(ids, map.size())?;
                atomic::write(&path, |file| map.write_ids(file))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_deeplab::graph::Size;
    use image::DynamicImage;

    use super::*;

    #[test]
    fn cityscapes_gets_label_ids_in_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let submission = Submission::new(Benchmark::Cityscapes, dir.path(), "test", &Labels::cityscapes()).unwrap();
        let map = LabelMap::new(vec![0, 10, 13, 18], Size::new(2, 2)).unwrap();
        submission.write("berlin/berlin_000001_000019", &map).unwrap();
        let file = dir.path().join("berlin_000001_000019_pred_labelIds.png");
        let DynamicImage::ImageLuma8(image) = image::open(file).unwrap() else { panic!("not 8-bit grey") };
        // Road, sky, car, bicycle.
        assert_eq!(image.into_raw(), [7, 23, 26, 33]);
        let wrong = LabelMap::new(vec![19], Size::new(1, 1)).unwrap();
        assert!(submission.write("berlin/x", &wrong).unwrap_err().to_string().contains("id 19"));
        assert!(!submission.path("berlin/x").exists());
    }

    #[test]
    fn voc_gets_a_palette_where_the_development_kit_looks() {
        let dir = tempfile::tempdir().unwrap();
        let submission = Submission::new(Benchmark::Voc, dir.path(), "test", &Labels::numbered(21)).unwrap();
        submission.write("2008_000006", &LabelMap::new(vec![0, 15], Size::new(1, 2)).unwrap()).unwrap();
        let file = dir.path().join("results/VOC2012/Segmentation/comp6_test_cls/2008_000006.png");
        let mut decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(file).unwrap()));
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info().unwrap();
        let palette = reader.info().palette.as_ref().unwrap().to_vec();
        assert_eq!((reader.info().color_type, &palette[45..48]), (png::ColorType::Indexed, &[192, 128, 128][..]));
        let mut ids = [9; 2];
        reader.next_frame(&mut ids).unwrap();
        assert_eq!(ids, [0, 15]);
    }

    #[test]
    fn other_classes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let said = Submission::new(Benchmark::Voc, dir.path(), "test", &Labels::cityscapes()).unwrap_err().to_string();
        assert!(said.contains("21 classes, and there are 19 (`cityscapes`)"), "{said}");
    }
}
