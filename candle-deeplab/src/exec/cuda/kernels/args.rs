//! The arguments of the kernels: the same structs as in their sources, field by field.

#[cfg(feature = "cuda")]
use candle_core::cuda::cudarc;

use crate::graph;

/// An address in the device's memory.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Address(pub(crate) u64);

/// Some channels of maps `[images, height, width, channels]`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct View {
    /// The first channel of the first pixel.
    pub(crate) data: Address,
    /// Numbers from one pixel to the next.
    pub(crate) pitch: u32,
    /// Pixels from one row to the next.
    pub(crate) row: u32,
    /// Pixels from one image to the next.
    pub(crate) image: u32,
    pub(crate) channels: u32,
    pub(crate) height: u32,
    pub(crate) width: u32,
}

/// Sliding windows along one axis.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Window {
    pub(crate) kernel: u32,
    pub(crate) stride: u32,
    pub(crate) dilation: u32,
    pub(crate) before: u32,
}

impl From<graph::Window> for Window {
    fn from(window: graph::Window) -> Self {
        let graph::Window { kernel, stride, dilation, before, .. } = window;
        let [kernel, stride, dilation, before] = [kernel, stride, dilation, before].map(|n| n as u32);
        Self { kernel, stride, dilation, before }
    }
}

/// Bilinear interpolation along one axis.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Axis {
    pub(crate) scale: f32,
    pub(crate) half: f32,
    pub(crate) inputs: u32,
}

impl Axis {
    /// The positions of [`graph::Axis::new`].
    pub(crate) fn new(from: usize, to: usize, align_corners: bool) -> Self {
        let half = if align_corners { 0.0 } else { 0.5 };
        Self { scale: graph::Axis::scale(from, to, align_corners), half, inputs: from as u32 }
    }
}

/// What each output along an axis is a weighted sum of.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Taps {
    pub(crate) starts: Address,
    pub(crate) counts: Address,
    pub(crate) weights: Address,
    pub(crate) most: u32,
    pub(crate) outputs: u32,
}

/// The normalisation of a channel's values, and the normalised values around the image.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Normalization {
    pub(crate) mean: [f32; 3],
    pub(crate) std: [f32; 3],
    pub(crate) padding: [f32; 3],
}

/// What [`Pointwise`] makes of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combination {
    /// There is no other number.
    Alone = 0,
    Plus = 1,
    Times = 2,
    /// The product with one number for each channel of an image.
    TimesChannel = 3,
}

/// What [`Pointwise`] applies last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Clamp = 0,
    HardSwish = 1,
    HardSigmoid = 2,
}

/// What has addresses.
trait Relocate {
    /// Replaces every address.
    fn relocate(&mut self, to: &mut dyn FnMut(Address) -> Address);
}

impl Relocate for Address {
    fn relocate(&mut self, to: &mut dyn FnMut(Address) -> Address) {
        *self = to(*self);
    }
}

impl Relocate for View {
    fn relocate(&mut self, to: &mut dyn FnMut(Address) -> Address) {
        self.data.relocate(to);
    }
}

impl Relocate for Taps {
    fn relocate(&mut self, to: &mut dyn FnMut(Address) -> Address) {
        [&mut self.starts, &mut self.counts, &mut self.weights].into_iter().for_each(|at| at.relocate(to));
    }
}

/// Defines the arguments of kernels. Fields with addresses come first, up to the bar.
macro_rules! arguments {
    ($($(#[$doc:meta])+ $name:ident { $($place:ident: $at:ty,)+ | $($field:ident: $type:ty,)* })+) => {
        $(
            $(#[$doc])+
            #[repr(C)]
            #[derive(Debug, Clone, Copy, PartialEq)]
            pub(crate) struct $name {
                $(pub(crate) $place: $at,)+
                $(pub(crate) $field: $type,)*
            }

            impl From<$name> for Args {
                fn from(args: $name) -> Self {
                    Self::$name(args)
                }
            }

            #[cfg(feature = "cuda")]
            // SAFETY: the struct is `repr(C)`, has only numbers, and is the one that its kernel takes.
            unsafe impl cudarc::driver::DeviceRepr for $name {}
        )+

        /// The arguments of a kernel.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(crate) enum Args {
            $($(#[$doc])+ $name($name),)+
        }

        impl Args {
            /// Replaces every address.
            pub(crate) fn relocate(&mut self, to: &mut dyn FnMut(Address) -> Address) {
                match self {
                    $(Self::$name(args) => { $(args.$place.relocate(to);)+ })+
                }
            }

            /// The struct that the kernel takes.
            #[cfg(test)]
            pub(crate) fn as_ptr(&self) -> *const std::ffi::c_void {
                match self {
                    $(Self::$name(args) => std::ptr::from_ref(args).cast(),)+
                }
            }

            /// Makes the struct the only argument of a launch.
            #[cfg(feature = "cuda")]
            pub(crate) fn push<'a>(&'a self, launch: &mut cudarc::driver::LaunchArgs<'a>) {
                use cudarc::driver::PushKernelArg;
                match self {
                    $(Self::$name(args) => { launch.arg(args); })+
                }
            }
        }
    };
}

arguments! {
    /// Depthwise convolution of a map.
    Depthwise {
        x: View, y: View, weights: Address, bias: Address,
        | v: Window, h: Window, images: u32, relu_input: u32, low: f32, high: f32,
    }
    /// Depthwise convolution of candle's tensors, and its gradients.
    DepthwisePlanes {
        x: Address, weights: Address, dy: Address, result: Address, parts: Address,
        | v: Window, h: Window, images: u32, channels: u32, height: u32, width: u32,
        out_height: u32, out_width: u32, part_count: u32,
    }
    /// The class of each pixel.
    Labels {
        x: View, ids: Address, not_finite: Address,
        | v: Axis, h: Axis, images: u32, height: u32, width: u32,
    }
    /// What the windows of a convolution see, as rows.
    Patches {
        x: View, rows: Address,
        | v: Window, h: Window, height: u32, width: u32, first: u32, pixels: u32, pitch: u32,
    }
    /// Pixels of 8 bits a channel to the network's input.
    Pixels {
        pixels: Address, y: View,
        | normalization: Normalization, images: u32, height: u32, width: u32,
    }
    /// The first half of resampling pixels.
    Columns {
        x: Address, y: Address, taps: Taps,
        | images: u32, height: u32, line: u32,
    }
    /// The second half of resampling pixels.
    Rows {
        x: Address, y: View, taps: Taps,
        | normalization: Normalization, images: u32, height: u32, width: u32,
    }
    /// A tensor of candle's to a map.
    FromPlanes {
        planes: Address, map: View,
        | images: u32,
    }
    /// A map to a tensor of candle's, resized.
    ToPlanes {
        map: View, planes: Address,
        | v: Axis, h: Axis, images: u32, height: u32, width: u32,
    }
    /// Sums, products, activations and copies.
    Pointwise {
        x: View, other: View, y: View,
        | images: u32, combination: u32, function: u32, low: f32, high: f32,
    }
    /// The maximum over windows.
    MaxPool {
        x: View, y: View,
        | v: Window, h: Window, images: u32,
    }
    /// The sums of strips of pixels.
    Sums {
        x: View, sums: Address,
        | images: u32, strips: u32,
    }
    /// The mean of a map from the sums of its strips.
    Mean {
        sums: Address, y: View,
        | images: u32, strips: u32, pixels: u32,
    }
    /// Bilinear resize of a map.
    Resize {
        x: View, y: View,
        | v: Axis, h: Axis, images: u32,
    }
}
