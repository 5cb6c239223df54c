//! Label maps as PNGs whose pixel values are the class ids.

use std::io::{self, Write};

use png::ColorType;

use crate::graph::Size;
use crate::labels::Labels;
use crate::segment::LabelMap;

impl LabelMap {
    /// Writes the label map in the form that data sets use: an indexed 8-bit PNG whose indices are the class ids and
    /// whose palette has the classes' colours (see [`Labels::png_palette`]).
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_mask(&self, labels: &Labels, to: impl Write) -> io::Result<()> {
        self.write_png(to, ColorType::Indexed, Some(labels.png_palette().concat()))
    }

    /// Writes the label map as a grey 8-bit PNG whose values are the class ids, for programs that do not read palettes.
    /// It looks nearly black.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_ids(&self, to: impl Write) -> io::Result<()> {
        self.write_png(to, ColorType::Grayscale, None)
    }

    fn write_png(&self, to: impl Write, color: ColorType, palette: Option<Vec<u8>>) -> io::Result<()> {
        let Size { height, width } = self.size();
        let side = |side: usize| u32::try_from(side).map_err(io::Error::other);
        let mut encoder = png::Encoder::new(to, side(width)?, side(height)?);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        // Ids repeat along rows and down columns, so that slow compression gains little.
        encoder.set_compression(png::Compression::Fast);
        encoder.set_filter(png::Filter::Up);
        if let Some(palette) = palette {
            encoder.set_palette(palette);
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.ids())?;
        writer.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn map() -> LabelMap {
        LabelMap::new(vec![0, 1, 2, 15, 18, 0, 0, 9, 9, 255], Size::new(2, 5)).unwrap()
    }

    #[test]
    fn indices_are_ids_and_the_palette_is_the_data_sets() {
        let mut bytes = vec![];
        map().write_mask(&Labels::voc(), &mut bytes).unwrap();
        let (samples, color, palette) = read(&bytes);
        let palette = palette.unwrap();
        assert_eq!((samples.as_slice(), color), (map().ids(), ColorType::Indexed));
        assert_eq!(palette.len(), 3 * 256);
        assert_eq!(palette[3 * 15..][..3], [192, 128, 128]);
        assert_eq!(palette[3 * 255..], [224, 224, 192]);
    }

    #[test]
    fn other_palettes_go_on_in_black() {
        let mut bytes = vec![];
        map().write_mask(&Labels::cityscapes(), &mut bytes).unwrap();
        let palette = read(&bytes).2.unwrap();
        assert_eq!(palette[..6], [128, 64, 128, 244, 35, 232]);
        assert_eq!(palette[3 * 19..], [0; 3 * (256 - 19)]);
    }

    #[test]
    fn grey_values_are_ids() {
        let mut bytes = vec![];
        map().write_ids(&mut bytes).unwrap();
        assert_eq!(read(&bytes), (map().ids().to_vec(), ColorType::Grayscale, None));
    }

    #[test]
    fn a_failing_writer_is_reported() {
        let mut small = [0u8; 20];
        assert!(map().write_mask(&Labels::voc(), &mut small[..]).is_err());
    }
}
