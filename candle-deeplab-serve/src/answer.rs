//! Answers whose memory counts until their clients have taken them.

use axum::body::{Body, Bytes};

use crate::work::ImageMemory;

/// The bytes of an answer, with what they take of the memory for images.
struct Counted {
    bytes: Vec<u8>,
    _memory: ImageMemory,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body whose memory is given back when it has been sent, or its client has gone.
pub(crate) fn counted(bytes: Vec<u8>, memory: ImageMemory) -> Body {
    Bytes::from_owner(Counted { bytes, _memory: memory }).into()
}
