//! The native part of the Python package `candle_deeplab`: what `candle_deeplab/_native.pyi` describes.
//!
//! `image` and `arrays` take what Python gives, `wait` lets `pool` compute it without the interpreter's lock, and the classes
//! `Model` and `Segmentation` give the result.
//!
//! The program's allocator, `candle_deeplab::Recycling`, is not used. Any thread of the process may hold its lock during a fork,
//! and the child could then never allocate again; glibc's allocator is prepared for that. Inference keeps its memory without
//! it, and only training gains by it.

mod arguments;
mod arrays;
mod convert;
mod device;
mod engine;
mod errors;
mod evaluate;
mod export;
mod format;
mod image;
mod json;
mod load;
mod model;
mod output;
mod pool;
mod program;
mod segmentation;
mod wait;
mod zoo;

use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    errors::add(module)?;
    module.add_class::<model::Model>()?;
    module.add_class::<segmentation::Segmentation>()?;
    module.add_function(wrap_pyfunction!(load::load, module)?)?;
    module.add_function(wrap_pyfunction!(zoo::models, module)?)?;
    module.add_function(wrap_pyfunction!(convert::convert, module)?)?;
    module.add_function(wrap_pyfunction!(convert::verify, module)?)?;
    module.add_function(wrap_pyfunction!(export::export_onnx, module)?)?;
    module.add_function(wrap_pyfunction!(evaluate::evaluate, module)?)?;
    module.add_function(wrap_pyfunction!(program::run, module)?)?;
    pool::watch_forks(module)
}
