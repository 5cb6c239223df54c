//! Judges label maps against those of a data set: a network's, or other people's.

mod chart;
mod count;
mod judged;
mod pairs;
mod picture;
mod predictions;
mod report;
mod run;
mod state;
mod submission;
#[cfg(test)]
mod tests;

pub use chart::{confusion_svg, trimap_svg};
pub use judged::Judged;
pub use pairs::{Pairs, Unlabelled};
pub use picture::mistakes;
pub use predictions::Predictions;
pub use report::{About, BandScores, Class, How, ImageScores, Report};
pub use run::{Evaluation, Options, Run, evaluate};
pub use state::State;
pub use submission::{Benchmark, Submission};
