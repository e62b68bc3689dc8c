//! Where a value comes from, and what is said of an invalid one.
//!
//! Owns the words for both. It deliberately does not know a value.

use std::fmt;
use std::path::PathBuf;

/// What stands for the value of a secret.
pub const HIDDEN: &str = "(hidden)";

/// Where a value comes from, strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file that systemd passes.
    Credential(PathBuf),
    /// The command line.
    Flag,
    /// The process environment.
    Environment,
    /// A line of the settings file.
    File(PathBuf, usize),
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(path) => write!(f, "credential {}", path.display()),
            Self::Flag => f.write_str("command line"),
            Self::Environment => f.write_str("environment"),
            Self::File(path, line) => write!(f, "{} line {line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// An invalid value. Its text names the setting, the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl Invalid {
    /// Whether it is the value of this setting.
    pub fn is_about(&self, name: &str) -> bool {
        self.0.starts_with(&format!("Invalid setting {name}="))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
