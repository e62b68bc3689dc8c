//! How often something was said.

use crate::support::Log;

impl Log {
    /// How many lines so far contain `text`.
    pub fn count(&self, text: &str) -> usize {
        self.find(text, |lines| Some(lines.iter().filter(|line| line.contains(text)).count()))
    }
}
