//! What films are written as, and with which codecs.

use serde::Serialize;

/// A kind of file that holds a film.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub(crate) enum Container {
    Mp4,
    M4v,
    Mov,
    Mkv,
    Webm,
    Gif,
}

/// What the frames of a film are, 8 bits a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pixels {
    /// Pictures for people: red, green, blue.
    Rgb,
    /// Pictures with transparency.
    Rgba,
    /// Numbers, each of which must come back as it was.
    Gray,
}

impl Pixels {
    /// What ffmpeg calls it.
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

/// How frames get into a container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Codec {
    pub(super) filter: &'static str,
    pub(super) arguments: &'static [&'static str],
}

/// Players want halved colours, which want even sides: an odd one gets a row or column more.
const EVEN: &str = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=black@0";
/// A palette for each frame, so that none waits for the last one. What is half transparent or more becomes so.
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

    /// What ffmpeg calls it.
    pub(super) fn muxer(self) -> &'static str {
        match self {
            Self::Mp4 | Self::M4v => "mp4",
            Self::Mov => "mov",
            Self::Mkv => "matroska",
            Self::Webm => "webm",
            Self::Gif => "gif",
        }
    }

    /// Whether such frames can be kept in it.
    pub(crate) fn holds(self, pixels: Pixels) -> bool {
        self.codec(pixels).is_some()
    }

    /// How it keeps such frames, if it can.
    pub(super) fn codec(self, pixels: Pixels) -> Option<Codec> {
        let (filter, arguments): (_, &[&str]) = match (pixels, self) {
            // What ffmpeg takes by itself: H.264 where it was built with an encoder for it.
            (Pixels::Rgb, Self::Mp4 | Self::M4v | Self::Mov | Self::Mkv) => (EVEN, &["-pix_fmt", "yuv420p"]),
            (Pixels::Rgb, Self::Webm) => (EVEN, VP9),
            (Pixels::Rgb | Pixels::Rgba, Self::Gif) => (PALETTE, &[]),
            // What browsers play.
            (Pixels::Rgba, Self::Webm) => (EVEN, VP9_ALPHA),
            // What editors take.
            (Pixels::Rgba, Self::Mov) => {
                ("null", &["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"])
            }
            // Each frame stands alone, so that any can be read without those before it.
            (Pixels::Gray, Self::Mkv) => {
                ("null", &["-c:v", "ffv1", "-level", "3", "-g", "1", "-slicecrc", "1", "-pix_fmt", "gray"])
            }
            _ => return None,
        };
        Some(Codec { filter, arguments })
    }

    /// What becomes of a film's sounds, given their codecs: ways to say it to ffmpeg, the best first. Sound is kept as it
    /// is where players expect it in this container, and is put into a codec that they expect elsewhere.
    pub(super) fn sounds(self, codecs: &[String]) -> Vec<Vec<String>> {
        let known: &[&str] = match self {
            Self::Mp4 | Self::M4v => &["aac", "alac", "mp3", "ac3", "eac3", "opus", "flac"],
            Self::Mov => &["aac", "alac", "mp3", "ac3", "eac3", "pcm_s16le", "pcm_s24le", "pcm_s16be", "pcm_s24be"],
            // It takes everything.
            Self::Mkv => &[],
            Self::Webm => &["opus", "vorbis"],
            Self::Gif => return vec![vec![]],
        };
        let encoders: &[&str] = if self == Self::Webm { &["libopus", "libvorbis"] } else { &["aac"] };
        let copied = |codec: &String| self == Self::Mkv || known.contains(&codec.as_str());
        // ffmpeg may know better what fits together; then everything is encoded.
        let ways = encoders.iter().flat_map(|encoder| [(*encoder, true), (*encoder, false)]);
        let mut said: Vec<Vec<String>> = vec![];
        for (encoder, copies) in ways {
            let mut arguments = vec![];
            for (index, codec) in codecs.iter().enumerate() {
                let copy = copies && copied(codec);
                arguments.extend([format!("-c:a:{index}"), (if copy { "copy" } else { encoder }).into()]);
                if !copy && encoder == "libopus" {
                    // It refuses other arrangements of the same loudspeakers, such as 5.1(side).
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
