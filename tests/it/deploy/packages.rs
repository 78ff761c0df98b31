//! What `make install` and the Debian package put on a machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::deploy::Site;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

#[test]
fn the_packaged_configuration_is_sound() {
    let site = Site::of(&Path::new(ROOT).join("deploy/debian/etc"));
    fs::create_dir(site.path("log")).unwrap();
    let log = site.path("log").display().to_string();
    site.replace("portcullis.yaml", "/var/log/portcullis", &log);
    site.check("the packaged configuration");
    // With the lines for a gateway that others reach.
    let text = fs::read_to_string(site.path("portcullis.yaml")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("# ")?.strip_prefix("  "));
    let listener: String = lines.flat_map(|line| ["  ", line, "\n"]).collect();
    assert!(listener.contains("tls:"), "{listener}");
    site.replace("portcullis.yaml", "  - bind: 127.0.0.1:8080\n", &listener);
    site.check("the packaged configuration with TLS");
}

#[test]
fn an_installation_is_whole() {
    let made = tempfile::tempdir().unwrap();
    fs::create_dir_all(made.path().join("completions")).unwrap();
    fs::create_dir_all(made.path().join("man")).unwrap();
    for shell in ["bash", "fish", "zsh"] {
        let printed = Command::new(BINARY).args(["completions", shell]).output().unwrap();
        fs::write(made.path().join("completions").join(shell), printed.stdout).unwrap();
    }
    fs::write(made.path().join("man/portcullis.1"), "page").unwrap();
    let root = tempfile::tempdir().unwrap();
    let told = Command::new("sh")
        .args(["deploy/install.sh", BINARY])
        .arg(made.path())
        .current_dir(ROOT)
        .env("DESTDIR", root.path())
        .env("PREFIX", "/opt/portcullis")
        .output()
        .unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let to = root.path().join("opt/portcullis");
    let version = Command::new(to.join("bin/portcullis")).arg("--version").output().unwrap();
    assert_eq!(version.stdout, concat!("portcullis ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
    let unit = fs::read_to_string(to.join("lib/systemd/system/portcullis.service")).unwrap();
    assert!(unit.contains("\nExecStart=/opt/portcullis/bin/portcullis serve "), "{unit}");
    for name in [
        "lib/systemd/system/portcullis.socket",
        "lib/sysusers.d/portcullis.conf",
        "lib/tmpfiles.d/portcullis.conf",
        "share/bash-completion/completions/portcullis",
        "share/man/man1/portcullis.1",
        "share/zsh/site-functions/_portcullis",
    ] {
        assert!(to.join(name).metadata().unwrap().len() > 0, "{name}");
    }
}

#[derive(Deserialize)]
struct Manifest {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    deb: Deb,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Deb {
    assets: Vec<(String, String, String)>,
    conf_files: Vec<String>,
    maintainer_scripts: String,
}

/// cargo-deb fails late on a file that is not there, and says nothing of a configuration file that the package has not.
#[test]
fn the_debian_package_names_files_that_are_there() {
    let told = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    let manifest: Manifest = serde_json::from_slice(&told.stdout).unwrap();
    let deb = &manifest.packages[0].metadata.deb;
    assert!(deb.assets.len() > 10);
    for (from, _, _) in deb.assets.iter().filter(|(from, _, _)| !from.starts_with("target/")) {
        let fixed = from.split('*').next().unwrap();
        assert!(Path::new(ROOT).join(fixed).exists(), "{from}");
    }
    let installed = |file: &&String| {
        deb.assets.iter().any(|(from, to, _)| {
            let name = Path::new(from).file_name().unwrap().to_str().unwrap();
            let to = if to.ends_with('/') { format!("/{to}{name}") } else { format!("/{to}") };
            to == **file
        })
    };
    let missing: Vec<_> = deb.conf_files.iter().filter(|file| !installed(file)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for script in fs::read_dir(Path::new(ROOT).join(&deb.maintainer_scripts)).unwrap() {
        let text = fs::read_to_string(script.unwrap().path()).unwrap();
        assert!(text.contains("\n#DEBHELPER#\n") && text.contains("\nset -e\n"), "{text}");
    }
}
