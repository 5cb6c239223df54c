//! Pictures of what went wrong.

use candle_deeplab::mask::Style;
use candle_deeplab::{Labels, Segmentation};
use image::{GrayImage, Rgb, RgbImage, imageops};

use crate::data::IGNORE;
use crate::error::Result;

/// Where a class was taken for the background, which has no colour of its own.
const MISSED: [u8; 3] = [224, 32, 32];

/// White between panels, in pixels.
const GAP: u32 = 8;

/// A photograph with its labels and a prediction, side by side: the photograph, the labels over it, the prediction over it,
/// and the mistakes: what is right is pale grey, what is wrong has the colour of the predicted class (red for the
/// background), and what is not judged is dark grey.
///
/// # Errors
/// Where the three have not the same size, or ids are not those of the labels.
pub fn mistakes(image: &RgbImage, labels: &GrayImage, predicted: &[u8], names: &Labels) -> Result<RgbImage> {
    let named = Labels { ignore: Some(IGNORE), ..names.clone() };
    let style = Style { min_share: 0.0, ..Style::default() };
    let truth = Segmentation::new(labels.as_raw().clone(), named.clone(), image.clone())?;
    let found = Segmentation::new(predicted.to_vec(), named, image.clone())?;
    let colors = names.vivid();
    let mut wrong = image.clone();
    for ((pixel, label), id) in wrong.pixels_mut().zip(labels.iter()).zip(predicted) {
        let [red, green, blue] = pixel.0.map(u32::from);
        // Pale, so that colours stand out.
        let luma = ((54 * red + 183 * green + 19 * blue) >> 8) as u8;
        *pixel = Rgb(match *label {
            IGNORE => [luma / 4; 3],
            label if label == *id => [128 + luma / 2; 3],
            _ if names.background == Some(*id) => MISSED,
            _ => colors[usize::from(*id)],
        });
    }
    let (width, height) = image.dimensions();
    let mut sheet = RgbImage::from_pixel(4 * width + 3 * GAP, height, Rgb([255; 3]));
    for (panel, place) in [image.clone(), truth.overlay(&style), found.overlay(&style), wrong].iter().zip(0..) {
        imageops::replace(&mut sheet, panel, i64::from(place * (width + GAP)), 0);
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_have_the_colour_of_the_prediction() {
        let image = RgbImage::from_pixel(2, 2, Rgb([90; 3]));
        let labels = GrayImage::from_raw(2, 2, vec![0, 1, 1, IGNORE]).unwrap();
        let names = Labels::numbered(3);
        let sheet = mistakes(&image, &labels, &[0, 1, 2, 0], &names).unwrap();
        assert_eq!(sheet.dimensions(), (4 * 2 + 3 * GAP, 2));
        let left = 3 * (2 + GAP);
        let at = |x: u32, y: u32| sheet.get_pixel(left + x, y).0;
        assert_eq!([at(0, 0), at(1, 0), at(1, 1)], [[173; 3], [173; 3], [22; 3]]);
        assert_eq!(at(0, 1), names.vivid()[2]);
        assert_eq!(sheet.get_pixel(0, 0).0, [90; 3]);
        let missed =
            mistakes(&image, &labels, &[0, 0, 1, 0], &Labels { background: Some(0), ..names.clone() }).unwrap();
        assert_eq!(missed.get_pixel(left + 1, 0).0, MISSED);
        assert!(mistakes(&image, &labels, &[0, 1, 2], &names).is_err());
        assert!(mistakes(&image, &labels, &[0, 1, 9, 0], &names).is_err());
    }
}
