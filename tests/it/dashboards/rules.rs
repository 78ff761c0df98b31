//! Alerts, their tests and their runbooks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use portcullis::command::Arguments;
use serde_json::Value;

use super::board::dashboards;
use super::{file, metrics_in};
use crate::support::prometheus::promtool;

pub(super) const RUNBOOKS: &str = "docs/runbooks.md";
const ALERTS: &str = "deploy/prometheus/alerts.yml";
const RECORDING: &str = "deploy/prometheus/recording.yml";
const TESTS: [&str; 2] = ["tests/prometheus/alerts_test.yml", "tests/prometheus/budgets_test.yml"];

fn yaml(name: &str) -> Value {
    serde_yaml::from_str(&file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The rules of a file that have the key `kind`, with its value.
fn rules(name: &str, kind: &str) -> Vec<(String, Value)> {
    let groups = yaml(name)["groups"].as_array().unwrap().clone();
    let rules = groups.into_iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
    rules.filter_map(|rule| Some((rule[kind].as_str()?.to_owned(), rule))).collect()
}

/// The sections of the runbooks that are about an alert.
fn sections() -> Vec<String> {
    file(RUNBOOKS).lines().filter_map(|line| Some(line.strip_prefix("### ")?.to_owned())).collect()
}

/// The blocks of a language in the runbooks.
pub(super) fn blocks(language: &str) -> Vec<String> {
    let page = file(RUNBOOKS);
    let start = format!("```{language}\n");
    page.split(&start).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

#[test]
fn an_alert_says_all_that_is_needed_at_night() {
    let alerts = rules(ALERTS, "alert");
    assert!(alerts.len() > 25, "{}", alerts.len());
    for (name, rule) in &alerts {
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: severity {severity:?}");
        let annotation = |key: &str| rule["annotations"][key].as_str().unwrap_or_default();
        assert!(!annotation("summary").is_empty(), "{name} has no summary");
        let (description, summary) = (annotation("description"), annotation("summary"));
        assert!(
            description.contains("{{ $") || name == "PortcullisAbsent",
            "{name}: no value in {description:?}"
        );
        assert!(!summary.contains("{{"), "{name}: a summary is the same for all: {summary:?}");
        assert_eq!(annotation("runbook_url"), format!("{RUNBOOKS}#{}", name.to_lowercase()));
        assert!(name.starts_with("Portcullis"), "{name}");
    }
    for (name, _) in rules(RECORDING, "record") {
        assert!(name.starts_with("portcullis:"), "{name}");
    }
}

#[test]
fn every_alert_has_its_runbook_and_each_runbook_its_alert() {
    let alerts: Vec<_> = rules(ALERTS, "alert").into_iter().map(|(name, _)| name).collect();
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(sections()), sorted(alerts));
    let page = file(RUNBOOKS);
    for section in page.split("\n### ").skip(1) {
        let parts = ["**Means.**", "**How bad.**", "**Look.**", "**Mend.**"];
        let places: Vec<_> = parts.iter().map(|part| section.find(part)).collect();
        assert!(
            places.iter().all(Option::is_some) && places.is_sorted(),
            "not {parts:?} in this order: {section}"
        );
    }
}

#[test]
fn every_alert_is_tested_both_ways() {
    let mut tested: BTreeMap<String, [bool; 2]> = BTreeMap::new();
    for test in TESTS.iter().flat_map(|file| yaml(file)["tests"].as_array().unwrap().clone()) {
        for case in test["alert_rule_test"].as_array().unwrap() {
            let fires = !case["exp_alerts"].as_array().unwrap().is_empty();
            tested.entry(case["alertname"].as_str().unwrap().to_owned()).or_default()[usize::from(fires)] =
                true;
        }
    }
    for (name, _) in rules(ALERTS, "alert") {
        assert_eq!(tested.remove(&name), Some([true, true]), "{name}: [does not fire, fires]");
    }
    assert!(tested.is_empty(), "{tested:?}");
}

/// A group that is not named is evaluated before those that are, and then alerts see the records of the time before.
#[test]
fn tests_evaluate_records_before_alerts() {
    let names = |key: &Value| -> Vec<Value> {
        key.as_array().unwrap().iter().map(|group| group["name"].clone()).collect()
    };
    let groups = [RECORDING, ALERTS].iter().flat_map(|file| names(&yaml(file)["groups"]));
    let groups: Vec<_> = groups.collect();
    for file in TESTS {
        assert_eq!(yaml(file)["group_eval_order"].as_array().unwrap(), &groups, "{file}");
    }
}

#[test]
fn promtool_is_content_with_configuration_and_rules() {
    promtool(&["check", "config"], "deploy/prometheus/prometheus.yml");
    for name in [RECORDING, ALERTS] {
        promtool(&["check", "rules"], name);
    }
}

#[test]
fn alerts_fire_when_they_should_and_else_do_not() {
    for file in TESTS {
        promtool(&["test", "rules"], file);
    }
}

#[test]
fn every_metric_that_is_asked_for_is_documented() {
    let reference = file("docs/metrics.md");
    let described: BTreeSet<_> = metrics_in(&reference).collect();
    let mut asked = vec![file(ALERTS), file(RECORDING), file(RUNBOOKS)];
    asked.extend(dashboards().into_iter().map(|(_, board)| board.to_string()));
    let mut missing = BTreeSet::new();
    for text in &asked {
        for name in metrics_in(text) {
            let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
            if !described.contains(name) && !family.is_some_and(|family| described.contains(family)) {
                missing.insert(name);
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:#?}");
}

#[test]
fn commands_of_ours_in_the_runbooks_exist() {
    let mut found = 0;
    for line in blocks("console").iter().flat_map(|block| block.lines()) {
        let Some(line) = line.strip_prefix("$ portcullis ") else { continue };
        found += 1;
        let mut command = Arguments::command();
        command.build();
        let mut command = &command;
        for word in line.split_whitespace() {
            if let Some(below) = command.find_subcommand(word) {
                command = below;
            } else if let Some(option) = word.strip_prefix("--") {
                let known = command.get_arguments().any(|argument| argument.get_long() == Some(option));
                assert!(known, "`{}` has no `--{option}`: {line}", command.get_name());
            }
        }
        assert_ne!(command.get_name(), "portcullis", "no command in {line}");
    }
    assert!(found >= 3, "{found}");
}

#[test]
fn words_of_the_log_in_the_runbooks_are_in_the_code() {
    let mut code = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                code += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let page = file(RUNBOOKS).replace('\n', " ");
    let mut found = 0;
    for after in
        ["log says `", "or `", "says why git ended: `", "log then says `", "What the log says of it: `"]
    {
        for rest in page.split(after).skip(1) {
            let words = rest.split('`').next().unwrap();
            if words.contains(' ') {
                found += 1;
                assert!(code.contains(words), "nothing logs `{words}`");
            }
        }
    }
    assert!(found >= 7, "{found}");
}
