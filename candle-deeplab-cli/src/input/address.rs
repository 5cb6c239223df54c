//! Images, videos and streams at addresses.

use std::path::PathBuf;

use super::kinds::{VIDEOS, has_extension};
use super::source::Source;

/// Extensions of lists of a video's parts, at an address.
const PLAYLISTS: [&str; 2] = ["m3u8", "mpd"];

/// How addresses of streams begin.
const STREAMS: [&str; 8] = ["rtsp", "rtsps", "rtmp", "rtmps", "rtp", "udp", "tcp", "srt"];

/// What is at an address: an image, or a video or a live stream, which ffmpeg reads.
pub(super) fn of_address(text: &str) -> Option<Source> {
    let (scheme, _) = text.split_once("://")?;
    if STREAMS.contains(&scheme) {
        return Some(Source::Stream(text.into()));
    }
    if !["http", "https"].contains(&scheme) {
        return None;
    }
    let name = name_of_url(text, "");
    let is_film = has_extension(&name, &VIDEOS) || has_extension(&name, &PLAYLISTS);
    Some(if is_film { Source::Stream(text.into()) } else { Source::Url(text.into()) })
}

/// The last part of an address's path, as far as it can be a file's name.
pub(super) fn name_of_url(url: &str, otherwise: &str) -> PathBuf {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, path) = path.split_once("://").unwrap_or(("", path));
    let name: String = path.rsplit('/').next().unwrap_or_default().chars().filter(|c| allowed(*c)).collect();
    let usable = path.contains('/') && !name.trim_matches('.').is_empty();
    if usable { name.into() } else { otherwise.into() }
}

fn allowed(c: char) -> bool {
    !c.is_control() && !matches!(c, '\\' | ':' | '*' | '"' | '<' | '>' | '|')
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::source::{Input, shown_url};
    use super::*;

    #[test]
    fn an_address_cannot_name_a_path() {
        for (url, name) in [
            ("https://example.org", "image"),
            ("https://example.org/", "image"),
            ("https://example.org/..", "image"),
            ("https://example.org/a\\..\\b", "a..b"),
            ("https://example.org/a.jpg#x/y", "a.jpg"),
        ] {
            assert_eq!(name_of_url(url, "image"), Path::new(name), "{url}");
        }
    }

    #[test]
    fn addresses_of_films_and_streams_are_ffmpegs() {
        for (url, is_film) in [
            ("rtsp://user:secret@camera.local/door", true),
            ("udp://127.0.0.1:5000", true),
            ("https://example.org/film.mp4?x=1", true),
            ("http://example.org/live/index.m3u8", true),
            ("http://example.org/film.jpg", false),
            ("http://example.org/moving.gif", false),
        ] {
            assert_eq!(matches!(of_address(url), Some(Source::Stream(_))), is_film, "{url}");
        }
        assert_eq!(of_address("file:///etc/passwd"), None);
        let url = "rtsp://user:secret@camera.local/";
        let camera = Input::named(of_address(url).unwrap(), name_of_url(url, "stream"));
        assert_eq!((camera.relative.to_str(), camera.is_moving()), (Some("stream"), true));
        assert_eq!(camera.shown(), "rtsp://user:***@camera.local/");
        assert_eq!(shown_url("http://a.org/b:c@d"), "http://a.org/b:c@d");
    }
}
