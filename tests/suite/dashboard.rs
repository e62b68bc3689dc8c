//! packaging/grafana-dashboard.json shows what the server exposes, all of it and nothing else.
//!
//! Deliberately knows no Grafana: it reads the queries, and promtool reads them again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use crate::fetch::get;
use crate::metrics::promtool;
use crate::support::Server;

/// The words of PromQL that stand where a metric could.
const WORDS: [&str; 13] = [
    "and",
    "bool",
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "inf",
    "nan",
    "offset",
    "on",
    "or",
    "unless",
    "without",
];

fn dashboard() -> Value {
    serde_json::from_str(include_str!("../../packaging/grafana-dashboard.json")).unwrap()
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row")
}

/// Every string with this key, at any depth.
fn strings<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(text) if name == key => found.push(text),
                    _ => strings(value, key, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| strings(value, key, found)),
        _ => {}
    }
}

fn expressions(value: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    strings(value, "expr", &mut found);
    found
}

/// The metrics that an expression reads: the names that are neither labels, functions nor words.
fn metrics(expression: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut names = BTreeSet::new();
    let mut rest = expression;
    let mut labels_follow = false;
    while let Some(c) = rest.chars().next() {
        let skip = |close: char| rest.find(close).unwrap_or_else(|| panic!("no {close} in {rest}"));
        let end = match c {
            // Label values hold no braces in this dashboard, and ranges no names.
            '{' => skip('}') + 1,
            '[' => skip(']') + 1,
            '(' if labels_follow => skip(')') + 1,
            '"' | '\'' | '`' => panic!("a string outside of a selector in {expression}"),
            c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, behind) = rest.split_at(end);
        rest = behind;
        if token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            // An aggregation may have its labels before its argument.
            let called =
                ["(", "by ", "without "].iter().any(|next| behind.trim_start().starts_with(next));
            labels_follow = WORDS.contains(&token);
            if !called && !labels_follow {
                names.insert(token.to_owned());
            }
        } else if !token.trim().is_empty() {
            labels_follow = false;
        }
    }
    assert!(!names.is_empty(), "no metric in {expression}");
    names
}

/// The metrics of a variable's query: only `label_values(metric, label)` is known.
fn queried(query: &str) -> BTreeSet<String> {
    let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let (metric, label) = inner.and_then(|inner| inner.rsplit_once(", ")).unwrap();
    assert!(label.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{query}");
    metrics(metric)
}

/// What a server exposes: the names that a query can have, each with the family behind it.
fn exposed() -> BTreeMap<String, String> {
    let server = Server::start(&[]);
    let text = get(server.port, "/metrics").body;
    let mut names = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (family, kind) = line.split_once(' ').unwrap();
        let suffixes: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        for suffix in suffixes {
            names.insert(format!("{family}{suffix}"), family.to_owned());
        }
    }
    names
}

#[test]
fn names_are_told_from_the_rest_of_a_query() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    for (expression, names) in [
        ("a", set(&["a"])),
        (
            r#"sum by (le, type) (rate(a_total{b="c", d=~"$e"}[$__rate_interval])) * 60"#,
            set(&["a_total"]),
        ),
        ("a / on (instance) group_left(version) b", set(&["a", "b"])),
        ("time() - max(a) without (x) > 1e3", set(&["a"])),
        ("histogram_quantile(0.99, a) or b offset 5m", set(&["a", "b"])),
    ] {
        assert_eq!(metrics(expression), names, "{expression}");
    }
    assert_eq!(queried("label_values(a, b)"), set(&["a"]));
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let dashboard = dashboard();
    let exposed = exposed();
    let family = |name: &String| {
        exposed.get(name).cloned().unwrap_or_else(|| panic!("{name} is exposed by no server"))
    };
    let mut shown = BTreeSet::new();
    for panel in panels(&dashboard) {
        let expressions = expressions(panel);
        assert!(!expressions.is_empty(), "{} shows nothing", panel["title"]);
        shown.extend(expressions.into_iter().flat_map(metrics).map(|name| family(&name)));
    }
    // What is outside of panels reads what exists, too.
    expressions(&dashboard).into_iter().flat_map(metrics).for_each(|name| drop(family(&name)));
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let queries = variables.iter().filter(|variable| variable["type"] == "query");
    let mut count = 0;
    for variable in queries {
        let query = variable["query"]["query"].as_str().unwrap();
        assert_eq!(variable["definition"], query);
        queried(query).iter().for_each(|name| drop(family(name)));
        count += 1;
    }
    assert_eq!(count, 1, "the choice of servers");
    let all: BTreeSet<_> = exposed.into_values().collect();
    assert_eq!(shown, all, "every family is in some panel");
}

#[test]
fn promtool_understands_every_query() {
    let dashboard = dashboard();
    let expressions = expressions(&dashboard);
    // As rules, because those are what promtool reads. YAML takes JSON.
    let rules = expressions.iter().enumerate().map(|(number, expression)| {
        let expression = expression.replace("$__rate_interval", "5m").replace("$__range", "6h");
        json!({"record": format!("dashboard:query:{number}"), "expr": expression})
    });
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules.collect::<Vec<_>>()}]});
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.yml");
    fs::write(&path, rules.to_string()).unwrap();
    let said = promtool(&["check", "rules", path.to_str().unwrap()], "");
    assert!(said.contains(&format!("SUCCESS: {} rules found", expressions.len())), "{said}");
}

#[test]
fn every_panel_says_what_it_shows() {
    let dashboard = dashboard();
    assert_eq!(dashboard["title"], "OpenStudio signaling");
    assert_eq!(dashboard["uid"], "openstudio-signaling");
    let source = json!({"type": "prometheus", "uid": "${DS_PROMETHEUS}"});
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!(variable["name"], "DS_PROMETHEUS");
    assert_eq!(
        (&variable["type"], &variable["query"]),
        (&json!("datasource"), &json!("prometheus"))
    );
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(!title.is_empty() && ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{title} is wider than the page");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                assert!(taken.insert((x, y)), "{title} is over another panel");
            }
        }
    }
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        assert!(text(&panel["description"]), "{title} has no description");
        assert!(text(&panel["fieldConfig"]["defaults"]["unit"]), "{title} has no unit");
        assert_eq!(panel["datasource"], source, "{title}");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"], source, "{title}");
        }
    }
}
