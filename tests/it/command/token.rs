//! `portcullis token`.

use std::fs;

use crate::command::{CONFIG, Folder};

#[test]
fn a_new_token_opens_what_its_declaration_says() {
    let folder = Folder::new();
    let arguments = [
        "token",
        "new",
        "--name",
        "nightly: build",
        "--user",
        "ci-bot",
        "--owner",
        "acme",
        "--repositories",
        "alpha,beta",
        "--permissions",
        "contents=read",
        "--expires",
        "10d",
    ];
    let told = folder.run(&arguments).expect(0);
    let (text, yaml) = told.stdout.split_once("\n\n").unwrap();
    assert!(text.starts_with("portcullis_pat_") && !yaml.contains(text) && !told.stderr.contains(text));
    folder.write("policies/tokens/new.yaml", yaml);
    let checked = folder.run(&["check"]).expect(0);
    assert!(checked.stdout.contains("3 active (1 within 30 days"), "{}", checked.stdout);
    for (request, code) in [("clone", 0), ("push", 1)] {
        let url = "https://git.example.com/acme/beta";
        let explained = folder.run_with(&["explain", "--token-stdin", request, url], text).expect(code);
        assert!(explained.stdout.contains("`nightly: build` of ci-bot"), "{}", explained.stdout);
        assert!(!explained.stdout.contains(text) && !explained.stderr.contains(text));
    }
    let digest = folder.run_with(&["token", "digest", "--json"], &format!("{text}\n")).expect(0);
    assert!(yaml.contains(digest.json()["sha256"].as_str().unwrap()));
    assert!(text.contains(digest.json()["public_id"].as_str().unwrap()));
}

#[test]
fn a_declaration_with_blanks_or_unknown_words_is_no_policy() {
    let folder = Folder::new();
    let json = folder.run(&["token", "new", "--json"]).expect(0).json();
    folder.write("policies/tokens/new.yaml", json["yaml"].as_str().unwrap());
    let told = folder.run(&["check"]).expect(2);
    assert_eq!(told.stdout.matches("new.yaml:").count(), 4, "{}", told.stdout);
    fs::remove_file(folder.0.path().join("policies/tokens/new.yaml")).unwrap();
    let arguments = [
        "token",
        "new",
        "--user",
        "bob",
        "--owner",
        "acme",
        "--repositories",
        "all",
        "--permissions",
        "content=read",
    ];
    let told = folder.run(&arguments).expect(2);
    assert!(told.stderr.contains("did you mean `contents`"), "{}", told.stderr);
    assert_eq!(told.stdout, "");
}

#[test]
fn the_prefix_is_that_of_the_configuration() {
    let folder = Folder::new();
    let pattern = |arguments: &[&str]| folder.run(arguments).expect(0).stdout;
    let tail = "_pat_[0-9A-Za-z]{22}_[0-9A-Za-z]{59}\n";
    assert_eq!(pattern(&["token", "pattern"]), format!("portcullis{tail}"));
    assert_eq!(pattern(&["token", "pattern", "--prefix", "umbrella"]), format!("umbrella{tail}"));
    folder.write("portcullis.yaml", &format!("{CONFIG}token_prefix: acme\n"));
    assert_eq!(pattern(&["token", "pattern"]), format!("acme{tail}"));
    let made = folder.run(&["token", "new", "--json"]).expect(0).json();
    assert!(made["token"].as_str().unwrap().starts_with("acme_pat_"));
}
