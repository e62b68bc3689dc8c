//! The two pictures of the README, as SVG.
//!
//! Owns every line and colour in them. It deliberately does not know results.md. There is no background, and all
//! colours are halfway between light and dark, so that a page of either kind can show them.

use std::fmt::Write as _;

use crate::rows::SERVERS;
use crate::{Values, digits, whole};

const WIDTH: f64 = 720.0;
/// Text and grid: 4.5 : 1 on white and 4.2 : 1 on a dark page, as WCAG 2 has contrast.
const GREY: &str = "#777";
/// One for each server, in the order of `SERVERS`: told apart by those who can't tell red from green, too.
const COLOURS: [&str; 5] = ["#1a7fd4", "#0b8a6a", "#777", "#d9730d", "#9a5fd0"];

/// Resident memory against the number of clients, on a logarithmic scale; `None` without values.
pub fn memory(values: &Values) -> Option<String> {
    let clients = resident_counts(values);
    let most = *clients.last().filter(|most| **most > 0)?;
    const TOP: f64 = 50.0;
    const BOTTOM: f64 = 330.0;
    const LEFT: f64 = 100.0;
    const RIGHT: f64 = 560.0;
    let x = |count: u32| LEFT + (RIGHT - LEFT) * f64::from(count) / f64::from(most);
    // From 1 MiB to 10 GiB, which is four decades.
    let y = |mib: f64| BOTTOM - (BOTTOM - TOP) * mib.max(1.0).log10() / 4.0;

    let mut svg = head("Resident memory against connected idle clients (logarithmic)", 370.0);
    for (mib, name) in [
        (1.0, "1 MiB"),
        (10.0, "10 MiB"),
        (100.0, "100 MiB"),
        (1e3, "1,000 MiB"),
        (1e4, "10,000 MiB"),
    ] {
        line(&mut svg, (LEFT, y(mib)), (RIGHT, y(mib)));
        text(&mut svg, (LEFT - 8.0, y(mib) + 4.0), "end", GREY, name);
    }
    for count in &clients {
        text(&mut svg, (x(*count), BOTTOM + 20.0), "middle", GREY, &whole(*count));
    }
    text(&mut svg, (f64::midpoint(LEFT, RIGHT), BOTTOM + 36.0), "middle", GREY, "clients");
    let mut labels = Vec::new();
    for ((server, name), colour) in SERVERS.iter().zip(COLOURS) {
        let points: Vec<(f64, f64)> = clients
            .iter()
            .filter_map(|count| {
                let kib = values.summary(server, &format!("resident_kib/{count}"))?.median;
                Some((x(*count), y(kib / 1024.0)))
            })
            .collect();
        let Some(last) = points.last() else { continue };
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2.5"/>"#,
            path.join(" ")
        );
        for (x, y) in &points {
            let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{colour}"/>"#);
        }
        labels.push((last.1 + 4.0, *name, colour));
    }
    // Names beside the ends of their lines, and no closer to each other than their height.
    labels.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut lowest = f64::MIN;
    for (y, name, colour) in labels {
        lowest = y.max(lowest + 16.0);
        text(&mut svg, (RIGHT + 12.0, lowest), "start", colour, name);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// The server's CPU a message, a bar for each; `None` without values.
pub fn cpu(values: &Values) -> Option<String> {
    const LEFT: f64 = 180.0;
    const RIGHT: f64 = 560.0;
    const STEP: f64 = 38.0;
    let bars: Vec<(&str, &str, f64)> = SERVERS
        .iter()
        .zip(COLOURS)
        .filter_map(|((server, name), colour)| {
            Some((*name, colour, values.summary(server, "ping_cpu_us/64")?.median))
        })
        .collect();
    let most = bars.iter().map(|bar| bar.2).reduce(f64::max)?;
    let ours = values.summary("ours", "ping_cpu_us/64")?.median;

    let mut svg = head(
        "Server CPU a message in µs: ping and pong, 64 clients",
        50.0 + STEP * bars.len() as f64,
    );
    for (index, (name, colour, value)) in bars.iter().enumerate() {
        let top = 44.0 + STEP * index as f64;
        let width = (RIGHT - LEFT) * value / most;
        text(&mut svg, (LEFT - 10.0, top + 18.0), "end", GREY, name);
        let _ = writeln!(
            svg,
            r#"<rect x="{LEFT}" y="{top:.1}" width="{width:.1}" height="26" rx="3" fill="{colour}"/>"#
        );
        let times = match *name {
            name if name == SERVERS[0].1 => digits(*value),
            _ => format!("{}  (ours is {} ×)", digits(*value), digits(ours / value)),
        };
        text(&mut svg, (LEFT + width + 8.0, top + 18.0), "start", GREY, &times);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// The numbers of clients that memory was measured with, in order.
fn resident_counts(values: &Values) -> Vec<u32> {
    let counts = values.keys().filter_map(|key| key.strip_prefix("resident_kib/")?.parse().ok());
    let mut counts: Vec<u32> = counts.collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}

fn head(title: &str, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n<title>{title}</title>\n"
    );
    text(&mut svg, (10.0, 24.0), "start", GREY, title);
    svg
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="{anchor}" fill="{colour}">{words}</text>"#,
        at.0, at.1
    );
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{GREY}" stroke-opacity="0.4"/>"#,
        from.0, from.1, to.0, to.1
    );
}
