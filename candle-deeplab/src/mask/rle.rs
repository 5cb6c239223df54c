//! COCO's run-length encoding.

use std::io::{self, Write};

use serde::Serialize;

use crate::graph::Size;
use crate::labels::{Labels, MAX_CLASSES};
use crate::segment::{LabelMap, Scores};

/// The pixels of one class in COCO's compressed run-length encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rle {
    /// Height and width of the image.
    pub size: [usize; 2],
    /// Compressed run lengths, as `pycocotools.mask.decode` reads them.
    pub counts: String,
}

/// A result as `COCO.loadRes` reads it. It has no `bbox` and no `area`: if there were a box, `loadRes` would take the
/// box's area for that of the pixels; without one, it measures both.
#[derive(Serialize)]
struct Result {
    image_id: u64,
    category_id: u8,
    category_name: String,
    segmentation: Rle,
    score: f64,
}

impl LabelMap {
    /// The pixels of each class in the image, in the order of the classes; ignored pixels included.
    pub fn rle(&self) -> Vec<(u8, Rle)> {
        let mut counts: Vec<Counts> = (0..MAX_CLASSES).map(|_| Counts::default()).collect();
        let Size { height, width } = self.size();
        // Runs go down a column and continue in the next one.
        let Some(&first) = self.ids().first() else { return vec![] };
        let (mut current, mut begin) = (first, 0);
        for x in 0..width {
            for y in 0..height {
                let (id, position) = (self.ids()[y * width + x], x * height + y);
                if id != current {
                    counts[usize::from(current)].run(begin, position);
                    (current, begin) = (id, position);
                }
            }
        }
        counts[usize::from(current)].run(begin, width * height);
        let size = [height, width];
        let found = (0..=u8::MAX).zip(counts).filter(|(_, counts)| counts.end > 0);
        found.map(|(class, counts)| (class, Rle { size, counts: counts.finish(width * height) })).collect()
    }

    /// Writes the drawn classes ([`Labels::draws`]) as COCO results, which `pycocotools` loads and evaluates: a JSON
    /// array with an object for each class in the image, of `image_id`, `category_id` (our class id), `category_name`,
    /// `segmentation` and `score`. `score` is the mean probability of the class over its pixels, or 1 without `scores`.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_rle(
        &self,
        labels: &Labels,
        image_id: u64,
        scores: Option<&Scores>,
        mut to: impl Write,
    ) -> io::Result<()> {
        let means = scores.map(|scores| scores.mean_probabilities(self.ids())).transpose()?;
        let score = |class: u8| means.as_ref().and_then(|means| means.get(usize::from(class))).copied().unwrap_or(1.0);
        let result = |(category_id, segmentation): (u8, Rle)| Result {
            image_id,
            category_id,
            category_name: labels.name(category_id),
            segmentation,
            score: score(category_id),
        };
        let drawn = self.rle().into_iter().filter(|(class, _)| labels.draws(*class));
        serde_json::to_writer(&mut to, &drawn.map(result).collect::<Vec<_>>())?;
        writeln!(to)
    }
}

/// Compresses the run lengths of one class, alternately without and with it: `rleToString` in the COCO API's
/// `maskApi.c`. From the fourth on, a length is stored as the difference to the one before last, in groups of five
/// bits, the lowest first, with a sign and a flag "more to come".
#[derive(Default)]
struct Counts {
    text: String,
    /// Where the last run of the class ended.
    end: usize,
    /// The last two lengths, and the number of lengths so far.
    last: [i64; 2],
    number: usize,
}

impl Counts {
    fn run(&mut self, begin: usize, end: usize) {
        self.push(begin - self.end);
        self.push(end - begin);
        self.end = end;
    }

    fn finish(mut self, pixels: usize) -> String {
        if self.end < pixels {
            self.push(pixels - self.end);
        }
        self.text
    }

    fn push(&mut self, length: usize) {
        let length = length as i64;
        let mut rest = if self.number > 2 { length - self.last[0] } else { length };
        self.last = [self.last[1], length];
        self.number += 1;
        loop {
            let bits = (rest & 0x1f) as u8;
            rest >>= 5;
            let more = rest != if bits & 0x10 == 0 { 0 } else { -1 };
            self.text.push(char::from(48 + bits + if more { 0x20 } else { 0 }));
            if !more {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(width: usize, ids: Vec<u8>) -> LabelMap {
        let height = ids.len() / width;
        LabelMap::new(ids, Size::new(height, width)).unwrap()
    }

    /// `rleFrString` and `rleDecode` of `maskApi.c`: the mask, row by row.
    fn decode(rle: &Rle) -> Vec<bool> {
        let (mut lengths, mut bytes) = (Vec::<i64>::new(), rle.counts.bytes().peekable());
        while bytes.peek().is_some() {
            let (mut length, mut shift) = (0i64, 0);
            for byte in bytes.by_ref() {
                let bits = i64::from(byte) - 48;
                length |= (bits & 0x1f) << shift;
                shift += 5;
                if bits & 0x20 == 0 {
                    if bits & 0x10 != 0 {
                        length |= -1 << shift;
                    }
                    break;
                }
            }
            if lengths.len() > 2 {
                length += lengths[lengths.len() - 2];
            }
            lengths.push(length);
        }
        let down: Vec<bool> =
            lengths.iter().enumerate().flat_map(|(i, n)| std::iter::repeat_n(i % 2 == 1, *n as usize)).collect();
        let [height, width] = rle.size;
        (0..height * width).map(|i| down[i % width * height + i / width]).collect()
    }

    #[test]
    fn every_class_is_found_again() {
        let ids: Vec<u8> = (0..70u32 * 50).map(|i| [0, 1, 15, 255][(i * i / 97 + i / 70) as usize % 4]).collect();
        let rle = map(70, ids.clone()).rle();
        assert_eq!(rle.iter().map(|(class, _)| *class).collect::<Vec<_>>(), [0, 1, 15, 255]);
        for (class, rle) in rle {
            assert_eq!(decode(&rle), ids.iter().map(|id| *id == class).collect::<Vec<_>>(), "{class}");
        }
    }

    /// What `pycocotools.mask.encode(numpy.asfortranarray(mask))` gives for these masks (pycocotools 2.0.11).
    #[test]
    fn counts_are_those_of_pycocotools() {
        let counts = |width, ids: Vec<u8>| map(width, ids).rle().pop().unwrap().1.counts;
        assert_eq!(counts(1, vec![1]), "01");
        assert_eq!(counts(3, vec![0, 1, 0, 0, 1, 1]), GOLDEN_SMALL);
        assert_eq!(counts(40, (0..1600).map(|i| u8::from(i / 40 > 10 && i % 40 < 35)).collect()), GOLDEN_BLOCK);
    }

    const GOLDEN_SMALL: &str = "221O";
    const GOLDEN_BLOCK: &str = ";m0;0000000000000000000000000000000000000000000000000000000000000000000m5";

    #[test]
    fn results_have_what_coco_wants() {
        let mut bytes = vec![];
        map(3, vec![0, 15, 15, 255, 15, 0]).write_rle(&Labels::voc(), 397_133, None, &mut bytes).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 1);
        assert_eq!(json[0]["image_id"], 397_133);
        assert_eq!((&json[0]["category_id"], &json[0]["category_name"]), (&15.into(), &"person".into()));
        assert_eq!((&json[0]["score"], &json[0]["segmentation"]["size"]), (&1.0.into(), &serde_json::json!([2, 3])));
        // `loadRes` would use them.
        assert!(json[0].get("bbox").is_none() && json[0].get("area").is_none());
    }
}
