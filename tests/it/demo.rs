//! The demo shows what it says: each of its commands is run with real git, and prints what it must.

use std::process::Command;

#[test]
fn every_command_of_the_demo_does_what_it_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["demo", "--walk", "--port", "0"])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{told}");
    assert!(!shown.contains("_pat_"), "a token is shown: {shown}");
    assert!(shown.contains("remote: token_revoked"), "{shown}");
}
