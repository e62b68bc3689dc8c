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

/// The values of a run: by server and key, and then by round.
pub struct Values(BTreeMap<(String, String), BTreeMap<u32, f64>>);

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
    let facts = read(facts)? + &speed(&values);
    write(&out.join("results.md"), &page(&table, &facts, &read(notes)?))?;
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
    /// From lines of `ROUND<TAB>SERVER<TAB>KEY<TAB>VALUE`. What was tried again in a round counts once.
    fn read(text: &str) -> Result<Self> {
        let mut values = BTreeMap::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [round, server, key, value] = fields[..] else { anyhow::bail!("no value: {line}") };
            let round: u32 = round.parse().with_context(|| line.to_owned())?;
            let value: f64 = value.parse().with_context(|| line.to_owned())?;
            let rounds: &mut BTreeMap<u32, f64> =
                values.entry((server.to_owned(), key.to_owned())).or_default();
            rounds.insert(round, value);
        }
        ensure!(!values.is_empty(), "nothing was measured");
        Ok(Self(values))
    }

    /// All keys there are, of whatever server.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(|(_, key)| key.as_str())
    }

    pub fn summary(&self, server: &str, key: &str) -> Option<Summary> {
        Summary::of(self.rounds(server, key)?.values().copied().collect())
    }

    /// By how much the values of a server are another's, round by round: the machine can be faster in one than in the next.
    pub fn ratio(&self, server: &str, other: &str, key: &str) -> Option<f64> {
        let (values, others) = (self.rounds(server, key)?, self.rounds(other, key)?);
        let both = values.iter().filter_map(|(round, value)| Some(value / others.get(round)?));
        Summary::of(both.filter(|ratio| ratio.is_finite()).collect()).map(|ratio| ratio.median)
    }

    fn rounds(&self, server: &str, key: &str) -> Option<&BTreeMap<u32, f64>> {
        self.0.get(&(server.to_owned(), key.to_owned()))
    }
}

impl Summary {
    fn of(mut list: Vec<f64>) -> Option<Self> {
        list.sort_by(f64::total_cmp);
        let (least, most) = (*list.first()?, *list.last()?);
        // The mean of the two in the middle, which are one where the number is odd.
        let median = f64::midpoint(list[(list.len() - 1) / 2], list[list.len() / 2]);
        Some(Self { median, least, most })
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
        let ratio = values.ratio(own, server, &row.key).filter(|_| server != own);
        let ratio = ratio.map_or(String::new(), |ratio| format!("{} ×", digits(ratio)));
        let label = if lines.is_empty() { row.label.clone() } else { String::new() };
        let [median, least, most] = [summary.median, summary.least, summary.most].map(digits);
        lines.push([label, name.to_owned(), median, least, most, ratio]);
    }
    lines
}

/// In which speed the machine was: the echo does the same in each round.
fn speed(values: &Values) -> String {
    let Some(echo) = values.summary("floor", "ping_cpu_us/64") else { return String::new() };
    let range = format!("{} to {} µs", digits(echo.least), digits(echo.most));
    // Two speeds are further apart, and the rounds of one are not.
    let kind = if echo.most > 1.15 * echo.least { "not the same in all rounds" } else { "one" };
    format!("speed\t{kind}: a message of the echo took {range}\n")
}

fn page(table: &str, facts: &str, notes: &str) -> String {
    let mut text = String::from(
        "# Figures\n\nWritten by `benches/run`, whose head says how each is measured. Medians of all rounds; \
         “ours is” is the median of what ours is by the peer's in each round.\nCPU and memory hold on a busy machine, rates and times on a quiet \
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
