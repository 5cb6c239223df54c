//! How a network sees images, for every command that segments.

use clap::Args;

use super::number::{MOST_THREADS, count, output_stride, size};
use super::{DeviceName, DtypeName, ExecutorName};

#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Where the network runs: auto, cpu, cuda, cuda:N or metal
    ///
    /// auto is CUDA, else Metal, else the CPU: the first that this program was built for and that works.
    #[arg(long, value_name = "NAME", default_value = "auto", help_heading = "Model")]
    pub(crate) device: DeviceName,

    /// Run the network at another output stride, 8, 16 or 32: less is finer and slower [default: the model's own]
    #[arg(long, value_name = "STRIDE", value_parser = output_stride, help_heading = "Model")]
    pub(crate) output_stride: Option<usize>,

    /// Look at the image at several scales and average, e.g. 0.5,0.75,1,1.25,1.5,1.75: better and slower
    #[arg(long, value_name = "SCALES", value_delimiter = ',', value_parser = scale, help_heading = "Model")]
    pub(crate) scales: Vec<f64>,

    /// Look at the mirror image, too, and average
    #[arg(long, help_heading = "Model")]
    pub(crate) flip: bool,

    /// Cut images into tiles that go through the network at their own size, about that of its training images: 513x1025,
    /// or 513 for a square
    ///
    /// Without it the model's size rule holds: most models see an image scaled to 513 pixels or so. Models that see
    /// images at full size (Cityscapes) get tiles by themselves where memory would not do; it is then said.
    #[arg(long, value_name = "HxW", value_parser = size, help_heading = "Model")]
    pub(crate) tile: Option<(usize, usize)>,

    /// Pixels that neighbouring tiles share; their answers are averaged there
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Model")]
    pub(crate) overlap: usize,

    /// Threads for the network [default: one a core, or RAYON_NUM_THREADS]
    #[arg(long, value_name = "N", value_parser = count::<MOST_THREADS>, help_heading = "Model")]
    pub(crate) threads: Option<usize>,

    /// The numbers that the network computes in
    #[arg(long, value_enum, default_value_t = DtypeName::F32, help_heading = "Model")]
    pub(crate) dtype: DtypeName,

    /// What runs the network
    #[arg(long, value_enum, default_value_t = ExecutorName::Auto, help_heading = "Model")]
    pub(crate) executor: ExecutorName,
}

fn scale(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|scale: &f64| *scale > 0.0 && *scale <= 8.0);
    number.ok_or_else(|| "each must be a number above 0, at most 8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_checked() {
        assert_eq!(scale("0.5"), Ok(0.5));
        assert!(["0", "-1", "nan", "inf", "9", ""].into_iter().all(|text| scale(text).is_err()));
    }
}
