//! The names of outputs, which come from their inputs' names.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::input::{Input, Source};

/// An input's name below the output folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// With the extension: `sub/photo.jpg` for `photos/sub/photo.jpg` if the folder `photos` was given.
    pub(super) file: PathBuf,
    /// What its outputs' names begin with: `sub/photo`.
    pub(super) stem: PathBuf,
}

impl Name {
    /// An output's file below the folder of the outputs: `sub/photo.mask.png`.
    pub(super) fn output(&self, suffix: &str) -> PathBuf {
        output(&self.stem, suffix)
    }
}

/// A name for each input, so that no two outputs have one name as far as that is possible. `suffixes` is what the outputs of
/// each input are called behind its name.
///
/// Inputs of one name, and those with an output of one name, keep their extensions. Where that is not enough, since inputs from different folders
/// are called the same, all inputs are named by where they lie below the folder that holds them all.
pub(super) fn names(inputs: &[Input], suffixes: &[Vec<String>]) -> Vec<Name> {
    let relative: Vec<PathBuf> = inputs.iter().map(|input| input.relative.clone()).collect();
    let mut known = HashSet::new();
    let are_different = relative.iter().all(|path| known.insert(path));
    let files = if are_different { relative } else { below_one_folder(inputs) };
    let stems = without_extensions(&files, suffixes);
    files.into_iter().zip(stems).map(|(file, stem)| Name { file, stem }).collect()
}

fn output(stem: &Path, suffix: &str) -> PathBuf {
    let mut path = stem.to_owned().into_os_string();
    path.push(".");
    path.push(suffix);
    path.into()
}

/// Takes the extensions away wherever the names of outputs stay different.
fn without_extensions(paths: &[PathBuf], suffixes: &[Vec<String>]) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = paths.iter().map(|path| path.with_extension("")).collect();
    // A name that gets its extension back may then collide with another: a.jpg, a.png and a.jpg.bmp.
    loop {
        let outputs = |i: usize| {
            let mut outputs: Vec<PathBuf> = suffixes[i].iter().map(|suffix| output(&names[i], suffix)).collect();
            // All frames go into one folder.
            outputs.dedup();
            outputs
        };
        let (mut stems, mut times): (HashMap<&Path, usize>, HashMap<PathBuf, usize>) = Default::default();
        names.iter().for_each(|name| *stems.entry(name).or_default() += 1);
        (0..names.len()).flat_map(outputs).for_each(|output| *times.entry(output).or_default() += 1);
        let is_shared = |i: usize| stems[names[i].as_path()] > 1 || outputs(i).iter().any(|output| times[output] > 1);
        let shared: Vec<usize> = (0..names.len()).filter(|&i| names[i] != paths[i] && is_shared(i)).collect();
        if shared.is_empty() {
            return names;
        }
        shared.into_iter().for_each(|i| names[i].clone_from(&paths[i]));
    }
}

fn below_one_folder(inputs: &[Input]) -> Vec<PathBuf> {
    let paths: Vec<Vec<OsString>> = inputs.iter().map(whereabouts).collect();
    let folders = || paths.iter().zip(inputs).filter(|(_, input)| input.path().is_some());
    let folders = folders().map(|(path, _)| &path[..path.len().saturating_sub(1)]);
    let common = |a: &[OsString], b: &[OsString]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let shared = folders.clone().next().map_or(0, |first| folders.map(|other| common(first, other)).min().unwrap_or(0));
    let below = |(path, input): (&Vec<OsString>, &Input)| {
        path[if input.path().is_some() { shared } else { 0 }..].iter().collect()
    };
    paths.iter().zip(inputs).map(below).collect()
}

/// The folders that an input lies in, from the root on, and its name.
fn whereabouts(input: &Input) -> Vec<OsString> {
    match &input.source {
        Source::File(path) | Source::Video(path) | Source::Camera(path) => {
            let path = std::path::absolute(path).unwrap_or(path.clone());
            let mut parts = vec![];
            for part in path.components() {
                match part {
                    Component::ParentDir => drop(parts.pop()),
                    Component::Normal(part) => parts.push(part.to_owned()),
                    Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
                }
            }
            parts
        }
        // An address's host counts as its outermost folder.
        Source::Url(url) | Source::Stream(url) => {
            let address = url.split_once("://").map_or(url.as_str(), |(_, address)| address);
            let address = address.split(['?', '#']).next().unwrap_or_default();
            let (host, path) = address.split_once('/').unwrap_or((address, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            let mut parts = vec![host];
            let (folders, _) = path.rsplit_once('/').unwrap_or(("", ""));
            parts.extend(folders.split('/'));
            let usable = |part: &&str| !part.is_empty() && *part != "." && *part != "..";
            let clean = |part: &str| part.replace(|c: char| !c.is_alphanumeric() && !"-_.".contains(c), "_");
            let mut parts: Vec<OsString> = parts.into_iter().filter(usable).map(clean).map(Into::into).collect();
            parts.push(input.relative.clone().into_os_string());
            parts
        }
        Source::Stdin => vec![input.relative.clone().into_os_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of files that were found in a folder `in`.
    fn found(relative: &[&str]) -> Vec<String> {
        let input = |name: &&str| Input {
            source: Source::File(Path::new("in").join(name)),
            relative: name.into(),
            named: false,
        };
        shown(&relative.iter().map(input).collect::<Vec<_>>())
    }

    fn shown(inputs: &[Input]) -> Vec<String> {
        let suffixes = vec![vec!["json".to_owned(), "rle.json".to_owned()]; inputs.len()];
        names(inputs, &suffixes).iter().map(|name| name.stem.to_str().unwrap().replace('\\', "/")).collect()
    }

    /// Names that are no text are different, too.
    #[cfg(unix)]
    #[test]
    fn folders_whose_names_are_no_text_stay_apart() {
        use std::os::unix::ffi::OsStrExt;
        let input = |folder: &[u8]| {
            let path = Path::new(std::ffi::OsStr::from_bytes(folder)).join("x.jpg");
            Input { source: Source::File(path), relative: "x.jpg".into(), named: true }
        };
        let names = names(&[input(b"\xff"), input(b"\xfe")], &[vec!["json".into()], vec!["json".into()]]);
        assert_ne!(names[0].file, names[1].file);
    }

    /// The names of files and addresses that were given themselves.
    fn named(paths: &[&str]) -> Vec<String> {
        let input = |path: &&str| {
            let relative = Path::new(path).file_name().unwrap().into();
            let is_url = path.contains("://");
            let source = if is_url { Source::Url((*path).into()) } else { Source::File(path.into()) };
            Input { source, relative, named: true }
        };
        shown(&paths.iter().map(input).collect::<Vec<_>>())
    }

    #[test]
    fn an_output_is_called_after_its_input_without_the_extension() {
        assert_eq!(found(&["a.b.webp", "no_extension", "sub/a.b.jpg"]), ["a.b", "no_extension", "sub/a.b"]);
    }

    #[test]
    fn inputs_that_would_have_one_name_keep_their_extensions() {
        assert_eq!(found(&["a.jpg", "a.png", "b.jpg", "sub/a.jpg"]), ["a.jpg", "a.png", "b", "sub/a"]);
        // A file that is called like another input with its extension keeps its own, too.
        assert_eq!(found(&["a.jpg", "a.png", "a.jpg.bmp"]), ["a.jpg", "a.png", "a.jpg.bmp"]);
        assert_eq!(found(&["a.jpg.bmp", "a.jpg.bmp.tif", "a.png", "a.gif"]), ["a.jpg", "a.jpg.bmp", "a.png", "a.gif"]);
        // And those of which an output would be called like another's: a.rle.json.
        assert_eq!(found(&["a.jpg", "a.rle.jpg", "b.jpg"]), ["a.jpg", "a.rle.jpg", "b"]);
        let all = ["a", "a.jpg", "a.jpg.png", "a.jpg.png.bmp", "a.png"];
        assert_eq!(found(&all), all);
    }

    #[test]
    fn inputs_of_one_name_go_into_folders_of_their_own() {
        assert_eq!(named(&["a/x.jpg", "b/x.jpg"]), ["a/x", "b/x"]);
        assert_eq!(named(&["x.jpg", "b/../c/x.jpg", "c/y.jpg"]), ["x", "c/x", "c/y"]);
        assert_eq!(named(&["trip/one/x.jpg", "trip/two/x.jpg", "trip/one/x.png"]), ["one/x.jpg", "two/x", "one/x.png"]);
        assert_eq!(named(&["a/x.jpg", "b/y.jpg"]), ["x", "y"]);
    }

    #[test]
    fn a_host_is_a_folder() {
        assert_eq!(
            named(&["http://me:pw@one.org:80/a b/../x.jpg", "https://two.org/x.jpg", "in/x.jpg"]),
            ["one.org_80/a_b/x", "two.org/x", "x"]
        );
    }
}
