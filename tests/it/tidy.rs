//! What keeps the tree readable: short files that say what they are, keys that are documented, nothing left for later.
//!
//! That reasons and metrics are documented is checked in `documentation.rs` and beside the metrics.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest file, lines.
const LONGEST: usize = 500;

/// Words of what is not finished; in two halves, so that this file does not hold them.
const UNFINISHED: [(&str, &str); 6] =
    [("unimple", "mented"), ("to", "do!"), ("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("#[ig", "nore")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folders` that end in one of `endings`.
fn files(folders: &[&str], endings: &[&str]) -> Vec<PathBuf> {
    let mut left: Vec<_> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut found = Vec::new();
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if endings.iter().any(|ending| path.extension().is_some_and(|is| is == *ending)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(String, String)> {
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, fs::read_to_string(path).unwrap())
    };
    let found: Vec<_> = files(&["src", "tests", "benches", "fuzz"], &["rs"])
        .into_iter()
        .filter(|path| !path.starts_with(root().join("fuzz/target")))
        .map(read)
        .collect();
    assert!(found.len() > 40, "{} files", found.len());
    found
}

#[test]
fn files_are_short() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "longer than {LONGEST} lines: {long:?}");
}

#[test]
fn files_say_what_they_are() {
    let silent: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "no `//!` in the first line: {silent:?}");
}

#[test]
fn a_module_has_one_form_of_file() {
    let twice: Vec<_> = sources()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| root().join(name).with_extension("").is_dir())
        .collect();
    assert!(twice.is_empty(), "a file and a folder of one name: {twice:?}");
}

#[test]
fn nothing_is_left_for_later() {
    let texts = files(&["docs", "policies", "tests/corpus"], &["md", "yaml"]);
    let texts = texts.into_iter().map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()));
    let mut found = Vec::new();
    for (name, text) in sources().into_iter().chain(texts) {
        for (at, line) in text.lines().enumerate() {
            let is_left = |(half, other): &&(&str, &str)| line.contains(&format!("{half}{other}"));
            found.extend(UNFINISHED.iter().find(is_left).map(|_| format!("{name}:{}: {line}", at + 1)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The fields of the structs in a document's source, and the words of its enums.
fn keys(source: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut words = false;
    for line in source.lines() {
        let field = line.strip_prefix("    pub(super) ").or_else(|| line.strip_prefix("    pub "));
        if let Some((name, _)) = field.and_then(|field| field.split_once(": ")) {
            keys.insert(name.to_owned());
        } else if line.contains("rename_all = \"snake_case\"") {
            words = true;
        } else if line == "}" {
            words = false;
        } else if let Some(variant) = line.strip_prefix("    ").filter(|_| words)
            && variant.starts_with(|letter: char| letter.is_ascii_uppercase())
        {
            let name = variant.split(|letter: char| !letter.is_alphanumeric()).next().unwrap();
            keys.insert(snake_case(name));
        }
    }
    keys
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// The words between backticks: `audit`, and both of `timeouts.connect`.
fn words_in_code(page: &str) -> BTreeSet<String> {
    page.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .flat_map(|code| code.split(|letter: char| !letter.is_alphanumeric() && letter != '_'))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn check_documented(source: &str, page: &str, at_least: usize) {
    let read = |name: &str| {
        fs::read_to_string(root().join(name))
            .unwrap_or_else(|error| panic!("`{name}` cannot be read: {error}"))
    };
    let keys = keys(&read(source));
    assert!(keys.len() >= at_least, "{source}: only {keys:?}");
    let described = words_in_code(&read(page));
    let missing: Vec<_> = keys.difference(&described).collect();
    assert!(missing.is_empty(), "keys of {source} that {page} does not describe: {missing:?}");
}

#[test]
fn every_key_is_documented() {
    check_documented("src/config/document.rs", "docs/policy.md", 40);
    check_documented("src/policy/document.rs", "docs/policy.md", 20);
    check_documented("src/catalog/document.rs", "docs/catalogs.md", 20);
}

#[test]
fn the_scan_finds_fields_and_words() {
    let source = "pub struct A {\n    /// Doc: of it.\n    pub a: String,\n    pub(super) b_c: Vec<u8>,\n}\n#[serde(rename_all = \"snake_case\")]\nenum B {\n    One,\n    TwoThree(u8),\n}\nenum C {\n    Four,\n}\n";
    let found = keys(source);
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b_c", "one", "two_three"]);
}
