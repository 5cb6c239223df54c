//! Label maps as PNGs whose pixel values are the class ids.

use std::io::{self, Write};

use png::ColorType;

use crate::segment::Segmentation;

impl Segmentation {
    /// Writes the label map as data sets keep theirs: an indexed 8-bit PNG whose indices are the class ids and whose
    /// palette has the classes' colours (see [`Labels::png_palette`](crate::labels::Labels::png_palette)).
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_mask(&self, to: impl Write) -> io::Result<()> {
        let palette = self.labels().png_palette().concat();
        write_png(to, self.ids(), self, ColorType::Indexed, Some(palette))
    }

    /// Writes the label map as a grey 8-bit PNG whose values are the class ids, for programs that do not read palettes.
    /// It looks nearly black.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_ids(&self, to: impl Write) -> io::Result<()> {
        write_png(to, self.ids(), self, ColorType::Grayscale, None)
    }
}

/// Writes 8-bit samples of a picture that is as large as the segmentation.
pub(super) fn write_png(
    to: impl Write,
    samples: &[u8],
    size: &Segmentation,
    color: ColorType,
    palette: Option<Vec<u8>>,
) -> io::Result<()> {
    let mut encoder = png::Encoder::new(to, size.width(), size.height());
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    // Ids repeat along rows and down columns: no filter helps, and the thorough way gains little.
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Up);
    if let Some(palette) = palette {
        encoder.set_palette(palette);
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(samples)?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::labels::Labels;

    /// The raw samples, the colour type and the palette, as a strict reader sees them.
    fn read(bytes: &[u8]) -> (Vec<u8>, ColorType, Option<Vec<u8>>) {
        let mut decoder = png::Decoder::new(io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::IDENTITY);
        let mut reader = decoder.read_info().unwrap();
        let mut samples = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut samples).unwrap();
        assert_eq!((info.width, info.height, info.bit_depth), (5, 2, png::BitDepth::Eight));
        (samples, info.color_type, reader.info().palette.as_ref().map(|palette| palette.to_vec()))
    }

    fn segmentation(labels: Labels) -> Segmentation {
        let ids = vec![0, 1, 2, 15, 18, 0, 0, 9, 9, 255];
        Segmentation::new(ids, labels, RgbImage::new(5, 2)).unwrap()
    }

    #[test]
    fn indices_are_ids_and_the_palette_is_the_data_sets() {
        let voc = segmentation(Labels::voc());
        let mut bytes = vec![];
        voc.write_mask(&mut bytes).unwrap();
        let (samples, color, palette) = read(&bytes);
        let palette = palette.unwrap();
        assert_eq!((samples.as_slice(), color), (voc.ids(), ColorType::Indexed));
        assert_eq!(palette.len(), 3 * 256);
        assert_eq!(palette[3 * 15..][..3], [192, 128, 128]);
        assert_eq!(palette[3 * 255..], [224, 224, 192]);
    }

    #[test]
    fn other_palettes_go_on_in_black() {
        let mut bytes = vec![];
        segmentation(Labels::cityscapes()).write_mask(&mut bytes).unwrap();
        let palette = read(&bytes).2.unwrap();
        assert_eq!(palette[..6], [128, 64, 128, 244, 35, 232]);
        assert_eq!(palette[3 * 19..], [0; 3 * (256 - 19)]);
    }

    #[test]
    fn grey_values_are_ids() {
        let voc = segmentation(Labels::voc());
        let mut bytes = vec![];
        voc.write_ids(&mut bytes).unwrap();
        assert_eq!(read(&bytes), (voc.ids().to_vec(), ColorType::Grayscale, None));
    }

    #[test]
    fn a_failing_writer_is_reported() {
        let mut small = [0u8; 20];
        assert!(segmentation(Labels::voc()).write_mask(&mut small[..]).is_err());
    }
}
