//! Names an input for ffmpeg.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::input::Source;

/// The protocols that an address may lead to. Files are not among them, so that a video from the network cannot make us
/// read this machine's files.
const PROTOCOLS: &str = "rtsp,rtsps,rtmp,rtmps,rtp,srtp,udp,tcp,tls,srt,http,https,httpproxy,crypto";

/// The arguments that name an input. A file's name is never taken for a protocol.
pub(super) fn arguments(source: &Source) -> Result<Vec<String>> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).with_context(|| format!("`{}` is no name for ffmpeg", path.display()))
    };
    let (options, name): (&[&str], String) = match source {
        Source::File(path) | Source::Video(path) => (&["-protocol_whitelist", "file"], format!("file:{}", text(path)?)),
        Source::Camera(path) => (&["-f", "v4l2"], text(path)?),
        // ffmpeg tries UDP first, where packets get lost and firewalls block them.
        Source::Stream(url) if url.starts_with("rtsp") => {
            (&["-protocol_whitelist", PROTOCOLS, "-rtsp_transport", "tcp"], url.clone())
        }
        Source::Stream(url) => (&["-protocol_whitelist", PROTOCOLS], url.clone()),
        Source::Stdin | Source::Url(_) => bail!("it is no video"),
    };
    Ok(options.iter().map(|option| (*option).to_owned()).chain(["-i".into(), name]).collect())
}

/// ffmpeg's message, with the password removed from an address in it.
pub(super) fn without_password(source: &Source, said: &str) -> String {
    match source {
        Source::Stream(url) => said.replace(url.as_str(), &crate::input::shown_url(url)),
        _ => said.to_owned(),
    }
}
