//! What a forward pass of training does differently from one of inference.

use std::collections::BTreeSet;

use crate::arch;
use crate::error::{Error, Result};
use crate::graph::{Graph, Value};

/// How a forward pass of training treats batch norms, dropout and parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Mode {
    /// The statistics with which batch norms normalise.
    pub norms: Norms,
    /// The share of the batch's statistics in the new running ones: `new = (1 − momentum) · old + momentum · batch`.
    /// PyTorch's default is 0.1; TensorFlow DeepLab's decay of 0.9997 is a momentum of 0.0003.
    pub momentum: f64,
    /// Where numbers are dropped.
    pub dropout: Vec<Dropout>,
    /// The seed of the dropped numbers: the same seed drops the same.
    pub seed: u64,
    /// The parameters that get no gradient, by their position in [`Graph::params`], beside the statistics of batch
    /// norms, which never get one. What only they need is neither computed nor kept.
    pub frozen: BTreeSet<usize>,
}

impl Default for Mode {
    /// All is trained, with PyTorch's momentum and without dropout.
    fn default() -> Self {
        Self { norms: Norms::Batch, momentum: 0.1, dropout: Vec::new(), seed: 0, frozen: BTreeSet::new() }
    }
}

impl Mode {
    /// # Errors
    /// [`Error::Training`] for a number that is out of its range.
    pub(super) fn check(&self, graph: &Graph) -> Result<()> {
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(Error::Training(format!("a momentum of {}: it must be between 0 and 1", self.momentum)));
        }
        for dropout in &self.dropout {
            let Some(node) = graph.nodes().get(dropout.value.index()) else {
                return Err(Error::Training("dropout of a value that the network does not have".into()));
            };
            if !(0.0..1.0).contains(&dropout.rate) {
                let (path, rate) = (&node.path, dropout.rate);
                return Err(Error::Training(format!("dropout after `{path}` at rate {rate}: it must be below 1")));
            }
        }
        Ok(())
    }
}

/// The statistics with which batch norms normalise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Norms {
    /// Those of the batch; the running statistics follow them.
    Batch,
    /// The stored ones, which stay (TensorFlow's `fine_tune_batch_norm=False`).
    Stored,
    /// The stored ones in these nodes, and those of the batch in all others.
    StoredIn(BTreeSet<Value>),
}

impl Norms {
    /// Whether a norm uses the statistics of the batch.
    pub(super) fn of_batch(&self, norm: Value) -> bool {
        match self {
            Self::Batch => true,
            Self::Stored => false,
            Self::StoredIn(stored) => !stored.contains(&norm),
        }
    }
}

/// Sets numbers of a value to zero at random, and divides the others by `1 − rate`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The value.
    pub value: Value,
    /// The probability with which a number is dropped, from 0 to below 1.
    pub rate: f64,
    /// Whether all numbers of a channel of an image are dropped together (`Dropout2d`).
    pub channels: bool,
}

impl Dropout {
    /// Single numbers of the ASPP's projection. The rate is 0.1 in TensorFlow (`model.py`: `keep_prob=0.9`) and in
    /// VainF, and 0.5 in torchvision, jfzhang95 and smp.
    ///
    /// # Errors
    /// [`Error::NoSuchTap`] where the network has no ASPP.
    pub fn of_aspp(graph: &Graph, rate: f64) -> Result<Self> {
        let value = graph.tap(&format!("{}.projection", arch::ASPP))?;
        Ok(Self { value, rate, channels: false })
    }

    /// Whole channels of the classifier's input, as in mmsegmentation (`BaseDecodeHead.cls_seg`, at rate 0.1).
    ///
    /// # Errors
    /// [`Error::NoSuchTap`] where the network has no classifier.
    pub fn before_classifier(graph: &Graph, rate: f64) -> Result<Self> {
        Self::before(graph, arch::LOGITS, rate)
    }

    /// Whole channels of the input of the auxiliary head's classifier, as in mmsegmentation (at rate 0.1).
    ///
    /// # Errors
    /// [`Error::NoSuchTap`] where the network has no auxiliary head.
    pub fn before_auxiliary(graph: &Graph, rate: f64) -> Result<Self> {
        Self::before(graph, arch::AUXILIARY, rate)
    }

    fn before(graph: &Graph, tap: &str, rate: f64) -> Result<Self> {
        let classifier = graph.tap(tap)?;
        let value = graph.node(classifier).inputs.first().copied().unwrap_or(classifier);
        Ok(Self { value, rate, channels: true })
    }

    /// The same with single numbers (`channels` false) or whole channels.
    pub fn with_channels(self, channels: bool) -> Self {
        Self { channels, ..self }
    }
}
