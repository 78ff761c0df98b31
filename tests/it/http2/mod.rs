//! HTTP/2: what it could bring in past what HTTP/1 is judged by, what clients do to each other's streams, and how it ends.

mod clients;
mod frames;

use http::Request;

use crate::support::gateway::{TestGateway, authorization, head, policy_tokens, status};
use crate::support::policy::token;
use crate::support::secure::{Authority, Http2, get, run, secure_gateway};
use crate::support::wire::{Host, ok};

const BODY: &str = "resource_owner: acme\nrepositories: [alpha]\npermissions: { contents: write }";
const FILE: &str = "/repos/acme/alpha/contents/a.bin";

fn secure(host: &Host) -> (Authority, TestGateway) {
    let authority = Authority::new();
    let upstreams = format!(
        "  - {{ name: forge, hosts: ['*'], url: 'http://{}', catalogs: [github], identity: {{ trusted_header: X-WEBAUTH-USER }} }}",
        host.address
    );
    let gateway = secure_gateway(&authority, "", &upstreams, &[policy_tokens(&[(1, BODY)])]);
    (authority, gateway)
}

/// Two lengths are one too many, also where a host folds names.
#[test]
fn a_second_length_does_not_pass() {
    let host = Host::answering(ok);
    let (authority, gateway) = secure(&host);
    run(async {
        let mut client = Http2::connect(gateway.address(), &authority).await;
        let twice = get(FILE).header("content-length", "0").header("content-length", "0");
        let (status, _, body) = client.answer(twice).await.unwrap();
        assert_eq!(status, 400, "{body}");
        let folded = get(FILE).header("content_length", "7");
        let (status, _, body) = client.answer(folded).await.unwrap();
        assert_eq!(status, 400, "{body}");
    });
    assert_eq!(host.connections(), 0);
}

/// A host's name with something behind it that is no port reaches nobody: the host might read another name there.
#[test]
fn what_stands_behind_a_name_is_a_port() {
    let host = Host::answering(ok);
    let (authority, gateway) = secure(&host);
    run(async {
        let mut client = Http2::connect(gateway.address(), &authority).await;
        let request = Request::get(format!("https://git.example.com:x@git.example.com{FILE}"))
            .header("authorization", format!("Bearer {}", token(1)));
        let (status, _, body) = client.answer(request).await.unwrap();
        assert_eq!(status, 400, "{body}");
    });
    let plain = TestGateway::before(host.address, "github", BODY);
    let name = "Host: git.example.com";
    let request = head("GET", FILE, &authorization(1)).replace(name, &format!("{name}:evil.example"));
    assert_eq!(status(&plain.raw(request)), 404);
    assert_eq!(host.connections(), 0);
}
