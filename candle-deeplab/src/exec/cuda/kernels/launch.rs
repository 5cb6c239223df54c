//! One launch of a kernel: its name, its threads and its arguments.

#[cfg(feature = "cuda")]
use candle_core::cuda::cudarc;

use super::Args;

/// The largest number of threads in a block: `BLOCK` in `kernel.cuh`.
const BLOCK: usize = 256;
/// Threads that run in step. A block is whole warps.
const WARP: usize = 32;
/// The largest grid along the y and the z axis. Threads step over what lies beyond.
const MAX_BLOCKS: usize = 65_535;

/// The threads of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Blocks along each axis.
    pub(crate) blocks: [u32; 3],
    /// Threads of a block, along the x axis.
    pub(crate) threads: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) kernel: String,
    pub(crate) grid: Grid,
    pub(crate) args: Args,
}

impl Grid {
    /// Threads for work of these lengths along its axes (see `kernel.cuh`): blocks of equal size, with few threads that
    /// have nothing to do.
    pub(crate) fn over([x, y, z]: [usize; 3]) -> Self {
        let blocks = x.div_ceil(BLOCK).clamp(1, i32::MAX as usize);
        let threads = x.div_ceil(blocks).next_multiple_of(WARP).clamp(WARP, BLOCK);
        let [y, z] = [y, z].map(|length| length.clamp(1, MAX_BLOCKS));
        Self { blocks: [blocks, y, z].map(|count| count as u32), threads: threads as u32 }
    }
}

impl Launch {
    /// A launch for work of these lengths.
    pub(crate) fn new(kernel: String, work: [usize; 3], args: impl Into<Args>) -> Self {
        Self { kernel, grid: Grid::over(work), args: args.into() }
    }

    /// Launches the kernel, whose function is given, on a stream.
    ///
    /// # Safety
    /// The function is the kernel's. The arguments are those that it takes, and their addresses are valid on the
    /// stream's device until it has run.
    ///
    /// # Errors
    /// Where the driver refuses the launch.
    #[cfg(feature = "cuda")]
    pub(crate) unsafe fn run(
        &self,
        function: &cudarc::driver::CudaFunction,
        stream: &cudarc::driver::CudaStream,
    ) -> candle_core::Result<()> {
        let [x, y, z] = self.grid.blocks;
        let (grid_dim, block_dim) = ((x, y, z), (self.grid.threads, 1, 1));
        let config = cudarc::driver::LaunchConfig { grid_dim, block_dim, shared_mem_bytes: 0 };
        let mut launch = stream.launch_builder(function);
        self.args.push(&mut launch);
        // SAFETY: the caller's promise.
        unsafe { launch.launch(config) }.map_err(super::cuda_error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_cover_the_work_in_whole_warps() {
        assert_eq!(Grid::over([513, 513, 2]), Grid { blocks: [3, 513, 2], threads: 192 });
        assert_eq!(Grid::over([256, 1, 1]), Grid { blocks: [1, 1, 1], threads: 256 });
        assert_eq!(Grid::over([5, 1, 1]), Grid { blocks: [1, 1, 1], threads: 32 });
        for x in 1..5000 {
            let Grid { blocks, threads } = Grid::over([x, 1, 1]);
            assert!(blocks[0] as usize * threads as usize >= x && threads % 32 == 0 && threads <= 256);
        }
    }

    #[test]
    fn grids_stay_within_the_devices_limits() {
        assert_eq!(Grid::over([0, 0, 0]), Grid { blocks: [1, 1, 1], threads: 32 });
        assert_eq!(Grid::over([1, 1 << 16, 1 << 20]).blocks, [1, 65_535, 65_535]);
    }
}
