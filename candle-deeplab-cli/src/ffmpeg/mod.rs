//! Videos and cameras, through the programs `ffprobe` and `ffmpeg`: raw frames are read and written over pipes.

mod container;
mod probe;
mod process;
mod read;
mod source;
mod write;

pub(crate) use container::{Container, Pixels};
pub(crate) use probe::Video;
pub(crate) use read::{Avif, Reader};
pub(crate) use write::{Recipe, Writer};
