//! The request that is asked about: a method and a URL, or what git sends to clone, fetch and push.

use http::Method;
use thiserror::Error;

use crate::policy::snapshot::Snapshot;
use crate::policy::upstream::UpstreamPolicy;

/// A host name that only an upstream for any host answers to (RFC 2606).
const ANY_HOST: &str = "gateway.invalid";

/// What is no request, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct NoRequest {
    /// `method` or `url`.
    pub field: &'static str,
    message: String,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its host, as `Host` has it.
    pub host: String,
    /// Its target, not yet checked.
    pub target: String,
}

/// The requests that `method` on `url` stands for. A path belongs to the first upstream.
///
/// # Errors
/// [`NoRequest`] where either cannot be read.
pub fn read(method: &str, url: &str, snapshot: &Snapshot) -> Result<Vec<Request>, NoRequest> {
    let (host, target) = part(url)?;
    let host = host.unwrap_or_else(|| first_host(snapshot));
    let service = match method {
        "clone" | "fetch" => "git-upload-pack",
        "push" => "git-receive-pack",
        method => {
            // Lower case is a habit of hands: HTTP has no method of its own for it.
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).map_err(|_| {
                no_method(format!(
                    "`{method}` is no method; expected such as `GET`, or `clone`, `fetch` or `push`"
                ))
            })?;
            return Ok(vec![Request { method, host, target }]);
        }
    };
    let repository = target.strip_suffix('/').unwrap_or(&target);
    if repository.contains(['?', '#']) {
        return Err(no_url(format!(
            "`{url}` is no repository; expected its URL as `git {method}` takes it, without a query"
        )));
    }
    let request = |method, target| Request { method, host: host.clone(), target };
    Ok(vec![
        request(Method::GET, format!("{repository}/info/refs?service={service}")),
        request(Method::POST, format!("{repository}/{service}")),
    ])
}

/// Host and target of `url`, byte for byte.
fn part(url: &str) -> Result<(Option<String>, String), NoRequest> {
    if url.starts_with('/') {
        return Ok((None, url.to_owned()));
    }
    let scheme = |scheme: &str| scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    let rest = match url.split_once("://") {
        Some((name, rest)) if scheme(name) => rest,
        _ => {
            return Err(no_url(
                "expected a URL that starts with `https://` or `http://`, or a path that starts with `/`",
            ));
        }
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    // What stands before an `@` may be a password: it is not repeated.
    if host.contains('@') {
        return Err(no_url("the URL holds a user or a password; leave it out"));
    }
    if host.is_empty() {
        return Err(no_url(format!("`{url}` has no host; expected `https://host/path`")));
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((Some(host.to_owned()), format!("{slash}{target}")))
}

fn first_host(snapshot: &Snapshot) -> String {
    let host = snapshot.upstreams.first().and_then(UpstreamPolicy::first_host);
    host.map_or_else(|| ANY_HOST.to_owned(), str::to_owned)
}

fn no_url(message: impl Into<String>) -> NoRequest {
    NoRequest { field: "url", message: message.into() }
}

fn no_method(message: String) -> NoRequest {
    NoRequest { field: "method", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, want: Option<(Option<&str>, &str)>) {
        let parts = part(url).ok();
        let parts = parts.as_ref().map(|(host, target)| (host.as_deref(), target.as_str()));
        assert_eq!(parts, want, "{url}");
    }

    #[test]
    fn the_target_stays_as_it_is_written() {
        check("https://h/a%2Fb/../c?x=/y", Some((Some("h"), "/a%2Fb/../c?x=/y")));
        check("HTTP://h:8080", Some((Some("h:8080"), "/")));
        check("https://h?x", Some((Some("h"), "/?x")));
        check("https://h#f", Some((Some("h"), "/#f")));
        check("/a//b", Some((None, "/a//b")));
        check("https:///a", None);
        check("https://user:hunter2@h/a", None);
        check("ssh://h/a", None);
        check("a/b", None);
    }

    #[test]
    fn no_error_repeats_a_password() {
        let error = part("https://user:hunter2@h/a").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
