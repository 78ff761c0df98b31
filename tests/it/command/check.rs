//! `portcullis check`.

use serde_json::Value;

use crate::command::{CONFIG, Folder, ORGANIZATIONS};

#[test]
fn check_sums_up_what_is_fine() {
    let folder = Folder::new();
    let told = folder.run(&["check"]).expect(0);
    for part in [
        "portcullis.yaml: no faults",
        "forge: git.example.com; git and github",
        "organizations  2",
        "2 active (0 within 30 days of expiry), 1 expired, 1 pending, 1 revoked",
        "deny rules     1",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    assert_eq!(
        told.stderr,
        "warning: the rules of organization `umbrella`: mode `shadow`, judged and recorded, not acted on\n"
    );
    let json = folder.run(&["check", "--json"]).expect(0).json();
    assert_eq!(json["ok"], true);
    assert_eq!(json["faults"], Value::Array(Vec::new()));
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
    assert!(json["summary"]["upstreams"][0]["routes"].as_u64().unwrap() > 300);
    assert_eq!(json["summary"]["tokens"]["active"], 2);
}

#[test]
fn check_warns_of_what_weakens() {
    let folder = Folder::new();
    let weak = CONFIG.replace("127.0.0.1:0", "0.0.0.0:0") + "audit: danger_off\n";
    folder.write("portcullis.yaml", &weak);
    let told = folder.run(&["check"]).expect(0);
    assert!(told.stderr.contains("audit: danger_off"), "{}", told.stderr);
    assert!(told.stderr.contains("in the clear"), "{}", told.stderr);
}

#[test]
fn check_tells_the_faults_of_all_files_at_once() {
    let folder = Folder::new();
    folder.write(
        "portcullis.yaml",
        &CONFIG.replace("127.0.0.1:0", "localhost").replace("http://127", "ftp://127"),
    );
    folder.write(
        "policies/organizations/acme.yaml",
        &ORGANIZATIONS.replace("administration: none", "administration: nothing"),
    );
    folder.write("policies/tokens/other.yaml", "tokens: 3\n");
    let told = folder.run(&["check"]).expect(2);
    for part in [
        "portcullis.yaml:2:11: ",
        "portcullis.yaml:8:10: ",
        "acme.yaml:3:28: ",
        "other.yaml:1:9: ",
        "  3 | ceiling: { administration: nothing }\n",
    ] {
        assert!(told.stdout.contains(part), "{part}: {}", told.stdout);
    }
    assert_eq!(told.stderr, "4 faults\n");
    let json = folder.run(&["check", "--json"]).expect(2).json();
    assert_eq!((&json["ok"], &json["summary"]), (&Value::Bool(false), &Value::Null));
    let faults = json["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 4, "{faults:?}");
    let fault = faults.iter().find(|fault| fault["line"] == 3).unwrap();
    assert!(fault["file"].as_str().unwrap().ends_with("organizations/acme.yaml"));
    assert_eq!(
        (&fault["column"], &fault["text"]),
        (&28.into(), &"ceiling: { administration: nothing }".into())
    );
    assert!(fault["message"].as_str().unwrap().contains("`nothing`"));
}

#[test]
fn check_tells_what_it_could_not_check() {
    let folder = Folder::new();
    folder.write("portcullis.yaml", "listeners: [\n");
    let told = folder.run(&["check"]).expect(2);
    assert!(told.stderr.contains("the policy files were not checked"), "{}", told.stderr);
    let told = folder.run(&["check", "--config", "missing.yaml"]).expect(2);
    assert!(told.stdout.contains("missing.yaml: cannot be read"), "{}", told.stdout);
}

#[test]
fn check_reads_credential_files_and_shows_none() {
    let folder = Folder::new();
    folder.write("secret", "hunter2\nhunter3\n");
    let identity = "identity: { bearer_file: secret }";
    let config = CONFIG.replace("identity: { trusted_header: X-WEBAUTH-USER }", identity);
    folder.write("portcullis.yaml", &config);
    folder.write("policies/tokens/other.yaml", "tokens: 3\n");
    let told = folder.run(&["check"]).expect(2);
    assert!(told.stdout.contains("other.yaml:1:9: "), "{}", told.stdout);
    assert!(told.stdout.contains("secret: holds a second line"), "{}", told.stdout);
    assert!(!told.stdout.contains("hunter") && !told.stderr.contains("hunter"));
}
