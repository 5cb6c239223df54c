//! Names an input for ffmpeg.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

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
        Source::File(path) | Source::Video(path) => {
            check(path)?;
            (&["-protocol_whitelist", "file"], format!("file:{}", text(path)?))
        }
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

/// Refuses what ffmpeg would wait for without an end, such as a pipe, and lists of other files, which may be anywhere and
/// anything, pipes among them.
fn check(path: &Path) -> Result<()> {
    /// What lists begin with: HLS, ffmpeg's own, and DASH, which is XML.
    const LISTS: [&[u8]; 3] = [b"#EXTM3U", b"ffconcat", b"<"];
    let mut head = vec![];
    let file = candle_deeplab::file::open(path)?;
    file.take(64).read_to_end(&mut head).with_context(|| format!("cannot read `{}`", path.display()))?;
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head).trim_ascii_start();
    ensure!(!LISTS.iter().any(|list| text.starts_with(list)), "it is a list of other files, and no video: name these");
    Ok(())
}

/// What ffmpeg says, with an address in it as we show it.
pub(super) fn without_password(source: &Source, said: &str) -> String {
    match source {
        Source::Stream(url) => said.replace(url.as_str(), &crate::input::shown_url(url)),
        _ => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_other_files_are_no_films() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("film.mp4");
        let checked = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            check(&path).map_err(|error| error.to_string())
        };
        for list in [
            &b"#EXTM3U\n#EXT-X-VERSION:3\npipe.ts"[..],
            b"ffconcat version 1.0\nfile pipe",
            b"\xef\xbb\xbf \n<?xml?><MPD>",
        ] {
            assert!(checked(list).unwrap_err().contains("list of other files"));
        }
        for film in [&b""[..], b"\0\0\0\x20ftypmp42", b"RIFF....AVI LIST"] {
            assert_eq!(checked(film), Ok(()));
        }
    }
}
