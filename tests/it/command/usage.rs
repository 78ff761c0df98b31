//! What all subcommands have in common: arguments, exit codes, where output goes.

use crate::command::{CONFIG, DENY, Folder};
use crate::support::policy::token;

#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = Folder::new();
    for arguments in [
        &["check"][..],
        &["check", "--json"],
        &["completions", "bash"],
        &["explain", "--token-name", "reader", "clone", "/acme/alpha"],
        &["token", "pattern"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = folder.command(arguments).stdout(writer).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
        assert!(!told.contains("ipe") && !told.contains("panic"), "{arguments:?}: {told}");
    }
}

#[test]
fn arguments_that_mean_nothing_end_with_two() {
    let folder = Folder::new();
    for arguments in [
        &["explain", "GET", "/"][..],
        &["explain", "--token-stdin", "--token-name", "reader", "GET", "/"],
        &["explain", "--token-stdin", "GET", "/"],
        &["explain", "--token-name", "nobody", "GET", "/"],
        &["explain", "--token-name", "reader", "GET", "ftp://git.example.com/"],
        &["explain", "--token-name", "reader", "G T", "/"],
        &["explain", "--token-name", "reader", "GET", "/", "--at", "noon"],
        &["explain", "--token-name", "reader", "GET", "/", "--header", "Authorization: Bearer x"],
        &["explain", "--permissions", "contents=read", "GET", "/"],
        &[
            "explain",
            "--permissions",
            "contents=all",
            "--repositories",
            "acme/*",
            "--user",
            "bob",
            "GET",
            "/",
        ],
        &["token", "new", "--expires", "2001-01-01"],
        &["token", "new", "--prefix", "github"],
        &["token", "pattern", "--config", "missing.yaml"],
        &["token", "digest"],
        &["serve", "--log", "==="],
        &["completions", "cmd.exe"],
        &["frobnicate"],
        &[],
    ] {
        let told = folder.run(arguments).expect(2);
        assert_ne!(told.stderr, "", "{arguments:?}");
        assert_eq!(told.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_token_among_the_arguments_is_noticed_and_not_repeated() {
    let folder = Folder::new();
    let text = token(1);
    let url = format!("https://git.example.com/?access_token={text}");
    for arguments in [
        &["explain", "--token-name", "reader", "GET", &url][..],
        &["explain", "--token-stdin", &text, "GET", "/"],
        &["token", "digest", &text],
        &["frobnicate", &text],
    ] {
        let told = folder.run(arguments).expect(2);
        assert!(told.stderr.contains("revoke it"), "{}", told.stderr);
        assert!(!told.stderr.contains(&text) && !told.stdout.contains(&text));
    }
}

#[test]
fn serve_tells_the_faults_that_check_tells() {
    let folder = Folder::new();
    folder.write("portcullis.yaml", &CONFIG.replace("127.0.0.1:0", "localhost"));
    folder.write("policies/deny.yaml", &DENY.replace("route", "rout"));
    let checked = folder.run(&["check"]).expect(2);
    let served = folder.run(&["serve"]).expect(2);
    assert_eq!(served.stderr, checked.stdout);
    assert_eq!(served.stderr.matches(".yaml:").count(), 2, "{}", served.stderr);
    assert_eq!(served.stdout, "");
}

#[test]
fn completions_name_the_subcommands() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = folder.run(&["completions", shell]).expect(0).stdout;
        assert!(script.contains("explain") && script.contains("token-stdin"), "{shell}");
        assert!(script.contains("regenerate") && script.contains("credential-file"), "{shell}");
    }
}

#[test]
fn help_and_version_are_results() {
    let folder = Folder::new();
    let version = folder.run(&["--version"]).expect(0).stdout;
    assert_eq!(version, format!("portcullis {}\n", env!("CARGO_PKG_VERSION")));
    for command in [
        "serve",
        "check",
        "explain",
        "token new",
        "token digest",
        "token create",
        "token list",
        "token show",
        "token revoke",
        "token regenerate",
        "request list",
        "request approve",
        "request deny",
        "grant list",
        "grant revoke",
        "user add",
        "user list",
        "user suspend",
        "user resume",
        "user password",
        "audit query",
        "audit verify",
        "sign-in",
        "completions",
    ] {
        let arguments: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = folder.run(&arguments).expect(0).stdout;
        assert!(help.contains("Example"), "{command}: {help}");
    }
}
