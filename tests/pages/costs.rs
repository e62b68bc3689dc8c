//! docs/costs.md says what the benchmark measured, and scales it by the factors that it names.

use std::fs;

use crate::top;

/// How far a figure may be from the last results: another machine moves all of them.
const LEEWAY: f64 = 0.25;

fn number(text: &str) -> Option<f64> {
    text.replace(',', "").parse().ok()
}

/// The median of a figure of ours in benches/results.md.
fn measured(results: &str, figure: &str, server: &str) -> f64 {
    let mut current = "";
    for line in results.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        if !cells[0].is_empty() {
            current = cells[0];
        }
        if current == figure && cells[1] == server {
            return number(cells[2]).unwrap();
        }
    }
    panic!("benches/results.md has no {figure:?} of {server}");
}

#[test]
fn the_costs_are_those_that_were_measured() {
    let page = fs::read_to_string(top().join("docs/costs.md")).unwrap();
    let results = fs::read_to_string(top().join("benches/results.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with('|'));
    let (mut compared, mut scaled) = (0, 0);
    for row in rows.filter(|row| !row.contains("estimate")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let &[what, here, pi5, pi4, ref figure @ ..] = cells.as_slice() else { continue };
        // The rows of the stations are words.
        let (Some(here), Some(pi5), Some(pi4)) = (number(here), number(pi5), number(pi4)) else {
            continue;
        };
        if let Some(figure) = figure.first() {
            let name = figure.split('`').nth(1).unwrap();
            let server = match figure.ends_with(", TLS") {
                true => "openstudio-signaling, TLS",
                false => "openstudio-signaling",
            };
            let measured = measured(&results, name, server);
            let apart = (here / measured - 1.0).abs();
            assert!(apart <= LEEWAY, "{here}, but {name} is {measured} in benches/results.md");
            compared += 1;
        }
        let factors = if what.ends_with("iB") { [1.0, 1.0] } else { [1.5, 3.0] };
        for (pi, factor) in [pi5, pi4].into_iter().zip(factors) {
            let apart = (pi / (here * factor) - 1.0).abs();
            assert!(apart <= 0.03, "{pi} is not {here} times {factor} in {row}");
            scaled += 1;
        }
    }
    assert!(compared == 10 && scaled == 30, "{compared} figures compared, {scaled} scaled");
    assert!(page.contains("**Processor: 1.5 for a Pi 5, and 3 for a Pi 4.**"));
}
