//! The image file: a linter has nothing to say, the image runs as a number, and what it is built of reaches the builder.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::deploy::run_if_there;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LINTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/python/bin/hadolint");

fn image() -> String {
    fs::read_to_string(Path::new(ROOT).join("deploy/docker/Dockerfile")).unwrap()
}

fn lines<'a>(text: &'a str, instruction: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' ')).collect()
}

#[test]
fn the_linter_is_silent() {
    let file = Path::new(ROOT).join("deploy/docker/Dockerfile");
    let lint = |file: &Path| run_if_there(Command::new(LINTER).arg(file));
    let Some(told) = lint(&file) else { return };
    assert!(told.status.success() && told.stdout.is_empty(), "{}", String::from_utf8_lossy(&told.stdout));
    let broken = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        broken.path(),
        image().replace("ENTRYPOINT [\"/usr/bin/portcullis\"]", "ENTRYPOINT portcullis"),
    )
    .unwrap();
    assert!(!lint(broken.path()).unwrap().status.success(), "anything passes");
}

#[test]
fn both_images_run_the_binary_as_a_number() {
    let image = image();
    assert_eq!(lines(&image, "USER"), ["65532:65532"; 2]);
    assert_eq!(lines(&image, "ENTRYPOINT"), ["[\"/usr/bin/portcullis\"]"; 2]);
    let stages = lines(&image, "FROM");
    assert_eq!(stages.last(), Some(&"scratch AS gateway"), "the default target");
}

#[test]
fn the_builder_gets_what_the_binary_is_made_of() {
    let image = image();
    let ignored = fs::read_to_string(Path::new(ROOT).join(".dockerignore")).unwrap();
    let let_in: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let copied = lines(&image, "COPY").into_iter().filter(|line| !line.starts_with("--from"));
    let copied: Vec<_> = copied
        .flat_map(|line| line.rsplit_once(' ').unwrap().0.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for name in &copied {
        assert!(Path::new(ROOT).join(name).exists(), "{name} is not there");
    }
    assert_eq!(copied, let_in, "what is copied, and what `.dockerignore` lets in");
    for needed in ["Cargo.toml", "Cargo.lock", "benches", "policies", "src"] {
        assert!(copied.iter().any(|name| name == needed), "{needed}");
    }
    assert!(!Path::new(ROOT).join("build.rs").exists() || copied.iter().any(|name| name == "build.rs"));
}
