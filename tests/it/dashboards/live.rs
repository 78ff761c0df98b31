//! Every query that is shipped, asked of a Prometheus that watches a gateway under load.
//!
//! With `PORTCULLIS_DASHBOARDS` set to a number of seconds the load goes on for so long, and `deploy/grafana/draw.py`
//! draws the panels; see `make dashboards`.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::board::{dashboards, panels, queries};
use super::load::{Load, READER};
use super::metrics_in;
use super::rules::blocks;
use crate::support::policy::token;
use crate::support::prometheus::Prometheus;

/// Longer than the slowest query may take to have data: some scrapes of a second, and git.
const DEADLINE: Duration = Duration::from_secs(90);

/// What the load makes true.
const ALERTS: [&str; 12] = [
    "PortcullisCertificateExpiresIn14Days",
    "PortcullisConnectionsRefused",
    "PortcullisGatewayErrorBudgetFast",
    "PortcullisMalformedRequests",
    "PortcullisReloadFailing",
    "PortcullisRevokedTokenInUse",
    "PortcullisTlsHandshakesFailing",
    "PortcullisTokenRefusalsSpiking",
    "PortcullisTokensExpireIn1Day",
    "PortcullisTokensExpireIn7Days",
    "PortcullisUpstreamErrorBudgetFast",
    "PortcullisUpstreamFailing",
];

/// A query, and where it stands.
struct Query {
    place: String,
    expression: String,
}

/// `text` with what Grafana puts in place of variables.
fn filled_in(text: &str) -> String {
    let public_id = token(READER);
    let public_id = public_id.split("_pat_").nth(1).unwrap().split('_').next().unwrap();
    let text = [
        ("$__rate_interval", "10s"),
        ("$__range", "5m"),
        ("$job", "portcullis"),
        ("$upstream", ".*"),
        ("$token", public_id),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
    assert!(!text.contains('$'), "a variable without a value: {text}");
    text
}

/// The queries of panels and of variables.
fn shown() -> Vec<Query> {
    let mut found = Vec::new();
    for (name, board) in dashboards() {
        for panel in panels(&board) {
            let place = format!("{name}: {}", panel["title"].as_str().unwrap());
            found.extend(
                queries(panel).map(|query| Query { place: place.clone(), expression: filled_in(query) }),
            );
        }
        for variable in board["templating"]["list"].as_array().unwrap() {
            if variable["type"] == "query" {
                let query = filled_in(variable["query"].as_str().unwrap());
                let inside = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
                let (selector, label) = inside.rsplit_once(", ").unwrap();
                let expression = format!("group by ({label}) ({selector})");
                found.push(Query { place: format!("{name}: variable {}", variable["name"]), expression });
            }
        }
    }
    assert!(found.len() > 60, "{}", found.len());
    found
}

/// The recording rules that Prometheus has loaded, by name, and the alerts by name and state; none may have failed.
struct Rules {
    recorded: Vec<String>,
    alerts: Vec<Value>,
}

impl Rules {
    fn of(prometheus: &Prometheus) -> Self {
        let groups = prometheus.get("/api/v1/rules")["data"]["groups"].as_array().unwrap().clone();
        let rules = groups.into_iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
        let (mut recorded, mut alerts) = (Vec::new(), Vec::new());
        for rule in rules {
            assert_eq!(rule["lastError"].as_str().unwrap_or_default(), "", "{}", rule["name"]);
            if rule["type"] == "recording" {
                recorded.push(rule["name"].as_str().unwrap().to_owned());
            } else {
                alerts.push(rule);
            }
        }
        Self { recorded, alerts }
    }
}

/// Asks again and again for what has no data yet; what has none in the end.
fn wait_for_data(prometheus: &Prometheus, mut left: Vec<Query>) -> Vec<Query> {
    let start = Instant::now();
    while !left.is_empty() && start.elapsed() < DEADLINE {
        left.retain(|query| match prometheus.query(&query.expression) {
            Ok(samples) => samples.is_empty(),
            Err(error) => panic!("{}: {error}\n{}", query.place, query.expression),
        });
        // Nothing new comes before the next scrape.
        thread::park_timeout(Duration::from_millis(500));
    }
    left
}

/// What has no data, with the metrics that do not exist at all.
fn tell(prometheus: &Prometheus, left: &[Query]) -> String {
    let mut text = String::new();
    let mut absent = BTreeSet::new();
    for query in left {
        writeln!(text, "{}\n    {}", query.place, query.expression).unwrap();
        let unknown = |name: &&str| prometheus.query(name).is_ok_and(|samples| samples.is_empty());
        absent.extend(metrics_in(&query.expression).filter(unknown));
    }
    format!("no data for {} queries:\n{text}metrics without a series: {absent:#?}", left.len())
}

#[test]
fn every_query_has_data_under_load() {
    let drawn: Option<u64> = env::var("PORTCULLIS_DASHBOARDS").ok().map(|seconds| seconds.parse().unwrap());
    let rhythm = |seconds: f64| Duration::from_secs_f64(0.012 - 0.007 * (seconds / 45.0).sin());
    let load = Load::start(rhythm, if drawn.is_some() { 200 } else { 8 });
    let prometheus = match Prometheus::start(load.gateway.running().control.unwrap()) {
        Ok(prometheus) => prometheus,
        Err(missing) => {
            println!("skipped: {missing} is not installed; run make test");
            return;
        }
    };
    // The counters must have been seen without it before.
    let seen =
        wait_for_data(&prometheus, vec![Query { place: "scrape".into(), expression: "up == 1".into() }]);
    assert!(seen.is_empty(), "no scrape: {}", prometheus.get("/api/v1/targets"));
    if let Some(seconds) = drawn {
        return draw(&load, &prometheus, seconds);
    }
    load.crowd();
    load.policy(false);
    load.broken.store(true, Ordering::Relaxed);

    let mut wanted = shown();
    let rules = Rules::of(&prometheus);
    let recorded = |name: &String| Query { place: "recording.yml".into(), expression: name.clone() };
    wanted.extend(rules.recorded.iter().map(recorded));
    let alert = |name: &&str| Query {
        place: "alerts.yml".into(),
        expression: format!("ALERTS{{alertname=\"{name}\"}}"),
    };
    wanted.extend(ALERTS.iter().map(alert));
    let left = wait_for_data(&prometheus, wanted);
    assert!(left.is_empty(), "{}", tell(&prometheus, &left));

    let rules = Rules::of(&prometheus);
    for annotations in rules.alerts.iter().flat_map(|rule| rule["alerts"].as_array().unwrap()) {
        let said = annotations["annotations"].to_string();
        assert!(!said.contains("error expanding") && !said.contains("<no value>"), "{said}");
    }
    let asked = blocks("promql");
    assert!(asked.len() > 10, "{}", asked.len());
    for query in asked {
        prometheus.query(&query).unwrap_or_else(|error| panic!("runbooks: {error}\n{query}"));
    }
}

/// Goes on for `seconds`, with a host that breaks and a fault in the policy on the way, and draws what was seen.
fn draw(load: &Load, prometheus: &Prometheus, seconds: u64) {
    let go_on = |part: u64| {
        let (start, time) =
            (Instant::now(), Duration::from_secs(seconds) * u32::try_from(part).unwrap() / 100);
        while start.elapsed() < time {
            thread::park_timeout(Duration::from_millis(100));
        }
    };
    // Ahead of what is drawn, so that each rate has a past.
    go_on(10);
    go_on(35);
    load.broken.store(true, Ordering::Relaxed);
    go_on(10);
    load.broken.store(false, Ordering::Relaxed);
    go_on(15);
    load.policy(false);
    go_on(10);
    load.policy(true);
    go_on(15);
    load.crowd();
    go_on(15);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana/draw.py");
    let mut python = Command::new("python3");
    python.args([script, &format!("http://{}", prometheus.address), &seconds.to_string()]);
    python.env("PORTCULLIS_TOKEN", filled_in("$token"));
    assert!(python.status().unwrap().success());
}
