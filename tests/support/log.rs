//! What a process says, line by line.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};

use super::PATIENCE;

/// The lines that a process has written so far.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Log {
    /// Collects what `source` says until it ends.
    pub fn follow(source: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                writer.0.0.lock().unwrap().push(line);
                writer.0.1.notify_all();
            }
        });
        log
    }

    /// Waits for a line that contains `text`.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_for_any(&[text])
    }

    /// Waits for a line that contains one of these texts: the first that does.
    pub fn wait_for_any(&self, texts: &[&str]) -> String {
        let fits = |line: &&String| texts.iter().any(|text| line.contains(text));
        self.find(&format!("{texts:?}"), |lines| lines.iter().find(fits).cloned())
    }

    /// Waits until there is something to be found in the lines.
    pub fn find<T>(&self, what: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let lines = self.0.0.lock().unwrap();
        let none = |lines: &mut Vec<String>| find(lines).is_none();
        let (lines, _) = self.0.1.wait_timeout_while(lines, PATIENCE, none).unwrap();
        find(&lines).unwrap_or_else(|| panic!("no {what} in {lines:#?}"))
    }
}
