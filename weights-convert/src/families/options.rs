//! What a conversion is told beyond the file.

/// What the user knows and a file does not tell. Each option overrides what would be inferred.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The name of the family, as reports give it, where the names in the file would be taken for another family's.
    pub family: Option<String>,
    /// The output stride (input size over feature size) that the network was trained for: 8, 16 or 32.
    pub output_stride: Option<usize>,
    /// Dilations of the ASPP's atrous branches at that output stride.
    pub atrous_rates: Option<Vec<usize>>,
    /// Whether corner pixels keep their place when resizing.
    pub align_corners: Option<bool>,
    /// Extra dilations of the last block's three units.
    pub multi_grid: Option<[usize; 3]>,
    /// A known data set (`voc`, `cityscapes`, `ade20k`) or a file of class names.
    pub labels: Option<String>,
    /// Height and width of the network's input.
    pub input_size: Option<(usize, usize)>,
    /// Leave out variables that no rule knows, instead of failing. A missing variable is always an error.
    pub ignore_unexpected: bool,
    /// Keep the auxiliary head that some networks were trained with. [`AUXILIARY`](candle_deeplab::arch::AUXILIARY) is
    /// the tap of its logits then; the answer stays the same.
    pub keep_auxiliary: bool,
    /// What the weights are stored as.
    pub dtype: WeightType,
    /// For the model card.
    pub card: Card,
}

/// The numbers that a converted model stores. Executors widen them to f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeightType {
    /// 32 bits: the values as they were.
    #[default]
    F32,
    /// 16 bits, with 11 bits of precision and a largest value of 65504: about half the size. Values are rounded to the
    /// nearest. Kernels with fewer than 32 products in a sum (depthwise ones, most stems), biases and norms stay in f32:
    /// there, rounding does not average out, and they are few.
    F16,
}

/// What a model card says that no file of weights tells. What is not known stays out of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Card {
    /// The licence of the weights, as the Hub calls it: `apache-2.0`.
    pub license: Option<String>,
    /// What the network was trained on, as the Hub calls it.
    pub datasets: Vec<String>,
    /// The mean IoU, in percent, that its authors published for the first of the data sets.
    pub miou: Option<f64>,
}
