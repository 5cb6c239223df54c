//! `--device`: where the network runs.

use std::fmt;
use std::str::FromStr;

/// A device by name: `auto`, `cpu`, `cuda`, `cuda:1`, `metal`, `metal:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceName {
    /// The fastest one that this program was built for and that works.
    Auto,
    Cpu,
    Cuda(usize),
    Metal(usize),
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, ordinal) = match text.split_once(':') {
            Some((kind, ordinal)) => (kind, ordinal.parse().ok()),
            None => (text, Some(0)),
        };
        match (kind, ordinal) {
            ("auto", Some(_)) if text == "auto" => Ok(Self::Auto),
            ("cpu", Some(_)) if text == "cpu" => Ok(Self::Cpu),
            ("cuda", Some(ordinal)) => Ok(Self::Cuda(ordinal)),
            ("metal", Some(ordinal)) => Ok(Self::Metal(ordinal)),
            _ => Err("choose `auto`, `cpu`, `cuda`, `metal`, or a numbered one such as `cuda:1`".into()),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Metal(ordinal) => write!(f, "metal:{ordinal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        for (text, device) in [
            ("auto", DeviceName::Auto),
            ("cpu", DeviceName::Cpu),
            ("cuda", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
            ("metal", DeviceName::Metal(0)),
        ] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        for text in ["", "gpu", "auto:0", "cpu:0", "cpu:", "cuda:", "cuda:x", "cuda:-1", "CUDA"] {
            assert!(text.parse::<DeviceName>().unwrap_err().contains("choose"), "{text}");
        }
    }
}
