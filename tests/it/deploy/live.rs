//! The examples that need no host but git and nginx, started as they are and used.

use std::fs;
use std::path::Path;

use portcullis::app::start::start;
use portcullis::config;
use portcullis::domain::fault::describe;
use portcullis::domain::token::TokenDigest;

use crate::deploy::{EXAMPLES, Site};
use crate::support::git::Git;
use crate::support::nginx::Nginx;
use crate::support::policy::token;

/// The token that the example's release bot is given here.
const RELEASE_BOT: u8 = 1;
const RELEASE_BOT_LINE: &str = "  - name: release bot\n    sha256: ";

/// The example, with ports of the system's choice, a token that somebody has, and a repository to push to.
fn prepare(name: &str) -> (Site, Git) {
    let site = Site::of(&Path::new(EXAMPLES).join(name));
    site.replace("portcullis.yaml", "0.0.0.0:8443", "127.0.0.1:0");
    site.replace("portcullis.yaml", "127.0.0.1:8081", "127.0.0.1:0");
    let tokens = fs::read_to_string(site.path("policies/tokens/ci.yaml")).unwrap();
    let declared = tokens.split_once(RELEASE_BOT_LINE).unwrap().1.lines().next().unwrap();
    let digest = TokenDigest::of(&token(RELEASE_BOT)).to_string();
    site.replace("policies/tokens/ci.yaml", declared, &digest);
    site.replace("policies/tokens/ci.yaml", "expires_at: 2027-01-30", "expires_at: 2999-01-31");
    let quiet = fs::read_to_string(site.path("portcullis.yaml")).unwrap() + "audit: { file: audit.log }\n";
    fs::write(site.path("portcullis.yaml"), quiet).unwrap();
    let server = Git::new();
    fs::create_dir_all(site.path("git/acme")).unwrap();
    server.seed("alpha.git", 2);
    fs::rename(server.path("alpha.git"), site.path("git/acme/alpha.git")).unwrap();
    (site, server)
}

/// Starts the gateway of `site`; the release bot clones and pushes, and the host knows that it was the bot.
fn clone_and_push(site: &Site, server: &Git) {
    let file = site.path("portcullis.yaml");
    let config = config::load(&file).unwrap_or_else(|faults| panic!("{}", describe(&faults)));
    let running = start(&config, &file).unwrap();
    let port = running.listeners[0].port();
    let mut client = Git::new();
    client.set("http.sslCAInfo", site.path("tls/internal-ca.pem").to_str().unwrap());
    client.set("http.curloptResolve", &format!("git.example.com:{port}:127.0.0.1"));
    let url = format!("https://x:{}@git.example.com:{port}/acme/alpha.git", token(RELEASE_BOT));
    client.ok(&format!("clone --quiet {url} work"));
    client.ok("-C work commit --quiet --allow-empty --message pushed");
    client.ok("-C work push --quiet origin HEAD:main");
    let repository = site.path("git/acme/alpha.git");
    let last = server.ok(&format!("-C {} log -1 --format=%s main", repository.display()));
    assert_eq!(last, "pushed");
    let log = fs::read_to_string(repository.join("logs/refs/heads/main")).unwrap();
    assert!(log.lines().last().unwrap().contains("release-bot"), "{log}");
    running.stop().unwrap();
}

#[test]
fn a_directory_of_repositories() {
    let (site, server) = prepare("git-directory");
    site.replace("policies/organizations/acme.yaml", ", max_lifetime: 90d", "");
    clone_and_push(&site, &server);
}

#[test]
fn nginx() {
    let (site, server) = prepare("nginx-git");
    match Nginx::start(&site.path("git")) {
        Ok(nginx) => {
            site.replace("portcullis.yaml", "http://127.0.0.1:3000", &format!("http://{}", nginx.address));
            site.replace("policies/tokens/ci.yaml", "10.20.0.0/16", "127.0.0.1");
            clone_and_push(&site, &server);
            assert!(!nginx.answered().is_empty());
        }
        Err(missing) => println!("skipped: {missing} is not installed; run make test"),
    }
}
