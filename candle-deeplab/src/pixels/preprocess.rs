//! Turns an image into a network's input.

use std::borrow::Cow;

use candle_core::{Device, Tensor};
use image::RgbImage;
use image::imageops::{self, FilterType};
use rayon::prelude::*;

use super::{Geometry, Size};
use crate::config::{Filter, Preprocessing};
use crate::error::{Error, Result};

/// A network's input and where the image lies in it.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// `[1, 3, H, W]` f32: red, green, blue; preprocessed and padded.
    pub pixels: Tensor,
    /// Where the image lies in `pixels`, and its own size.
    pub geometry: Geometry,
}

impl Preprocessing {
    /// Turns an image into a network's input: resizes it by the size rule, normalises each channel as
    /// `(value − mean) / std`, and pads below and to the right.
    ///
    /// An image that already has the right size is not resampled. The filters are those of the `image` crate,
    /// antialiased when scaling down as Pillow's are; the two agree to within rounding.
    ///
    /// # Errors
    /// [`Error::Input`] for an image without pixels, [`Error::Config`] for a preprocessing that is not valid,
    /// [`Error::Candle`] where the device has no room for the input.
    pub fn prepare(&self, image: &RgbImage, device: &Device) -> Result<Prepared> {
        let size = Size { height: image.height() as usize, width: image.width() as usize };
        if size.area() == 0 {
            return Err(Error::Input { shape: vec![1, 3, size.height, size.width] });
        }
        self.validate().map_err(|reason| Error::config(std::path::Path::new("preprocessing"), reason))?;
        let geometry = Geometry::new(self.size, size);
        let resized = self.resize(image, geometry.valid);
        let Size { height, width } = geometry.input;
        let values = self.normalize(&resized, geometry.input);
        let pixels = Tensor::from_vec(values, (1, 3, height, width), device)?;
        Ok(Prepared { pixels, geometry })
    }

    /// Resizes an image with the model's filter.
    pub(crate) fn resize<'a>(&self, image: &'a RgbImage, to: Size) -> Cow<'a, RgbImage> {
        let (width, height) = (to.width as u32, to.height as u32);
        if image.dimensions() == (width, height) {
            return Cow::Borrowed(image);
        }
        let filter = match self.filter {
            Filter::Bilinear => FilterType::Triangle,
            Filter::Lanczos => FilterType::Lanczos3,
        };
        Cow::Owned(imageops::resize(image, width, height, filter))
    }

    /// The normalised channels of the image, one after another, each padded to `input`.
    fn normalize(&self, image: &RgbImage, input: Size) -> Vec<f32> {
        let mut values = vec![0.0; 3 * input.area()];
        let row_bytes = 3 * image.width() as usize;
        for (channel, plane) in values.chunks_exact_mut(input.area()).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let table: [f32; 256] = std::array::from_fn(|value| (value as f32 - mean) / std);
            let padding = (self.pad_value[channel] - mean) / std;
            let rows = image.as_raw().par_chunks_exact(row_bytes);
            let (top, below) = plane.split_at_mut(image.height() as usize * input.width);
            top.par_chunks_exact_mut(input.width).zip(rows).for_each(|(to, from)| {
                let (valid, right) = to.split_at_mut(image.width() as usize);
                for (value, pixel) in valid.iter_mut().zip(from.chunks_exact(3)) {
                    *value = table[usize::from(pixel[channel])];
                }
                right.fill(padding);
            });
            below.fill(padding);
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::config::SizeRule;

    fn tensorflow(size: SizeRule) -> Preprocessing {
        Preprocessing { mean: [127.5; 3], std: [127.5; 3], pad_value: [127.5; 3], size, filter: Filter::Bilinear }
    }

    fn values(preprocessing: &Preprocessing, image: &RgbImage) -> Vec<Vec<Vec<f32>>> {
        let prepared = preprocessing.prepare(image, &Device::Cpu).unwrap();
        let Size { height, width } = prepared.geometry.input;
        assert_eq!(prepared.pixels.dims(), [1, 3, height, width]);
        prepared.pixels.squeeze(0).unwrap().to_vec3().unwrap()
    }

    #[test]
    fn every_value_is_scaled_as_tensorflow_scales_it() {
        let image = RgbImage::from_fn(256, 1, |x, _| Rgb([x as u8, 255 - x as u8, 7]));
        let planes = values(&tensorflow(SizeRule::Native { height: 1, width: 1 }), &image);
        for (channel, plane) in planes.iter().enumerate() {
            for (x, value) in plane[0].iter().enumerate() {
                let expected = [x, 255 - x, 7][channel] as f32 * 2.0 / 255.0 - 1.0;
                assert!((value - expected).abs() <= 1e-6, "{value} is not {expected}");
            }
        }
    }

    #[test]
    fn padding_lies_below_and_to_the_right_and_is_exactly_zero() {
        let image = RgbImage::from_pixel(2, 1, Rgb([255, 0, 255]));
        for plane in values(&tensorflow(SizeRule::Native { height: 3, width: 4 }), &image) {
            assert_eq!(plane[0][2..], [0.0; 2]);
            assert_eq!(plane[1..], [[0.0; 4], [0.0; 4]]);
            assert_eq!(plane[0][..2].iter().map(|v| v.abs()).collect::<Vec<_>>(), [1.0; 2]);
        }
    }

    #[test]
    fn each_channel_has_its_own_mean_std_and_padding() {
        let preprocessing = Preprocessing {
            mean: [10.0, 20.0, 30.0],
            std: [1.0, 2.0, 5.0],
            pad_value: [10.0, 22.0, 0.0],
            ..tensorflow(SizeRule::Native { height: 1, width: 2 })
        };
        let planes = values(&preprocessing, &RgbImage::from_pixel(1, 1, Rgb([11, 24, 40])));
        assert_eq!(planes, [[[1.0, 0.0]], [[2.0, 1.0]], [[2.0, -6.0]]]);
    }

    #[test]
    fn fit_resizes_then_pads() {
        let image = RgbImage::from_pixel(40, 20, Rgb([255; 3]));
        let prepared = tensorflow(SizeRule::Fit { height: 9, width: 9 }).prepare(&image, &Device::Cpu).unwrap();
        assert_eq!(prepared.geometry.valid, Size { height: 5, width: 9 });
        let plane: Vec<f32> = prepared.pixels.flatten_all().unwrap().to_vec1().unwrap()[..81].to_vec();
        assert_eq!(plane[..45], [1.0; 45]);
        assert_eq!(plane[45..], [0.0; 36]);
    }

    /// Bilinear, half-pixel: doubling [0, 200] gives 0, 50, 150, 200.
    #[test]
    fn resizing_is_half_pixel_bilinear() {
        let image = RgbImage::from_fn(2, 1, |x, _| Rgb([200 * x as u8; 3]));
        let preprocessing =
            Preprocessing { mean: [0.0; 3], std: [1.0; 3], ..tensorflow(SizeRule::Stretch { height: 1, width: 4 }) };
        assert_eq!(values(&preprocessing, &image)[0], [[0.0, 50.0, 150.0, 200.0]]);
    }

    #[test]
    fn lanczos_overshoots_at_edges_and_bilinear_does_not() {
        let image = RgbImage::from_fn(8, 1, |x, _| Rgb([if x < 4 { 50 } else { 200 }; 3]));
        let wide = SizeRule::Stretch { height: 1, width: 16 };
        let least = |filter| {
            let preprocessing = Preprocessing { mean: [0.0; 3], std: [1.0; 3], filter, ..tensorflow(wide) };
            values(&preprocessing, &image)[0][0].iter().copied().fold(f32::INFINITY, f32::min)
        };
        assert_eq!(least(Filter::Bilinear), 50.0);
        assert!(least(Filter::Lanczos) < 50.0);
    }

    #[test]
    fn an_image_of_the_networks_size_is_not_resampled() {
        let image = RgbImage::from_fn(5, 3, |x, y| Rgb([(17 * x + 50 * y) as u8, 3, 9]));
        for filter in [Filter::Bilinear, Filter::Lanczos] {
            let preprocessing = Preprocessing { filter, ..tensorflow(SizeRule::Fit { height: 3, width: 5 }) };
            assert!(matches!(preprocessing.resize(&image, Size { height: 3, width: 5 }), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn an_image_without_pixels_is_an_error() {
        let result = tensorflow(SizeRule::Fit { height: 3, width: 5 }).prepare(&RgbImage::new(0, 4), &Device::Cpu);
        assert!(matches!(result, Err(Error::Input { .. })));
    }
}
