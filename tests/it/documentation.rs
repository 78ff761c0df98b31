//! What the documentation says, tried: each example is read as the gateway reads it, each verdict in it is asked for.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use portcullis::config;
use portcullis::domain::fault::Fault;
use portcullis::domain::reason::Reason;
use portcullis::policy::compile::{Source, compile};
use portcullis::policy::grants::Grant;
use portcullis::policy::upstream::{ClassicTokens, UpstreamSpec};

use crate::support::policy::{ask, snapshot, source, tokens};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The YAML blocks of a page, each with the heading that it stands under.
fn examples(page: &str) -> Vec<(String, String)> {
    let (mut heading, mut block, mut found) = (String::new(), None::<String>, Vec::new());
    for line in page.lines() {
        match &mut block {
            Some(_) if line == "```" => found.extend(block.take().map(|block| (heading.clone(), block))),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line == "```yaml" => block = Some(String::new()),
            None if line.starts_with('#') => heading = line.trim_start_matches(['#', ' ']).to_owned(),
            None => {}
        }
    }
    found
}

/// A directory with all files and folders that the examples name.
fn site() -> tempfile::TempDir {
    let site = tempfile::tempdir().unwrap();
    for folder in ["tls", "secrets", "policies", "srv/git", "log"] {
        fs::create_dir_all(site.path().join(folder)).unwrap();
    }
    for file in [
        "tls/cert.pem",
        "tls/key.pem",
        "tls/git.pem",
        "tls/git.key",
        "tls/internal-ca.pem",
        "secrets/billing",
        "secrets/gitlab-git",
        "secrets/gitlab-api",
        "secrets/webhook",
        "secrets/oidc",
    ] {
        fs::write(site.path().join(file), "x").unwrap();
    }
    site
}

#[track_caller]
fn sound<T>(what: &str, result: Result<T, Vec<Fault>>) -> T {
    result.unwrap_or_else(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        panic!("{what}:\n{}", faults.join("\n"))
    })
}

/// Reads `configuration` and compiles `policies` for its upstreams.
fn check(what: &str, configuration: &str, policies: &[Source]) {
    let site = site();
    let text = configuration.replace("/srv/git", "srv/git");
    let file = site.path().join("portcullis.yaml");
    let config = sound(what, config::parse(&file, &text));
    let specs: Vec<_> = config
        .upstreams
        .iter()
        .map(|upstream| UpstreamSpec {
            name: upstream.name.clone(),
            hosts: upstream.hosts.clone(),
            path_prefix: upstream.path_prefix.clone(),
            catalogs: upstream.catalogs.clone(),
            classic: ClassicTokens::default(),
            file: file.clone(),
        })
        .collect();
    sound(what, compile(policies, &specs, &config.tokens, 1));
}

#[test]
fn every_setup_in_the_readme_is_sound() {
    let mut setups: BTreeMap<String, (String, Vec<Source>)> = BTreeMap::new();
    let mut token = None;
    for (heading, text) in examples(&page("README.md")) {
        let (configuration, policies) = setups.entry(heading).or_default();
        let first = text.lines().next().unwrap_or_default();
        match first.strip_prefix("# policies/") {
            Some(name) => {
                let file = source(name, text.clone());
                if name == "tokens/ci.yaml" {
                    token = Some(file);
                } else {
                    policies.push(file);
                }
            }
            None => *configuration += &text,
        }
    }
    setups.retain(|_, (configuration, _)| !configuration.is_empty());
    assert_eq!(setups.len(), 5, "{:?}", setups.keys());
    for (heading, (configuration, mut policies)) in setups {
        if !policies.iter().any(|file| file.name.starts_with("tokens/")) {
            policies.extend(token.clone());
        }
        check(&heading, &configuration, &policies);
    }
}

#[test]
fn every_example_of_the_policy_reference_is_sound() {
    let examples = examples(&page("docs/policy.md"));
    let whole = examples
        .iter()
        .find(|(heading, _)| heading == "portcullis.yaml")
        .map(|(_, text)| text.replace("catalogs: [git]", "catalogs: [git, github]"))
        .unwrap();
    let mut seen = 0;
    for (at, (heading, text)) in examples.iter().enumerate() {
        seen += 1;
        match heading.as_str() {
            "portcullis.yaml" => check(heading, text, &[]),
            "Listeners" => {
                let (_, rest) = whole.split_once("control:").unwrap();
                check(heading, &format!("{text}control:{rest}"), &[]);
            }
            "Limits" | "Metrics" | "Signing in" | "Store" | "Tracing" | "Webhooks" => {
                check(heading, &format!("{whole}{text}"), &[]);
            }
            "Audit" => {
                let text = text.replace("/var/log/portcullis", "log");
                check(heading, &format!("{whole}{text}"), &[]);
            }
            "Public repositories" => {
                check(heading, &whole, &[source("organizations/acme.yaml", text.clone())]);
            }
            "tokens/" | "organizations/" => {
                check(heading, &whole, &[source(&format!("{heading}{at}.yaml"), text.clone())]);
            }
            "deny.yaml" | "enterprise.yaml" => check(heading, &whole, &[source(heading, text.clone())]),
            "Bundles" => check(heading, &whole, &[source("bundles.yaml", text.clone())]),
            other => panic!("no rule for the example under {other}"),
        }
    }
    assert_eq!(seen, 16);
}

#[test]
fn the_line_of_json_in_the_policy_reference_is_a_token() {
    let page = page("docs/policy.md");
    let (_, line) = page.split_once("```json\n").unwrap();
    let (line, _) = line.split_once("```").unwrap();
    let snapshot = snapshot(&[source("tokens/ci.jsonl", line)], &["github"]);
    let names: Vec<_> = snapshot.tokens.grants().map(Grant::name).collect();
    assert_eq!(names, ["nightly build"]);
}

#[test]
fn the_catalog_of_the_reference_answers_as_its_table_says() {
    let page = page("docs/catalogs.md");
    let catalog = examples(&page)
        .into_iter()
        .map(|(_, text)| text)
        .find(|text| text.starts_with("catalog: billing"))
        .unwrap();
    let token = "resource_owner: acme\nrepositories: [alpha, beta]\npermissions: { invoices: read }";
    let policy = snapshot(&[source("catalogs/billing.yaml", catalog), tokens(&[(1, token)])], &["billing"]);
    let mut rows = 0;
    for row in page.lines() {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (Some(request), Some(answer)) = (cells.next(), cells.next()) else {
            continue;
        };
        let Some((method, target)) = request.trim_matches('`').split_once(" /v2") else {
            continue;
        };
        let got = ask(&policy, 1, method, &format!("/v2{target}"));
        let told = match &got {
            Ok(()) => "passes".to_owned(),
            Err(refusal) => format!("{} `{}`", refusal.status().as_u16(), refusal.reason()),
        };
        assert!(answer.starts_with(&told), "{request}: {answer}, but {told}");
        if let Some(missing) = got.as_ref().err().and_then(|refusal| refusal.missing()) {
            assert!(answer.contains(&missing.accepted), "{request}: {}", missing.accepted);
        }
        rows += 1;
    }
    assert_eq!(rows, 14);
}

#[test]
fn every_reason_is_explained() {
    let page = page("docs/refusals.md");
    for reason in Reason::ALL {
        assert!(page.contains(&format!("\n### {reason}\n")), "{reason} has no section");
        assert!(page.contains(&format!("| [`{reason}`](#{reason}) |")), "{reason} is not in the table");
    }
    assert_eq!(page.matches("\n### ").count(), Reason::ALL.len());
}
