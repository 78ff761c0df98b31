//! Each example is a sound configuration, and answers as the table in its page says.

use std::fs;
use std::path::Path;

use crate::deploy::{EXAMPLES, Site, folders};

/// A row: who asks for what, and the answer.
struct Row {
    token: String,
    request: String,
    answer: String,
}

/// The rows of a page's table of tokens, requests and answers.
fn rows(page: &str) -> Vec<Row> {
    let table = page.lines().skip_while(|line| *line != "| token | request | answer |").skip(2);
    table
        .map_while(|line| {
            let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::to_owned);
            let (token, request, answer) = (cells.next()?, cells.next()?, cells.next()?);
            Some(Row { token, request: request.trim_matches('`').to_owned(), answer })
        })
        .collect()
}

/// What `site` answers to a row's request.
fn answer(site: &Site, row: &Row) -> String {
    let who = ["--token-name", row.token.as_str()];
    let request: Vec<_> = row.request.split(' ').collect();
    let report = site.explain(&[&who[..], &request].concat());
    match report["refusal"].as_object() {
        None => "passes".to_owned(),
        Some(refusal) => format!("{} `{}`", refusal["status"], refusal["reason"].as_str().unwrap()),
    }
}

fn page(folder: &Path) -> String {
    fs::read_to_string(folder.join("README.md")).unwrap()
}

#[test]
fn every_example_is_sound() {
    let examples = folders(EXAMPLES);
    assert!(examples.len() >= 5, "{examples:?}");
    for folder in examples {
        Site::of(&folder).check(folder.to_str().unwrap());
    }
}

#[test]
fn every_example_answers_as_its_page_says() {
    for folder in folders(EXAMPLES) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let rows = rows(&page(&folder));
        assert!(rows.len() >= 5, "{name}: {} rows", rows.len());
        let site = Site::of(&folder);
        for row in rows {
            assert_eq!(answer(&site, &row), row.answer, "{name}: {}: {}", row.token, row.request);
        }
    }
}

#[test]
fn every_example_stands_in_the_list() {
    let list = page(Path::new(EXAMPLES));
    for folder in folders(EXAMPLES) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(list.contains(&format!("[{name}]({name}/README.md)")), "{name}");
    }
}
