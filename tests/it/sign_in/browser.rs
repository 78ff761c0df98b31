//! The least of a browser: it keeps cookies by host, and follows no redirect unless it is told to.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::support::api::{Answer, ApiGateway};
use crate::support::gateway::{DEADLINE, read_answer, status};

/// What the gateway is called in URLs.
const GATEWAY: &str = "portcullis.test";

pub(super) struct Browser {
    control: SocketAddr,
    cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    /// In front of `gateway`.
    pub(super) fn of(gateway: &ApiGateway) -> Self {
        Self { control: gateway.gateway.running().control.unwrap(), cookies: BTreeMap::new() }
    }

    pub(super) fn get(&mut self, url: &str) -> Answer {
        self.send("GET", url, "")
    }

    /// Sends a form, or nothing.
    pub(super) fn send(&mut self, method: &str, url: &str, form: &str) -> Answer {
        let rest = url.strip_prefix("http://").unwrap();
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = if host == GATEWAY { self.control } else { host.parse().unwrap() };
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .filter(|((of, _), _)| of == host)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let text = format!(
            "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nCookie: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            cookies.join("; "),
            form.len()
        );
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let text = read_answer(&mut stream);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        for line in head.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if name.eq_ignore_ascii_case("set-cookie") {
                let (name, value) = value.split(';').next().unwrap().split_once('=').unwrap();
                self.cookies.insert((host.to_owned(), name.to_owned()), value.to_owned());
            }
        }
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        Answer { status: status(&text), head: head.to_owned(), body }
    }

    /// Where the redirect in `answer`, which came from `url`, leads.
    #[track_caller]
    pub(super) fn next(url: &str, answer: &Answer) -> String {
        assert!((300..400).contains(&answer.status), "{answer:?}");
        let location = answer.header("location").unwrap();
        if location.starts_with('/') {
            let origin: String = url.split('/').take(3).collect::<Vec<_>>().join("/");
            return origin + location;
        }
        location.to_owned()
    }

    /// Begins a login, and tells where the provider is asked.
    #[track_caller]
    pub(super) fn begin(&mut self) -> String {
        let url = "http://portcullis.test/login/sso";
        let begun = self.get(url);
        Self::next(url, &begun)
    }
}

/// A field of the query of `url`, of those without escapes.
pub(super) fn field<'u>(url: &'u str, name: &str) -> &'u str {
    let query = url.split_once('?').unwrap().1;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).unwrap_or_else(|| panic!("no {name} in {url}")).1
}
