//! The layers of the code as data: what each module may name, and what no pure module may touch.
//!
//! Reads the sources as text, without comments and tests. To add a module, add a row; to draw an edge, name it in the
//! row, in the same commit as the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use World::{Pure, Shell};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum World {
    /// No I/O, clock, randomness, environment, async or logging.
    Pure,
    Shell,
}

/// Module, its world, and the modules that it may name beside itself. A row names only rows above it.
#[rustfmt::skip]
const LAYERS: [(&str, World, &[&str]); 28] = [
    // L0: the vocabulary.
    ("domain", Pure, &[]),
    ("units", Pure, &[]),
    // L1: texts and values, in and out; what a request needs, and whether it may pass.
    ("yaml", Pure, &["domain"]),
    ("headers", Pure, &["domain"]),
    ("framing", Pure, &["domain"]),
    ("protocol", Pure, &["domain", "headers"]),
    ("catalog", Pure, &["domain", "yaml"]),
    ("policy", Pure, &["domain", "catalog", "headers", "units", "yaml"]),
    ("explain", Pure, &["domain", "catalog", "policy"]),
    // L2: the world outside, one kind of thing a module.
    ("clock", Shell, &["domain"]),
    ("tasks", Shell, &[]),
    ("config", Shell, &["domain", "units", "yaml"]),
    ("tls", Shell, &["domain", "config"]),
    ("git_host", Shell, &["domain"]),
    // L3: what lives as long as the process.
    ("record", Shell, &["domain", "clock"]),
    ("store", Shell, &["domain", "units", "clock"]),
    ("live", Shell, &["domain", "clock", "policy", "store"]),
    ("issuer", Shell, &["domain", "clock", "policy", "store"]),
    ("hooks", Shell, &["domain", "clock", "tasks", "config", "store", "issuer"]),
    ("refuse", Shell, &["domain", "catalog", "headers", "record"]),
    ("oidc", Shell, &["domain", "clock", "config", "tls"]),
    ("api", Shell, &["domain", "catalog", "headers", "policy", "explain", "clock", "record", "refuse", "store", "live", "issuer", "oidc"]),
    // L4: the data plane.
    ("gateway", Shell, &["domain", "headers", "protocol", "catalog", "policy", "clock", "tasks", "framing", "config", "tls", "git_host", "record", "refuse", "live", "api"]),
    // L5: beside it, and never into its inside.
    ("control", Shell, &["domain", "clock", "tasks", "record", "store", "hooks", "api"]),
    // L6: composition and the command line.
    ("app", Shell, EVERYTHING_ABOVE),
    ("command", Shell, EVERYTHING_ABOVE),
    ("lib", Shell, &[]),
    ("main", Shell, EVERYTHING_ABOVE),
];

/// Every row above.
const EVERYTHING_ABOVE: &[&str] = &["*"];

/// What no pure module may touch.
const IMPURE: [&str; 14] = [
    "tokio::",
    "hyper::",
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "async fn",
    "async move",
    ".await",
    "tracing::",
    "prometheus::",
];

/// A module and where it names another.
#[derive(Debug)]
struct Edge {
    from: String,
    to: String,
    place: String,
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

/// Every source file that is not a test, with its module.
fn sources() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(root()).unwrap();
            let is_test = below.iter().any(|part| part == "tests" || part == "tests.rs");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test {
                let module = Path::new(below.iter().next().unwrap()).with_extension("");
                found.push((module.to_str().unwrap().to_owned(), path));
            }
        }
    }
    found.sort();
    found
}

/// The code without comments and test modules; lines stay where they are.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut in_tests = None;
    let mut test_only = false;
    for line in text.lines() {
        let line = match line.find("//") {
            Some(at) if !line.contains("://") => line.get(..at).unwrap(),
            _ => line,
        };
        let indent = line.len() - line.trim_start().len();
        if line.trim() == "#[cfg(test)]" {
            test_only = true;
        } else if test_only && line.trim_end().ends_with('{') {
            in_tests = Some(indent);
            test_only = false;
        } else if test_only && line.trim_end().ends_with(';') {
            test_only = false;
        } else if in_tests == Some(indent) && line.trim() == "}" {
            in_tests = None;
        } else if in_tests.is_none() && !test_only {
            code += line;
        }
        code.push('\n');
    }
    code
}

/// The modules that `code` names behind `crate::` or `portcullis::`, also in a `use` of several.
fn named(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for start in ["crate::", "portcullis::"] {
        for (at, _) in code.match_indices(start) {
            let before = code.get(..at).unwrap();
            if before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':') {
                continue;
            }
            let line = before.lines().count().max(1);
            let rest = code.get(at + start.len()..).unwrap();
            let names: Vec<&str> = match rest.strip_prefix('{') {
                None => vec![rest],
                Some(list) => top_level(list),
            };
            for name in names {
                let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
                let name = name.get(..end.unwrap_or(name.len())).unwrap();
                found.push((line, name.to_owned()));
            }
        }
    }
    found
}

/// The members of `a, b::{c, d}, e}`.
fn top_level(list: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let mut start = 0;
    let mut members = Vec::new();
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(list.get(start..at).unwrap().trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(list.get(start..at).unwrap().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    members.into_iter().filter(|member| !member.is_empty()).collect()
}

fn edges() -> Vec<Edge> {
    let mut edges = Vec::new();
    for (module, path) in sources() {
        let code = code_of(&fs::read_to_string(&path).unwrap());
        for (line, to) in named(&code) {
            if to != module {
                let place = format!("{}:{line}", path.strip_prefix(root()).unwrap().display());
                let from = module.clone();
                edges.push(Edge { from, to, place });
            }
        }
    }
    edges
}

fn position(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(known, _, _)| *known == module)
}

fn allowed(from: &str, to: &str) -> bool {
    let (Some(from), Some(to)) = (position(from), position(to)) else {
        return false;
    };
    let (_, _, may_name) = LAYERS[from];
    to < from && (may_name == EVERYTHING_ABOVE || may_name.contains(&LAYERS[to].0))
}

#[test]
fn a_module_names_only_what_its_row_allows() {
    let wrong: Vec<_> = edges()
        .into_iter()
        .filter(|edge| !allowed(&edge.from, &edge.to))
        .map(|edge| format!("src/{}: `{}` names `{}`", edge.place, edge.from, edge.to))
        .collect();
    assert!(wrong.is_empty(), "change the code, or the table in tests/it/layers.rs:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_row() {
    let modules: BTreeSet<_> = sources().into_iter().map(|(module, _)| module).collect();
    let missing: Vec<_> = modules.iter().filter(|module| position(module).is_none()).collect();
    assert!(missing.is_empty(), "no row in tests/it/layers.rs for {missing:?}");
    assert!(modules.len() >= 9, "{modules:?}");
}

#[test]
fn rows_name_rows_above_them() {
    for (at, (module, world, may_name)) in LAYERS.iter().enumerate() {
        for other in may_name.iter().filter(|other| **other != "*") {
            let known = position(other);
            assert!(known.is_some_and(|known| known < at), "{module} names {other}, which is not above it");
            let of_shell = known.is_some_and(|known| LAYERS[known].1 == Shell);
            assert!(*world == Shell || !of_shell, "{module} is pure and names {other}, which is not");
        }
    }
}

/// By the code itself, whatever the table says.
#[test]
fn modules_form_no_cycle() {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for edge in edges() {
        names.entry(edge.from).or_default().insert(edge.to);
    }
    // Takes away, again and again, what names nothing that is left.
    while let Some(free) = names
        .iter()
        .find(|(_, others)| others.iter().all(|other| !names.contains_key(other)))
        .map(|(module, _)| module.clone())
    {
        names.remove(&free);
    }
    assert!(names.is_empty(), "in a cycle, or above one: {names:?}");
}

#[test]
fn pure_modules_touch_nothing_outside() {
    let mut wrong = Vec::new();
    for (module, path) in sources() {
        if position(&module).is_none_or(|at| LAYERS[at].1 == Shell) {
            continue;
        }
        let code = code_of(&fs::read_to_string(&path).unwrap());
        for (at, line) in code.lines().enumerate() {
            for token in IMPURE.iter().filter(|token| holds(line, token)) {
                wrong.push(format!("{}:{}: `{token}` in a pure module", path.display(), at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether `token` stands in `line`, and not as the beginning of a longer word.
fn holds(line: &str, token: &str) -> bool {
    line.match_indices(token).any(|(at, _)| {
        let next = line.get(at + token.len()..).and_then(|rest| rest.chars().next());
        token.ends_with(':') || next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
    })
}

#[test]
fn a_word_is_not_found_in_a_longer_one() {
    assert!(holds("a.await?;", ".await") && holds("a.await", ".await") && holds("tokio::spawn", "tokio::"));
    assert!(!holds("a.awaited_part()", ".await"));
}

#[test]
fn the_reader_sees_code_and_not_comments_or_tests() {
    let code = code_of(
        "//! crate::a\nuse crate::b::B; // crate::c\n#[cfg(test)]\nuse crate::d::D;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod tests {\n    use crate::e::E;\n    fn f() {\n    }\n}\nuse crate::{f::{G, H}, i};\nlet url = \"http://x\"; crate::j::k();\npub(crate) struct X;\nother_crate::y();\n",
    );
    let found: Vec<_> = named(&code).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(found, ["2 b", "13 f", "13 i", "14 j"]);
}
