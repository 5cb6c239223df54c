//! Compares the output for a label map with that of numpy, pycocotools and shapely (`tests/golden/README.md`).

use serde_json::{Value, json};

use super::Polygon;
use crate::graph::Size;
use crate::labels::Labels;
use crate::segment::LabelMap;

const NPY: &[u8] = include_bytes!("../../tests/golden/masks/labels.npy");
const EXPECTED: &str = include_str!("../../tests/golden/masks/expected.json");

fn map() -> LabelMap {
    LabelMap::new(NPY[NPY.len() - 53 * 37..].to_vec(), Size::new(37, 53)).unwrap()
}

fn expected(what: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(EXPECTED).unwrap()[what].as_array().unwrap().clone()
}

#[test]
fn the_array_is_numpys() {
    let mut bytes = vec![];
    map().write_npy(&mut bytes).unwrap();
    assert_eq!(bytes, NPY);
}

#[test]
fn run_lengths_boxes_and_areas_are_pycocotools() {
    let (map, expected) = (map(), expected("rle"));
    let extents = map.extents();
    let ours = map.rle().into_iter().map(|(class, rle)| {
        let extent = extents[usize::from(class)].unwrap();
        json!({
            "class": class, "size": rle.size, "counts": rle.counts, "area": extent.pixels, "bbox": extent.bbox
        })
    });
    assert_eq!(ours.collect::<Vec<_>>(), expected);
}

/// The results that `tests/golden/coco/make_golden.py` has pycocotools load and evaluate.
#[test]
fn results_are_those_that_pycocotools_evaluates() {
    const GOLDEN: &str = include_str!("../../tests/golden/coco/results.json");
    let mut bytes = vec![];
    map().write_rle(&Labels::voc(), 397_133, None, &mut bytes).unwrap();
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), golden["results"]);
}

#[test]
fn regions_are_shapelys() {
    let describe = |class: u8, pixels: u64, Polygon { exterior, holes }: &Polygon| {
        let length = |ring: &Vec<[u32; 2]>| -> u32 {
            let next = ring.iter().cycle().skip(1);
            ring.iter().zip(next).map(|(a, b)| a[0].abs_diff(b[0]) + a[1].abs_diff(b[1])).sum()
        };
        let perimeter = length(exterior) + holes.iter().map(length).sum::<u32>();
        let side = |axis: usize| exterior.iter().map(move |point| point[axis]);
        let bounds = [side(0).min(), side(1).min(), side(0).max(), side(1).max()];
        json!({
            "class": class, "pixels": pixels, "perimeter": perimeter, "holes": holes.len(), "bounds": bounds
        })
    };
    let regions = map().regions();
    let ours = regions.iter().map(|region| describe(region.class, region.pixels, &region.polygon));
    assert_eq!(ours.collect::<Vec<_>>(), expected("regions"));
}
