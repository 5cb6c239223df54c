//! What is fuzzed; the corpus is replayed by `tests/fuzz_corpus.rs` as well.

#[path = "../../weights-convert/tests/read_support/mod.rs"]
mod read_support;
pub mod targets;
