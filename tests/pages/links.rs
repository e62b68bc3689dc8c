//! Links of the pages lead somewhere, and every page is found.

use std::fs;

use crate::site::Site;
use crate::{man_pages, top};

#[test]
fn every_link_leads_somewhere_and_to_every_page_leads_one() {
    let site = Site::read(top());
    let faults = site.faults();
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(site.count() > 200, "{} links", site.count());
}

#[test]
fn what_is_wrong_with_a_link_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("code.rs", "");
    write(
        "README.md",
        "# A `b`, c!\n\n## Twice\n\n## Twice\n\n```sh\n# no heading [no](link.md)\n```\n\n\
         [good](#a-b-c) [good](#twice-1) [good](docs/one.md#with-a-link) [good](https://studio.example.org/)\n\
         [`good`](code.rs) ![good](docs) `[no](link.md)`\n\
         [bad](#twice-2) [bad](#no-heading) [bad](docs/two.md) [bad](docs/one.md#Twice) [bad](code.rs#L1)\n\
         [bad](../outside.md) [bad](/README.md) <a href=\"gone.html\">bad</a> ![bad](gone.png \"title\")\n",
    );
    write(
        "docs/one.md",
        "## [With](../code.rs) a link\n\n[good](../README.md) [bad](README.md)\n[bad][ref]\n",
    );
    write("docs/lost.md", "[good](one.md)\n");
    write("target/no.md", "[no](link.md)\n");
    let expected = [
        "README.md: #twice-2: there is no such heading",
        "README.md: #no-heading: there is no such heading",
        "README.md: docs/two.md: there is no such file",
        "README.md: docs/one.md#Twice: there is no such heading",
        "README.md: code.rs#L1: only pages have anchors",
        "README.md: ../outside.md: it leads out of the sources",
        "README.md: /README.md: it leads out of the sources",
        "README.md: gone.png: there is no such file",
        "README.md: gone.html: there is no such file",
        "docs/one.md: README.md: there is no such file",
        "docs/one.md: a link by reference, which is not followed here",
        "docs/lost.md: no link from README.md leads here",
    ];
    let mut found = Site::read(directory.path()).faults();
    let mut expected = expected.map(str::to_owned).to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn every_link_of_the_installed_pages_leads_somewhere_in_the_package() {
    let directory = tempfile::tempdir().unwrap();
    let examples = directory.path().join("examples");
    fs::create_dir(&examples).unwrap();
    for pattern in include_str!("../../debian/openstudio-signaling.examples").lines() {
        let files = match pattern.strip_suffix("/*") {
            Some(folder) => {
                fs::read_dir(top().join(folder)).unwrap().map(|it| it.unwrap().path()).collect()
            }
            None => vec![top().join(pattern)],
        };
        for file in files {
            fs::copy(&file, examples.join(file.file_name().unwrap())).unwrap();
        }
    }
    for (path, text) in Site::read(&man_pages().join("pages")).pages() {
        let page = directory.path().join(path);
        fs::create_dir_all(page.parent().unwrap()).unwrap();
        fs::write(page, text).unwrap();
    }
    let site = Site::read(directory.path());
    let faults = site.faults();
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(site.pages().count(), 8);
    assert!(site.count() > 100, "{} links", site.count());
}

#[test]
fn files_that_the_pages_name_are_there() {
    let mut files = 0;
    let site = Site::read(top());
    for (path, page) in site.pages().filter(|(path, _)| !path.ends_with("CHANGELOG.md")) {
        // What is between backticks, outside of blocks: a path in the sources.
        let spans = page.split('`').skip(1).step_by(2);
        let is_source =
            |span: &&str| span.ends_with(".rs") && span.contains('/') && !span.contains(' ');
        for span in spans.filter(is_source) {
            let places = [top().join(span), top().join("src").join(span)];
            assert!(places.iter().any(|file| file.exists()), "{span} in {}", path.display());
            files += 1;
        }
    }
    assert!(files > 30, "{files}");
}

#[test]
fn the_developers_page_names_every_step_of_the_tests() {
    let page = fs::read_to_string(top().join("docs/develop.md")).unwrap();
    let (_, table) = page.split_once("| steps | what they test |\n|---|---|\n").unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").next().unwrap());
    let mut named: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let list = fs::read_to_string(top().join("tests/steps/list")).unwrap();
    let steps = list.lines().filter(|line| !line.starts_with('#'));
    let mut steps: Vec<_> = steps.filter_map(|line| line.split_whitespace().next()).collect();
    named.sort_unstable();
    steps.sort_unstable();
    assert_eq!(named, steps);
}
