//! What `check` prints: one line a step, in words or as JSON.
//!
//! Owns the forms of a line, how a step is timed and bounded, and what a problem is. It deliberately knows no
//! step and no server.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::timeout;

/// Back to the start of a terminal's line, and away with what was on it.
const REWIND: &str = "\r\x1b[K";

/// Why a step failed, and what to do.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl Problem {
    /// A problem and its fix.
    pub fn new(what: impl Display, fix: impl Display) -> Self {
        Self { what: what.to_string(), fix: fix.to_string() }
    }

    fn slow(awaited: &str, time: Duration) -> Self {
        Self::new(
            format!("no {awaited} within {} s", time.as_secs_f64()),
            "the server hangs or a firewall drops packets: look at `systemctl status openstudio-signaling`, or allow more with --timeout",
        )
    }
}

/// What a step that worked found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What it found.
    pub detail: String,
    /// What will be a problem some day, and what to do about it.
    pub warning: Option<String>,
}

impl<T: Into<String>> From<T> for Finding {
    fn from(detail: T) -> Self {
        Self { detail: detail.into(), warning: None }
    }
}

/// One line as JSON.
#[derive(Serialize)]
struct Line<'a> {
    step: &'a str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
}

/// Where the lines go.
#[derive(Debug)]
pub struct Report {
    json: bool,
    /// How long a step may take.
    timeout: Duration,
    terminal: bool,
    /// Whether the terminal's last line is one that the next replaces.
    live: bool,
}

impl Report {
    /// A report on standard output, as JSON or in words, of steps that may each take `timeout`.
    pub fn new(json: bool, timeout: Duration) -> Self {
        Self { json, timeout, terminal: io::stdout().is_terminal(), live: false }
    }

    /// Whether lines are JSON.
    pub fn json(&self) -> bool {
        self.json
    }

    /// How long a step may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether there is a terminal on which a line can replace the one before.
    pub fn has_live_line(&self) -> bool {
        self.terminal && !self.json
    }

    /// Runs a step and prints its line. What it came to, where it worked; `awaited` is what has not come
    /// where its time runs out.
    pub async fn step<T>(
        &mut self,
        name: &str,
        awaited: &str,
        step: impl Future<Output = Result<(Finding, T), Problem>>,
    ) -> Option<T> {
        let start = Instant::now();
        let result = self.bounded(awaited, step).await;
        self.done(name, start, result)
    }

    /// Prints the line of a step that is over. What it came to, where it worked.
    pub fn done<T>(
        &mut self,
        name: &str,
        start: Instant,
        result: Result<(Finding, T), Problem>,
    ) -> Option<T> {
        let (result, value) = match result {
            Ok((finding, value)) => (Ok(finding), Some(value)),
            Err(problem) => (Err(problem), None),
        };
        // A reader that has closed the pipe still gets the exit code.
        let _ = self.line(name, start.elapsed(), &result);
        value
    }

    /// Bounds a step.
    ///
    /// # Errors
    ///
    /// The step's, or that `awaited` did not come in time.
    pub async fn bounded<T>(
        &self,
        awaited: &str,
        step: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let slow = || Err(Problem::slow(awaited, self.timeout));
        timeout(self.timeout, step).await.unwrap_or_else(|_| slow())
    }

    /// Prints a step's line.
    ///
    /// # Errors
    ///
    /// When nobody reads it.
    pub fn line(
        &mut self,
        step: &str,
        took: Duration,
        result: &Result<Finding, Problem>,
    ) -> io::Result<()> {
        self.write(step, Some((took.as_secs_f64() * 100_000.0).round() / 100.0), result)
    }

    /// Prints the line of what has been found beside the steps, and took no time of its own.
    ///
    /// # Errors
    ///
    /// When nobody reads it.
    pub fn found(&mut self, name: &str, result: &Result<Finding, Problem>) -> io::Result<()> {
        self.write(name, None, result)
    }

    fn write(
        &mut self,
        step: &str,
        ms: Option<f64>,
        result: &Result<Finding, Problem>,
    ) -> io::Result<()> {
        let line = if self.json {
            let (detail, warning, fix) = match result {
                Ok(finding) => (&finding.detail, finding.warning.as_deref(), None),
                Err(problem) => (&problem.what, None, Some(problem.fix.as_str())),
            };
            let line = Line { step, ok: result.is_ok(), ms, detail, warning, fix };
            serde_json::to_string(&line).expect("plain data can be written")
        } else {
            let took = ms.map(|ms| format!(", in {ms} ms")).unwrap_or_default();
            match result {
                Ok(Finding { detail, warning: None }) => format!("✓ {step:<10} {detail}{took}"),
                Ok(Finding { detail, warning: Some(warning) }) => {
                    format!("! {step:<10} {detail}{took}; {warning}")
                }
                Err(problem) => format!("✗ {step:<10} {}; {}", problem.what, problem.fix),
            }
        };
        self.print(&line)
    }

    /// Prints a line that stays.
    ///
    /// # Errors
    ///
    /// When nobody reads it.
    pub fn print(&mut self, line: &str) -> io::Result<()> {
        let rewind = if std::mem::take(&mut self.live) { REWIND } else { "" };
        writeln!(io::stdout(), "{rewind}{line}")
    }

    /// Replaces the live line of a terminal. It should fit into 80 columns: a line that wraps can't be replaced.
    ///
    /// # Errors
    ///
    /// When the terminal is gone.
    pub fn print_live(&mut self, line: &str) -> io::Result<()> {
        self.live = true;
        let mut stdout = io::stdout();
        write!(stdout, "{REWIND}{line}")?;
        stdout.flush()
    }

    /// Lets the live line stay as it is.
    ///
    /// # Errors
    ///
    /// When the terminal is gone.
    pub fn keep_live(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.live) { writeln!(io::stdout()) } else { Ok(()) }
    }
}
