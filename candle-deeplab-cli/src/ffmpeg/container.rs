//! The containers and codecs of videos.

use serde::Serialize;

/// A video container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub(crate) enum Container {
    Mp4,
    M4v,
    Mov,
    Mkv,
    Webm,
    Gif,
}

/// The pixels of a video's frames, 8 bits per channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pixels {
    /// RGB pictures for people.
    Rgb,
    /// RGB pictures with transparency.
    Rgba,
    /// Class ids, which must survive encoding exactly.
    Gray,
}

impl Pixels {
    /// ffmpeg's name of the pixel format.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rgb => "rgb24",
            Self::Rgba => "rgba",
            Self::Gray => "gray",
        }
    }

    pub(super) fn channels(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Rgba => 4,
            Self::Gray => 1,
        }
    }
}

/// How frames are encoded for a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Codec {
    pub(super) filter: &'static str,
    pub(super) arguments: &'static [&'static str],
}

/// Players expect 4:2:0 chroma, which needs even sides: an odd side is padded by one row or column.
const EVEN: &str = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=black@0";
/// A palette per frame, so that no frame waits for the last one. Alpha becomes fully transparent or opaque.
const PALETTE: &str = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1";
const VP9: &[&str] =
    &["-c:v", "libvpx-vp9", "-crf", "30", "-b:v", "0", "-row-mt", "1", "-cpu-used", "4", "-pix_fmt", "yuv420p"];
#[rustfmt::skip]
const VP9_ALPHA: &[&str] = &[
    "-c:v", "libvpx-vp9", "-crf", "30", "-b:v", "0", "-row-mt", "1", "-cpu-used", "4",
    "-auto-alt-ref", "0", "-pix_fmt", "yuva420p",
];

impl Container {
    pub(crate) const ALL: [Self; 6] = [Self::Mp4, Self::M4v, Self::Mov, Self::Mkv, Self::Webm, Self::Gif];

    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::M4v => "m4v",
            Self::Mov => "mov",
            Self::Mkv => "mkv",
            Self::Webm => "webm",
            Self::Gif => "gif",
        }
    }

    pub(crate) fn of_extension(extension: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|container| extension.eq_ignore_ascii_case(container.extension()))
    }

    /// ffmpeg's name of the container.
    pub(super) fn muxer(self) -> &'static str {
        match self {
            Self::Mp4 | Self::M4v => "mp4",
            Self::Mov => "mov",
            Self::Mkv => "matroska",
            Self::Webm => "webm",
            Self::Gif => "gif",
        }
    }

    /// Whether the container can hold such frames.
    pub(crate) fn holds(self, pixels: Pixels) -> bool {
        self.codec(pixels).is_some()
    }

    /// How the container stores such frames; `None` if it cannot.
    pub(super) fn codec(self, pixels: Pixels) -> Option<Codec> {
        let (filter, arguments): (_, &[&str]) = match (pixels, self) {
            // ffmpeg's default codec: H.264 if it was built with an encoder for it.
            (Pixels::Rgb, Self::Mp4 | Self::M4v | Self::Mov | Self::Mkv) => (EVEN, &["-pix_fmt", "yuv420p"]),
            (Pixels::Rgb, Self::Webm) => (EVEN, VP9),
            (Pixels::Rgb | Pixels::Rgba, Self::Gif) => (PALETTE, &[]),
            // Browsers play VP9 with alpha.
            (Pixels::Rgba, Self::Webm) => (EVEN, VP9_ALPHA),
            // Video editors read ProRes 4444.
            (Pixels::Rgba, Self::Mov) => {
                ("null", &["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"])
            }
            // Each frame is a key frame, so that any can be decoded without those before it.
            (Pixels::Gray, Self::Mkv) => {
                ("null", &["-c:v", "ffv1", "-level", "3", "-g", "1", "-slicecrc", "1", "-pix_fmt", "gray"])
            }
            _ => return None,
        };
        Some(Codec { filter, arguments })
    }

    /// ffmpeg's arguments for audio tracks with these codecs, as alternatives from the best down. A track is copied if
    /// players expect its codec in this container, and is encoded otherwise.
    pub(super) fn sounds(self, codecs: &[String]) -> Vec<Vec<String>> {
        let known: &[&str] = match self {
            Self::Mp4 | Self::M4v => &["aac", "alac", "mp3", "ac3", "eac3", "opus", "flac"],
            Self::Mov => &["aac", "alac", "mp3", "ac3", "eac3", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be"],
            // Matroska takes every codec.
            Self::Mkv => &[],
            Self::Webm => &["opus", "vorbis"],
            Self::Gif => return vec![vec![]],
        };
        let encoders: &[&str] = if self == Self::Webm { &["libopus", "libvorbis"] } else { &["aac"] };
        let copied = |codec: &String| self == Self::Mkv || known.contains(&codec.as_str());
        // ffmpeg may refuse to copy a track after all; the second alternative encodes them all.
        let ways = encoders.iter().flat_map(|encoder| [(*encoder, true), (*encoder, false)]);
        let mut said: Vec<Vec<String>> = vec![];
        for (encoder, copies) in ways {
            let mut arguments = vec![];
            for (index, codec) in codecs.iter().enumerate() {
                let copy = copies && copied(codec);
                arguments.extend([format!("-c:a:{index}"), (if copy { "copy" } else { encoder }).into()]);
                if !copy && encoder == "libopus" {
                    // libopus refuses other layouts of the same speakers, such as 5.1(side).
                    let filter = "aformat=channel_layouts=7.1|5.1|stereo|mono";
                    arguments.extend([format!("-filter:a:{index}"), filter.into()]);
                }
            }
            if !said.contains(&arguments) {
                said.push(arguments);
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sounds(container: Container, codecs: &[&str]) -> Vec<String> {
        let codecs: Vec<String> = codecs.iter().map(|codec| (*codec).into()).collect();
        container.sounds(&codecs).iter().map(|arguments| arguments.join(" ")).collect()
    }

    #[test]
    fn numbers_are_kept_only_where_nothing_is_lost() {
        let of =
            |pixels| Container::ALL.into_iter().filter(move |container| container.holds(pixels)).collect::<Vec<_>>();
        assert_eq!(of(Pixels::Gray), [Container::Mkv]);
        assert_eq!(of(Pixels::Rgba), [Container::Mov, Container::Webm, Container::Gif]);
        assert_eq!(of(Pixels::Rgb), Container::ALL);
    }

    #[test]
    fn sound_is_copied_where_the_container_takes_it_and_encoded_elsewhere() {
        assert_eq!(sounds(Container::Mp4, &["aac"]), ["-c:a:0 copy", "-c:a:0 aac"]);
        assert_eq!(sounds(Container::Mp4, &["opus", "pcm_s16le"])[0], "-c:a:0 copy -c:a:1 aac");
        assert_eq!(sounds(Container::Mov, &["opus"]), ["-c:a:0 aac"]);
        assert_eq!(sounds(Container::Mkv, &["wmav2"]), ["-c:a:0 copy", "-c:a:0 aac"]);
        assert_eq!(sounds(Container::Webm, &["vorbis"])[0], "-c:a:0 copy");
        let webm = sounds(Container::Webm, &["aac"]);
        assert!(webm[0].starts_with("-c:a:0 libopus -filter:a:0 ") && webm[1] == "-c:a:0 libvorbis", "{webm:?}");
        assert_eq!(sounds(Container::Gif, &["aac"]), [""]);
        assert_eq!(sounds(Container::Mp4, &[]), [""]);
    }
}
