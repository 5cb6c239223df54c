//! How many bytes a file or an answer may have.

use std::fmt;

use super::digest::{Digest, MAX_FILE_BYTES};
use candle_deeplab::config::{CONFIG_FILE, MAX_CONFIG_BYTES};

/// What people read is not longer: recipes of ours and of other programs, the Hub's answers.
pub(super) const MAX_ANSWER_BYTES: u64 = MAX_CONFIG_BYTES;
/// The Hub takes no file of more than 10 MiB into git itself.
const MAX_GIT_BYTES: u64 = 32 << 20;

/// The most that a file may have, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    what: &'static str,
}

impl Limit {
    /// Any file.
    pub(super) const MODEL: Self = Self { bytes: MAX_FILE_BYTES, what: "a model" };

    /// A file of a repo, by its name and by how the Hub keeps it.
    pub(super) fn of(file: &str, digest: Option<&Digest>) -> Self {
        let name = file.rsplit('/').next().unwrap_or(file);
        match digest {
            _ if name == CONFIG_FILE || name == "preprocessor_config.json" => {
                Self { bytes: MAX_ANSWER_BYTES, what: "a recipe" }
            }
            Some(Digest::Git(_)) => Self { bytes: MAX_GIT_BYTES, what: "a file that the Hub keeps in git" },
            _ => Self::MODEL,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, what } = *self;
        match bytes >> 30 {
            0 => write!(f, "more than {} MiB is not {what}: refused", bytes >> 20),
            gib => write!(f, "more than {gib} GiB is not {what}: refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_as_large_as_its_kind() {
        let (lfs, git) = (Digest::Sha256("0".repeat(64)), Digest::Git("0".repeat(40)));
        for (file, digest, says) in [
            ("config.json", Some(&git), "more than 1 MiB is not a recipe"),
            ("onnx/preprocessor_config.json", None, "more than 1 MiB is not a recipe"),
            ("notes.txt", Some(&git), "more than 32 MiB is not a file that the Hub keeps in git"),
            ("model.safetensors", Some(&lfs), "more than 8 GiB is not a model"),
            ("model.safetensors", None, "more than 8 GiB is not a model"),
        ] {
            assert!(Limit::of(file, digest).to_string().starts_with(says), "{file}");
        }
    }
}
