//! What there is to segment: from arguments to a list, and from its entries to images.

mod address;
mod expand;
mod iso;
mod kinds;
mod read;
mod source;
mod walk;

pub(crate) use expand::{Inputs, expand};
pub(crate) use read::{Photo, Reading};
pub(crate) use source::{Input, Source, shown_url};
