//! `candle-deeplab demo`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, FromArgMatches};

use super::SegmentArgs;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The folder for the photograph and its picture; it is made where it is missing
    #[arg(short, long, value_name = "DIR", default_value = "candle-deeplab-demo")]
    pub(crate) output: PathBuf,

    /// Replace what an earlier demo has written there
    #[arg(long)]
    pub(crate) force: bool,
}

impl DemoArgs {
    /// What a user would say to `segment` for the same picture.
    pub(crate) fn segment(&self, photo: &Path, folder: &Path) -> Result<SegmentArgs, clap::Error> {
        let mut said: Vec<OsString> = vec!["segment".into(), photo.into(), "--output".into(), folder.into()];
        said.extend(self.force.then(|| "--force".into()));
        let command = SegmentArgs::augment_args(clap::Command::new("segment"));
        SegmentArgs::from_arg_matches(&command.try_get_matches_from(said)?)
    }
}
