//! Annotation tools that ask a server for their first draft.

mod brush;
pub(crate) mod cvat;
mod label_config;
pub(crate) mod label_studio;
