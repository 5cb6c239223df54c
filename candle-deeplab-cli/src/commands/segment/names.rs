//! The names of outputs, which come from their inputs' names.

use std::collections::{HashMap, HashSet};
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

/// A name for each input; different inputs get different names.
///
/// Inputs whose names differ only in the extension keep it. If inputs from different folders still have the same name,
/// all inputs are named by their path below their common parent folder.
pub(super) fn names(inputs: &[Input]) -> Vec<Name> {
    let relative: Vec<PathBuf> = inputs.iter().map(|input| input.relative.clone()).collect();
    let mut known = HashSet::new();
    let are_different = relative.iter().all(|path| known.insert(path));
    let files = if are_different { relative } else { below_one_folder(inputs) };
    let stems = without_extensions(&files);
    files.into_iter().zip(stems).map(|(file, stem)| Name { file, stem }).collect()
}

/// Removes the extensions of all names that stay different without them.
fn without_extensions(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = paths.iter().map(|path| path.with_extension("")).collect();
    // A name that gets its extension back may then collide with another: a.jpg, a.png and a.jpg.bmp.
    loop {
        let mut times: HashMap<&Path, usize> = HashMap::new();
        names.iter().for_each(|name| *times.entry(name).or_default() += 1);
        let shared: Vec<usize> =
            (0..names.len()).filter(|&i| times[names[i].as_path()] > 1 && names[i] != paths[i]).collect();
        if shared.is_empty() {
            return names;
        }
        shared.into_iter().for_each(|i| names[i].clone_from(&paths[i]));
    }
}

fn below_one_folder(inputs: &[Input]) -> Vec<PathBuf> {
    let paths: Vec<Vec<String>> = inputs.iter().map(whereabouts).collect();
    let folders = || paths.iter().zip(inputs).filter(|(_, input)| input.path().is_some());
    let folders = folders().map(|(path, _)| &path[..path.len().saturating_sub(1)]);
    let common = |a: &[String], b: &[String]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let shared = folders.clone().next().map_or(0, |first| folders.map(|other| common(first, other)).min().unwrap_or(0));
    let below = |(path, input): (&Vec<String>, &Input)| {
        path[if input.path().is_some() { shared } else { 0 }..].iter().collect()
    };
    paths.iter().zip(inputs).map(below).collect()
}

/// The folders from the root down to an input, then its name.
fn whereabouts(input: &Input) -> Vec<String> {
    match &input.source {
        Source::File(path) | Source::Video(path) | Source::Camera(path) => {
            let path = std::path::absolute(path).unwrap_or(path.clone());
            let mut parts = vec![];
            for part in path.components() {
                match part {
                    Component::ParentDir => drop(parts.pop()),
                    Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
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
            let mut parts: Vec<String> = parts.into_iter().filter(usable).map(clean).collect();
            parts.push(input.relative.to_string_lossy().into_owned());
            parts
        }
        Source::Stdin => vec![input.relative.to_string_lossy().into_owned()],
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
        names(inputs).iter().map(|name| name.stem.to_str().unwrap().replace('\\', "/")).collect()
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
