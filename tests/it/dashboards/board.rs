//! The dashboards as files: what Grafana needs, what their readers need, and that links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::file;
use super::rules::RUNBOOKS;

const FOLDER: &str = "deploy/grafana/dashboards";

/// The columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// Every dashboard by the name of its file.
pub(super) fn dashboards() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FOLDER);
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let text = file(&format!("{FOLDER}/{name}"));
            let board = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, board)
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(found.len(), 4);
    found
}

pub(super) fn panels(board: &Value) -> &[Value] {
    board["panels"].as_array().unwrap()
}

/// Every query of a panel.
pub(super) fn queries(panel: &Value) -> impl Iterator<Item = &str> {
    panel["targets"].as_array().unwrap().iter().map(|target| target["expr"].as_str().unwrap())
}

#[test]
fn dashboards_are_what_grafana_reads() {
    let mut uids = BTreeSet::new();
    for (name, board) in dashboards() {
        assert_eq!(board["schemaVersion"], 39, "{name}");
        assert!(board.get("id").is_none(), "{name}: ids are for Grafana to give");
        assert!(uids.insert(board["uid"].as_str().unwrap().to_owned()), "{name}: its uid is taken");
        assert!(board["tags"].as_array().unwrap().contains(&"portcullis".into()), "{name}");
        let variables: Vec<_> = board["templating"]["list"].as_array().unwrap().iter().collect();
        assert_eq!(
            (&variables[0]["name"], &variables[0]["type"]),
            (&"datasource".into(), &"datasource".into())
        );
        for variable in variables.iter().filter(|variable| variable["type"] == "query") {
            assert_eq!(variable["datasource"]["uid"], "${datasource}", "{name}");
        }
        for panel in panels(&board) {
            let title = &panel["title"];
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            assert!(["stat", "timeseries", "bargauge", "table"].iter().any(|kind| panel["type"] == *kind));
            assert!(panel.get("id").is_none(), "{name}: {title}: ids are for Grafana to give");
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {title}");
            let letters: BTreeSet<_> =
                panel["targets"].as_array().unwrap().iter().map(|target| target["refId"].as_str()).collect();
            assert_eq!(letters.len(), queries(panel).count(), "{name}: {title}: refId twice");
        }
    }
}

#[test]
fn provisioning_names_a_prometheus_and_the_dashboards() {
    let read = |name: &str| -> Value {
        let text = file(&format!("deploy/grafana/provisioning/{name}/portcullis.yaml"));
        let value: Value = serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(value["apiVersion"], 1, "{name}");
        value
    };
    assert_eq!(read("datasources")["datasources"][0]["type"], "prometheus");
    let path = read("dashboards")["providers"][0]["options"]["path"].as_str().unwrap().to_owned();
    assert!(file("docs/dashboards.md").contains(&format!("$ cp deploy/grafana/dashboards/*.json {path}/")));
}

#[test]
fn panels_lie_side_by_side() {
    for (name, board) in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in panels(&board) {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= COLUMNS, "{name}: {} sticks out", panel["title"]);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{name}: {} lies on another panel", panel["title"]);
            }
        }
        let rows = taken.iter().map(|(_, y)| y + 1).max().unwrap();
        assert_eq!(taken.len() as u64, rows * COLUMNS, "{name}: there is a hole");
    }
}

#[test]
fn panels_that_compare_have_units() {
    for (name, board) in dashboards() {
        for panel in panels(&board).iter().filter(|panel| panel["type"] == "timeseries") {
            let unit = panel["fieldConfig"]["defaults"]["unit"].as_str();
            assert!(unit.is_some(), "{name}: {} has no unit", panel["title"]);
        }
    }
}

#[test]
fn links_lead_to_runbooks_that_exist() {
    let anchors: BTreeSet<_> =
        file(RUNBOOKS).lines().filter_map(|line| Some(line.strip_prefix("### ")?.to_lowercase())).collect();
    let mut found = 0;
    for (name, board) in dashboards() {
        let constant =
            board["templating"]["list"].as_array().unwrap().iter().find(|it| it["name"] == "runbooks");
        assert_eq!(constant.unwrap()["query"], RUNBOOKS, "{name}");
        for link in panels(&board).iter().filter_map(|panel| panel["links"].as_array()).flatten() {
            let url = link["url"].as_str().unwrap();
            let rest = url.strip_prefix("${runbooks}").unwrap_or_else(|| panic!("{name}: {url}"));
            assert!(rest.is_empty() || anchors.contains(rest.trim_start_matches('#')), "{name}: {url}");
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
}
