//! Logs of a run: one JSON object a line, TensorBoard's event files, and curves drawn from the former.

pub mod curves;
pub mod jsonl;
pub mod tensorboard;
