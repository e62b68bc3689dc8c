//! Makes the table, results.md and the pictures from the values of a run.
//!
//! Owns medians and how a value is written. It deliberately does not know how a value was measured.

mod picture;
mod rows;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::rows::{Row, SERVERS, rows};

/// The values of a run: by server and key, as many as there were rounds.
pub struct Values(BTreeMap<(String, String), Vec<f64>>);

/// What became of the values of one key.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [values, facts, notes, out] = arguments.as_slice() else {
        anyhow::bail!("usage: report VALUES FACTS NOTES DIR");
    };
    let values = Values::read(&read(values)?)?;
    let table = table(&values)?;
    println!("\n{table}");
    let out = Path::new(out);
    write(&out.join("results.md"), &page(&table, &read(facts)?, &read(notes)?))?;
    if let Some(picture) = picture::memory(&values) {
        write(&out.join("memory.svg"), &picture)?;
    }
    if let Some(picture) = picture::cpu(&values) {
        write(&out.join("cpu.svg"), &picture)?;
    }
    Ok(())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.to_owned())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())?;
    println!("wrote {}", path.display());
    Ok(())
}

impl Values {
    /// From lines of `SERVER<TAB>KEY<TAB>VALUE`.
    fn read(text: &str) -> Result<Self> {
        let mut values = BTreeMap::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [server, key, value] = fields[..] else { anyhow::bail!("no value: {line}") };
            let list: &mut Vec<f64> =
                values.entry((server.to_owned(), key.to_owned())).or_default();
            list.push(value.parse().with_context(|| line.to_owned())?);
        }
        ensure!(!values.is_empty(), "nothing was measured");
        Ok(Self(values))
    }

    /// All keys there are, of whatever server.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|(_, key)| key.as_str())
    }

    pub fn summary(&self, server: &str, key: &str) -> Option<Summary> {
        let mut list = self.0.get(&(server.to_owned(), key.to_owned()))?.clone();
        list.sort_by(f64::total_cmp);
        let (least, most) = (*list.first()?, *list.last()?);
        // The mean of the two in the middle, which are one where the number is odd.
        let median = f64::midpoint(list[(list.len() - 1) / 2], list[list.len() / 2]);
        Some(Summary { median, least, most })
    }
}

/// Three digits that count, and all before the point.
pub fn digits(value: f64) -> String {
    match value {
        99.95.. => whole(value.round() as u32),
        9.995.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number with a comma before every third digit from the right.
pub fn whole(number: u32) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", whole(number / 1000), number % 1000),
    }
}

/// The table, as Markdown that can be read as it is: a row for each figure and server.
fn table(values: &Values) -> Result<String> {
    let mut lines = vec![["figure", "server", "median", "min", "max", "ours is"].map(String::from)];
    for row in rows(values)? {
        lines.extend(lines_of(&row, values));
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        text.push('|');
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Writing to a String does not fail.
            let _ = if column < 2 {
                write!(text, " {cell:<width$} |")
            } else {
                write!(text, " {cell:>width$} |")
            };
        }
        text.push('\n');
        if index == 0 {
            text.push('|');
            for (column, width) in widths.iter().enumerate() {
                text.push_str(&"-".repeat(width + 1));
                text.push_str(if column < 2 { "-|" } else { ":|" });
            }
            text.push('\n');
        }
    }
    Ok(text)
}

fn lines_of(row: &Row, values: &Values) -> Vec<[String; 6]> {
    let mut lines = Vec::new();
    for (server, name) in SERVERS {
        let Some(summary) = values.summary(server, &row.key) else { continue };
        // Who speaks TLS is compared with ours that does.
        let own = if server == "ws-tls" { "ours-tls" } else { "ours" };
        let ratio = match values.summary(own, &row.key) {
            Some(ours) if server != own && summary.median > 0.0 => {
                format!("{} ×", digits(ours.median / summary.median))
            }
            _ => String::new(),
        };
        let label = if lines.is_empty() { row.label.clone() } else { String::new() };
        let [median, least, most] = [summary.median, summary.least, summary.most].map(digits);
        lines.push([label, name.to_owned(), median, least, most, ratio]);
    }
    lines
}

fn page(table: &str, facts: &str, notes: &str) -> String {
    let mut text = String::from(
        "# Figures\n\nWritten by `benches/run`, whose head says how each is measured. Medians of all rounds; \
         “ours is” is our median by the peer's.\nCPU and memory hold on a busy machine, rates and times on a quiet \
         one only.\n\n",
    );
    for line in facts.lines() {
        let (name, value) = line.split_once('\t').unwrap_or((line, ""));
        let _ = writeln!(text, "- {name}: {value}");
    }
    let _ = write!(text, "\n{table}");
    if !notes.is_empty() {
        text.push_str("\nNot measured:\n\n");
        for line in notes.lines() {
            let _ = writeln!(text, "- {}", line.replacen('\t', ": ", 1));
        }
    }
    text
}
