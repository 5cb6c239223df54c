//! What a plan consists of: launches, matmuls, and memory to clear, at symbolic addresses.
//!
//! A symbolic address is a buffer and an offset. It becomes an address of the device when the buffers have their places,
//! so that a plan can be made, counted and tested without one.

use super::kernels::{Address, Launch, Number};

/// The buffer of the packed weights.
pub(super) const WEIGHTS: usize = 0;
/// The buffer of a plan's constant tables.
pub(super) const TABLES: usize = 1;
/// The first of the buffers that share the arena.
pub(super) const FIRST: usize = 2;

/// Bits of an offset: a terabyte.
const OFFSET_BITS: u32 = 40;

/// A symbolic address.
pub(super) fn at(buffer: usize, offset: usize) -> Address {
    // Address 0 stays what it always is: none.
    Address(((buffer as u64 + 1) << OFFSET_BITS) | offset as u64)
}

/// The buffer and the offset of a symbolic address, unless it is none.
pub(super) fn buffer_and_offset(Address(address): Address) -> Option<(usize, u64)> {
    let buffer = (address >> OFFSET_BITS).checked_sub(1)?;
    Some((buffer as usize, address & ((1 << OFFSET_BITS) - 1)))
}

/// One piece of work, in the order of a stream.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Kernel(Launch),
    Gemm(Gemm),
    /// Sets bytes to zero.
    Clear {
        at: Address,
        bytes: usize,
    },
}

/// `y ← relu(x · weightsᵀ + residual + bias)`, where the rows of `x`, `y` and the residual are pixels.
#[derive(Debug, Clone)]
pub(super) struct Gemm {
    pub(super) weights: Address,
    /// As many as outputs, stored as the result is.
    pub(super) bias: Address,
    pub(super) x: Address,
    pub(super) residual: Option<Address>,
    pub(super) y: Address,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    pub(super) pixels: usize,
    /// Numbers from one row to the next.
    pub(super) pitches: Pitches,
    /// Whether the result goes through a ReLU.
    pub(super) relu: bool,
    /// What `x` and the weights are stored in.
    pub(super) number: Number,
    /// What the result, the residual and the bias are stored in.
    pub(super) result: Number,
}

/// Numbers from one row of a matmul's operands to the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pitches {
    pub(super) weights: usize,
    pub(super) x: usize,
    pub(super) residual: usize,
    pub(super) y: usize,
}

impl Work {
    /// Replaces every address.
    pub(super) fn relocate(&mut self, to: &mut dyn FnMut(Address) -> Address) {
        match self {
            Self::Kernel(launch) => launch.args.relocate(to),
            Self::Gemm(gemm) => {
                let operands = [&mut gemm.weights, &mut gemm.bias, &mut gemm.x, &mut gemm.y];
                operands.into_iter().chain(&mut gemm.residual).for_each(|address| *address = to(*address));
            }
            Self::Clear { at, .. } => *at = to(*at),
        }
    }

    /// The buffers that it reads or writes.
    pub(super) fn buffers(&self) -> Vec<usize> {
        let mut buffers = Vec::new();
        self.clone().relocate(&mut |address| {
            buffers.extend(buffer_and_offset(address).map(|(buffer, _)| buffer));
            address
        });
        buffers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolic_addresses_come_apart_and_none_is_none() {
        assert_eq!(buffer_and_offset(at(0, 0)), Some((0, 0)));
        assert_eq!(buffer_and_offset(at(700, (1 << 39) + 5)), Some((700, (1 << 39) + 5)));
        assert_eq!(buffer_and_offset(Address::default()), None);
    }
}
