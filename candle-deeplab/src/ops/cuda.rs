//! Depthwise convolution on a GPU, by the kernels in `depthwise_planes.cu`: one launch instead of nine passes over the map,
//! and one or two for each gradient. **They have not yet run on a GPU**, so a variable has to ask for them.

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::cuda::CudaDType;
use candle_core::cuda::cudarc::driver::{DevicePtr, DevicePtrMut, DeviceRepr};
use candle_core::op::BackpropOp;
use candle_core::{CudaStorage, Layout, Result, Storage, Tensor, bail};
use half::{bf16, f16};

use super::depthwise::Depthwise;
use crate::exec::cuda::kernels::{Address, DepthwisePlanes, Launch, Module, Number};

/// The variable that turns the kernels on, if it is `1`.
const VARIABLE: &str = "CANDLE_DEEPLAB_CUDA_DEPTHWISE";

/// Pixels of a result that a thread multiplies for a gradient of the weights, unless there are many.
const PIXELS_A_PART: usize = 64;
/// The most threads that work on one weight.
const MAX_PARTS: usize = 256;

/// The numbers of a contiguous tensor.
type Operand<'a> = (&'a CudaStorage, &'a Layout);

/// What is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Forward,
    InputGradient,
    KernelGradient,
}

/// Whether the kernels are wanted, and can take these tensors: all are on one GPU, in one type.
pub(super) fn serves(tensors: &[&Tensor]) -> bool {
    static WANTED: OnceLock<bool> = OnceLock::new();
    let wanted = *WANTED.get_or_init(|| std::env::var_os(VARIABLE).is_some_and(|value| value == "1"));
    let [first, rest @ ..] = tensors else { return false };
    let is_alike = |t: &&Tensor| t.dtype() == first.dtype() && t.device().same_device(first.device());
    wanted && first.device().is_cuda() && Number::of(first.dtype()).is_some() && rest.iter().all(is_alike)
}

/// `y` from `x` and the kernel.
///
/// # Errors
/// Where CUDA fails.
pub(super) fn forward(op: &Depthwise, x: Operand, kernel: Operand) -> Result<CudaStorage> {
    run(op, Pass::Forward, [Some(x), Some(kernel), None])
}

/// `∂x`, if it is wanted, and `∂kernel` from `x`, the kernel and `∂y`, all of which are contiguous.
///
/// # Errors
/// Where CUDA fails.
pub(super) fn backward(
    op: &Depthwise,
    [x, kernel, dy]: [&Tensor; 3],
    input_gradient: bool,
) -> Result<(Option<Tensor>, Tensor)> {
    let guards = [x, kernel, dy].map(|tensor| tensor.storage_and_layout());
    let operand = |index: usize| -> Result<Operand<'_>> {
        let (storage, layout) = &guards[index];
        let Storage::Cuda(storage) = &**storage else { bail!("a tensor is not on a GPU") };
        Ok((storage, *layout))
    };
    let tensor = |storage: CudaStorage, like: &Tensor| {
        Tensor::from_storage(Storage::Cuda(storage), like.shape(), BackpropOp::none(), false)
    };
    let dx = match input_gradient {
        true => Some(tensor(run(op, Pass::InputGradient, [None, Some(operand(1)?), Some(operand(2)?)])?, x)),
        false => None,
    };
    let dkernel = run(op, Pass::KernelGradient, [Some(operand(0)?), None, Some(operand(2)?)])?;
    Ok((dx, tensor(dkernel, kernel)))
}

/// Computes a pass from `x`, the kernel and `∂y`, as far as it needs them.
fn run(op: &Depthwise, pass: Pass, operands: [Option<Operand>; 3]) -> Result<CudaStorage> {
    let number = operands.iter().flatten().next().and_then(|(storage, _)| Number::of(storage.dtype()));
    match number {
        Some(Number::F32) => run_in::<f32>(op, pass, Number::F32, operands),
        Some(Number::F16) => run_in::<f16>(op, pass, Number::F16, operands),
        Some(Number::Bf16) => run_in::<bf16>(op, pass, Number::Bf16, operands),
        None => bail!("depthwise convolution on a GPU takes f32, f16 or bf16"),
    }
}

fn run_in<T: CudaDType + DeviceRepr>(
    op: &Depthwise,
    pass: Pass,
    number: Number,
    operands: [Option<Operand>; 3],
) -> Result<CudaStorage> {
    let [x, _, dy] = operands;
    let Some((maps, layout)) = x.or(dy) else { bail!("depthwise convolution without a map") };
    let (images, ..) = layout.shape().dims4()?;
    let Depthwise { channels, rows, columns, v, h } = *op;
    let (planes, taps) = (images * channels, v.kernel * h.kernel);
    let (weights, pixels) = (channels * taps, images * v.output * h.output);
    // Kernels count planes, weights, and the pixels of a plane, in 32 bits.
    if [planes, weights, rows * columns, v.output * h.output].iter().any(|count| *count > i32::MAX as usize) {
        bail!("depthwise convolution of {:?} is too large for the kernels", layout.shape());
    }
    let parts = pixels.div_ceil(PIXELS_A_PART).clamp(1, MAX_PARTS);
    let (len, launches) = match pass {
        Pass::Forward => (planes * v.output * h.output, vec![("planes_forward", [h.output, v.output, planes])]),
        Pass::InputGradient => (planes * rows * columns, vec![("planes_input", [columns, rows, planes])]),
        Pass::KernelGradient => {
            (weights, vec![("planes_parts", [parts, taps, channels]), ("planes_weights", [weights, 1, 1])])
        }
    };
    let device = maps.device.clone();
    let (stream, module) = (device.cuda_stream(), Module::new(&device)?);
    // SAFETY: the launches write all of it.
    let mut result = unsafe { device.alloc::<T>(len) }?;
    let sums = if pass == Pass::KernelGradient { weights * parts } else { 1 };
    // SAFETY: the first launch for a gradient of the weights writes all of it, and no other reads it.
    let mut sums = unsafe { device.alloc::<f32>(sums) }?;
    {
        let (mut addresses, mut reads) = ([Address::default(); 3], Vec::new());
        for (address, operand) in addresses.iter_mut().zip(operands) {
            let Some((storage, layout)) = operand else { continue };
            let Some((start, _)) = layout.contiguous_offsets() else { bail!("a tensor is not contiguous") };
            let (base, read) = storage.as_cuda_slice::<T>()?.device_ptr(&stream);
            *address = Address(base + (start * size_of::<T>()) as u64);
            reads.push(read);
        }
        let (result, _written) = result.device_ptr_mut(&stream);
        let (sums, _summed) = sums.device_ptr_mut(&stream);
        let [x, weights, dy] = addresses;
        let args = DepthwisePlanes {
            x,
            weights,
            dy,
            result: Address(result),
            parts: Address(sums),
            v: v.into(),
            h: h.into(),
            images: images as u32,
            channels: channels as u32,
            height: rows as u32,
            width: columns as u32,
            out_height: v.output as u32,
            out_width: h.output as u32,
            part_count: parts as u32,
        };
        for (kernel, work) in launches {
            let launch = Launch::new(format!("{kernel}_{}", number.suffix()), work, args);
            let function = module.function(&launch.kernel)?;
            // SAFETY: the operands have the shapes of the convolution, and the results are as large as the pass needs.
            unsafe { launch.run(&function, &stream) }?;
        }
    }
    Ok(CudaStorage::wrap_cuda_slice(result, device))
}
