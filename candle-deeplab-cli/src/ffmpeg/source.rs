//! How ffmpeg is told what to read.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::input::Source;

/// What may be opened on behalf of an address: other addresses, but no file. A film from somewhere cannot make us read
/// what is on this machine.
const PROTOCOLS: &str = "rtsp,rtsps,rtmp,rtmps,rtp,srtp,udp,tcp,tls,srt,http,https,httpproxy,crypto";

/// The arguments that name an input. A file's name is never taken for one of ffmpeg's protocols.
pub(super) fn arguments(source: &Source) -> Result<Vec<String>> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("`{}` is no name for ffmpeg", path.display()))
    };
    let (options, name): (&[&str], String) = match source {
        Source::File(path) | Source::Video(path) => (&["-protocol_whitelist", "file"], format!("file:{}", text(path)?)),
        Source::Camera(path) => (&["-f", "v4l2"], text(path)?),
        // Over UDP, which ffmpeg tries first, packets get lost, and firewalls stop them all.
        Source::Stream(url) if url.starts_with("rtsp") => {
            (&["-protocol_whitelist", PROTOCOLS, "-rtsp_transport", "tcp"], url.clone())
        }
        Source::Stream(url) => (&["-protocol_whitelist", PROTOCOLS], url.clone()),
        Source::Stdin | Source::Url(_) => bail!("it is no video"),
    };
    Ok(options.iter().map(|option| (*option).to_owned()).chain(["-i".into(), name]).collect())
}

/// What ffmpeg says, with an address in it as we show it.
pub(super) fn without_password(source: &Source, said: &str) -> String {
    match source {
        Source::Stream(url) => said.replace(url.as_str(), &crate::input::shown_url(url)),
        _ => said.to_owned(),
    }
}
