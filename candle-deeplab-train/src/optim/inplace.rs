//! Updates in place on the CPU: tensor operations would write every intermediate result to memory.

use candle_core::{CpuStorage, DType, InplaceOp3, Layout, Result, Tensor, bail};
use rayon::prelude::*;

/// Elements that one task works on. Each element is computed on its own, so that the result does not depend on it.
const CHUNK: usize = 1 << 14;

/// Whether tensors can be updated in place: all are f32 on the CPU, and contiguous.
pub(super) fn possible(tensors: &[&Tensor]) -> bool {
    tensors.iter().all(|t| t.device().is_cpu() && t.dtype() == DType::F32 && t.is_contiguous())
}

/// `y ← f(y, a, b)` for each element of three f32 tensors.
pub(super) struct Update<F>(pub(super) F);

impl<F: Fn(f32, f32, f32) -> f32 + Sync> InplaceOp3 for Update<F> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<()> {
        let (a, b) = (values(a, a_layout)?, values(b, b_layout)?);
        let (CpuStorage::F32(y), Some((start, end))) = (y, y_layout.contiguous_offsets()) else {
            bail!("an update in place needs contiguous f32 tensors")
        };
        let y = &mut y[start..end];
        if y.len() != a.len() || y.len() != b.len() {
            bail!("an update of {} values by {} and {}", y.len(), a.len(), b.len());
        }
        y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((y, a), b)| {
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = (self.0)(*y, a, b);
            }
        });
        Ok(())
    }
}

/// The values of a contiguous f32 tensor.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("an update in place needs contiguous f32 tensors"),
    }
}

/// The sum of the squares of an f32 tensor on the CPU, in f64; `None` for other tensors.
pub(super) fn sum_of_squares(tensor: &Tensor) -> Option<f64> {
    if !possible(&[tensor]) {
        return None;
    }
    let (storage, layout) = tensor.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else { return None };
    let values = values(storage, layout).ok()?;
    let of_chunk = |chunk: &[f32]| chunk.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
    // The chunks' sums are added in their order, whatever the number of threads.
    let sums: Vec<f64> = values.par_chunks(CHUNK).map(of_chunk).collect();
    Some(sums.iter().sum())
}
