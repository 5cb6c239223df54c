//! Naming tables: a family is a list of rules from our paths to its layers.

/// How a layer's tensors are called and laid out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Naming {
    /// TF-Slim: `scope/weights`, `scope/BatchNorm/gamma`.
    Slim,
    /// PyTorch: `module.weight`, `module.running_mean`.
    Torch,
}

/// One rule: our layers' paths, and where their convolutions and batch norms are in the file.
///
/// A pattern's `{x}` stands for one part of a path, or for its number, and comes back in the names as `{x}`, or as
/// `{x-1}` or `{x+2}` where the family counts from elsewhere. The backbone's own scope is `{backbone}`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Our path, without `.bn`.
    pub(super) ours: &'static str,
    /// The convolution's layer.
    pub(super) conv: &'static str,
    /// The batch norm's layer; empty where there is none.
    pub(super) norm: &'static str,
}

/// A rule whose convolution and batch norm are different layers.
pub(super) const fn rule(ours: &'static str, conv: &'static str, norm: &'static str) -> Rule {
    Rule { ours, conv, norm }
}

/// A rule whose convolution and batch norm share a scope.
pub(super) const fn scope(ours: &'static str, theirs: &'static str) -> Rule {
    Rule { ours, conv: theirs, norm: theirs }
}

impl Rule {
    /// The family's names of the convolution and the norm of `path`, where this rule is about it.
    pub(super) fn apply(&self, path: &str, backbone: &str) -> Option<(String, String)> {
        let mut captures = vec![("backbone", backbone)];
        let (mut pattern, mut parts) = (self.ours.split('.'), path.split('.'));
        loop {
            match (pattern.next(), parts.next()) {
                (None, None) => break,
                (Some(pattern), Some(part)) => captures.extend(capture(pattern, part)?),
                _ => return None,
            }
        }
        // A backbone at the file's root has no scope, and leaves no dot behind.
        let name = |template| Some(substitute(template, &captures)?.trim_start_matches('.').to_owned());
        Some((name(self.conv)?, name(self.norm)?))
    }
}

/// Matches one part of a path with one part of a pattern: a literal, or a literal and `{x}`.
fn capture<'a>(pattern: &'static str, part: &'a str) -> Option<Option<(&'static str, &'a str)>> {
    let Some((prefix, name)) = pattern.split_once('{') else {
        return (pattern == part).then_some(None);
    };
    let value = part.strip_prefix(prefix).filter(|value| !value.is_empty())?;
    // A literal before `{x}` makes it a number: `block{i}` is not about `blockade`.
    let number = prefix.is_empty() || value.bytes().all(|b| b.is_ascii_digit());
    number.then(|| Some((name.trim_end_matches('}'), value)))
}

fn substitute(template: &str, captures: &[(&str, &str)]) -> Option<String> {
    let mut result = String::new();
    let mut rest = template;
    while let Some((literal, tail)) = rest.split_once('{') {
        let (hole, tail) = tail.split_once('}')?;
        let sign = hole.find(['+', '-']).unwrap_or(hole.len());
        let (name, shift) = hole.split_at(sign);
        let (_, value) = captures.iter().find(|(capture, _)| *capture == name)?;
        result.push_str(literal);
        if shift.is_empty() {
            result.push_str(value);
        } else {
            let number = value.parse::<usize>().ok()?.checked_add_signed(shift.parse().ok()?)?;
            result.push_str(&number.to_string());
        }
        rest = tail;
    }
    result.push_str(rest);
    Some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_numbers_come_back() {
        let r = rule(
            "backbone.block{b}.unit{u}.conv{c}",
            "{backbone}.layer{b}.{u-1}.conv{c}",
            "{backbone}.layer{b}.{u-1}.bn{c}",
        );
        let (conv, norm) = r.apply("backbone.block3.unit23.conv2", "encoder").unwrap();
        assert_eq!((conv.as_str(), norm.as_str()), ("encoder.layer3.22.conv2", "encoder.layer3.22.bn2"));
        let shifted = scope("middle.block{i}", "blocks_{i+2}");
        assert_eq!(shifted.apply("middle.block16", "").unwrap().0, "blocks_18");
        let s = scope("aspp.branch{i}.{part}", "aspp{i}_{part}");
        assert_eq!(s.apply("aspp.branch1.depthwise", "").unwrap().0, "aspp1_depthwise");
    }

    #[test]
    fn other_paths_are_left_to_other_rules() {
        let r = scope("backbone.block{b}.conv", "x{b}");
        for path in ["backbone.block1", "backbone.block1.conv.more", "backbone.block.conv", "backbone.blockade.conv"] {
            assert_eq!(r.apply(path, ""), None, "{path}");
        }
    }
}
