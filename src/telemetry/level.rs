//! How grave an event is.
//!
//! Owns the levels and their names. It deliberately does not know which is logged.

use std::fmt;
use std::str::FromStr;

/// How grave an event is, gravest first: journald's priorities (syslog(3)), as far as they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// The process ends because of a bug.
    Crit = 2,
    /// Something does not work until somebody acts.
    Error = 3,
    /// Something works less well than it could.
    Warn = 4,
    /// The course of things.
    Info = 6,
    /// Every message.
    Debug = 7,
}

impl Level {
    /// Every level, gravest first.
    pub const ALL: [Self; 5] = [Self::Crit, Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// What `LOG_LEVEL` may be, gravest first.
    pub const SETTINGS: [&str; 4] = ["error", "warn", "info", "debug"];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crit => "crit",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        })
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL
            .into_iter()
            .filter(|level| *level != Self::Crit)
            .find(|level| level.to_string().eq_ignore_ascii_case(name))
            .ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_they_are_written() {
        for name in Level::SETTINGS {
            let level: Level = name.parse().unwrap();
            assert_eq!(level.to_string(), name);
        }
        assert_eq!("DEBUG".parse(), Ok(Level::Debug));
        assert_eq!("crit".parse::<Level>(), Err(()));
    }
}
