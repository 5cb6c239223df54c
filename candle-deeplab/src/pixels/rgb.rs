//! Samples of any kind as 8-bit red, green and blue.

use image::{ColorType, DynamicImage, ImageBuffer, RgbImage};

/// Pixels that are converted at once.
const AT_ONCE: usize = 1 << 16;

/// Makes a picture of a decoder's samples, in their own memory unless it is too small. `None` where their kind is unknown,
/// or there is no memory.
pub(super) fn from_samples(mut samples: Vec<u8>, color: ColorType, width: u32, height: u32) -> Option<RgbImage> {
    let bytes = usize::from(color.bytes_per_pixel());
    if color == ColorType::Rgb8 {
        return RgbImage::from_raw(width, height, samples);
    }
    if bytes < 3 {
        let mut pixels = vec![];
        pixels.try_reserve_exact((samples.len() / bytes).checked_mul(3)?).ok()?;
        for part in samples.chunks(AT_ONCE * bytes) {
            pixels.extend(convert(part, color)?.into_raw());
        }
        return RgbImage::from_raw(width, height, pixels);
    }
    // What is written never reaches what is still to be read.
    let (mut read, mut written) = (0, 0);
    while read < samples.len() {
        let end = samples.len().min(read + AT_ONCE * bytes);
        let pixels = convert(&samples[read..end], color)?.into_raw();
        samples.get_mut(written..written + pixels.len())?.copy_from_slice(&pixels);
        (read, written) = (end, written + pixels.len());
    }
    samples.truncate(written);
    samples.shrink_to_fit();
    RgbImage::from_raw(width, height, samples)
}

/// Converts some pixels as `image` does.
fn convert(samples: &[u8], color: ColorType) -> Option<RgbImage> {
    let width = (samples.len() / usize::from(color.bytes_per_pixel())) as u32;
    let bytes = || samples.to_vec();
    let words = || samples.as_chunks().0.iter().map(|word| u16::from_ne_bytes(*word)).collect::<Vec<_>>();
    let floats = || samples.as_chunks().0.iter().map(|float| f32::from_ne_bytes(*float)).collect::<Vec<_>>();
    let row = match color {
        ColorType::L8 => ImageBuffer::from_raw(width, 1, bytes()).map(DynamicImage::ImageLuma8),
        ColorType::La8 => ImageBuffer::from_raw(width, 1, bytes()).map(DynamicImage::ImageLumaA8),
        ColorType::Rgb8 => ImageBuffer::from_raw(width, 1, bytes()).map(DynamicImage::ImageRgb8),
        ColorType::Rgba8 => ImageBuffer::from_raw(width, 1, bytes()).map(DynamicImage::ImageRgba8),
        ColorType::L16 => ImageBuffer::from_raw(width, 1, words()).map(DynamicImage::ImageLuma16),
        ColorType::La16 => ImageBuffer::from_raw(width, 1, words()).map(DynamicImage::ImageLumaA16),
        ColorType::Rgb16 => ImageBuffer::from_raw(width, 1, words()).map(DynamicImage::ImageRgb16),
        ColorType::Rgba16 => ImageBuffer::from_raw(width, 1, words()).map(DynamicImage::ImageRgba16),
        ColorType::Rgb32F => ImageBuffer::from_raw(width, 1, floats()).map(DynamicImage::ImageRgb32F),
        ColorType::Rgba32F => ImageBuffer::from_raw(width, 1, floats()).map(DynamicImage::ImageRgba32F),
        _ => None,
    };
    row.map(DynamicImage::into_rgb8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `image` converts a whole picture, over the border of what is converted at once, too.
    #[test]
    fn every_kind_becomes_what_image_makes_of_it() {
        let (width, height) = (300, 250);
        assert!((width * height) as usize > AT_ONCE);
        let gradient = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x * y / 7) as u8]));
        let rgb = DynamicImage::from(gradient);
        for picture in [
            DynamicImage::from(rgb.to_luma8()),
            rgb.to_luma_alpha8().into(),
            rgb.clone(),
            rgb.to_rgba8().into(),
            rgb.to_luma16().into(),
            rgb.to_luma_alpha16().into(),
            rgb.to_rgb16().into(),
            rgb.to_rgba16().into(),
            rgb.to_rgb32f().into(),
            rgb.to_rgba32f().into(),
        ] {
            let color = picture.color();
            let converted = from_samples(picture.as_bytes().to_vec(), color, width, height).unwrap();
            assert!(converted == picture.into_rgb8(), "{color:?}");
        }
    }
}
