//! When tokens were used last, out of the lines of the audit log: the way of a request knows nothing of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::domain::grant::UnixTime;
use crate::domain::network::Network;
use crate::record::line::{Field, Line};

/// How often uses are told while lines go on coming.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Uses that are remembered until they are told. More are told at once.
const MOST: usize = 10_000;

/// What was used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Used {
    /// The token with this public id.
    Token(String),
    /// A credential that a host issued.
    Classic {
        /// Its digest, in base64.
        digest: String,
        /// The upstream.
        upstream: String,
        /// The resource owner concerned; empty where that is not known.
        owner: String,
    },
}

/// The last use of a token or a credential from one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// What was used.
    pub used: Used,
    /// How often, since uses were told last.
    pub times: u64,
    /// When.
    pub at: UnixTime,
    /// The client's address.
    pub from: IpAddr,
    /// Whether by git, rather than by an API.
    pub git: bool,
}

/// Whoever wants to know of uses.
pub type UseListener = Box<dyn Fn(Vec<Use>) + Send + Sync>;

/// Uses that were not told yet: of each token the last one from each network, so that one from elsewhere is not lost
/// between others.
#[derive(Debug, Default)]
pub(super) struct Uses {
    by_network: HashMap<(Used, Network), Use>,
    /// When the first of them was noted.
    since: Option<Instant>,
}

impl Uses {
    /// Notes what `line` says, whose texts stand in `text`.
    pub(super) fn note(&mut self, line: &Line, text: &str) {
        let Some(used) = used(line, text) else { return };
        let at = UnixTime(line.time.div_euclid(1_000_000));
        let route = line.text(text, Field::Route).unwrap_or_default();
        let (from, git) = (line.peer, is_git(route));
        self.since.get_or_insert(line.ended);
        let new = || Use { used: used.clone(), times: 0, at, from, git };
        let known = self.by_network.entry((used.clone(), Network::of(from))).or_insert_with(new);
        known.times += 1;
        if known.at <= at {
            (known.at, known.from, known.git) = (at, from, git);
        }
    }

    /// What is to be told now; `anyway` where it is quiet, or the end.
    pub(super) fn due(&mut self, now: Instant, anyway: bool) -> Option<Vec<Use>> {
        let since = self.since?;
        let due =
            anyway || now.saturating_duration_since(since) >= TELL_EVERY || self.by_network.len() >= MOST;
        due.then(|| {
            self.since = None;
            let mut uses: Vec<_> = self.by_network.drain().map(|(_, used)| used).collect();
            uses.sort_by_key(|used| used.at);
            uses
        })
    }
}

/// What a line says was used. A line of a token that nobody knows has no user.
fn used(line: &Line, text: &str) -> Option<Used> {
    if let Some(digest) = line.text(text, Field::HashedToken) {
        // What the host does not know is junk, and tells nothing of who uses what.
        if line.status.is_none_or(|status| status == StatusCode::UNAUTHORIZED) {
            return None;
        }
        let text_of = |field| line.text(text, field).unwrap_or_default().to_owned();
        let owner = text_of(Field::Resource).split('/').next().unwrap_or_default().to_ascii_lowercase();
        return Some(Used::Classic { digest: digest.to_owned(), upstream: text_of(Field::Upstream), owner });
    }
    line.text(text, Field::User)?;
    line.text(text, Field::TokenId).map(|token| Used::Token(token.to_owned()))
}

/// Whether `route`, as a catalog writes it, is one of git's.
fn is_git(route: &str) -> bool {
    ["/info/refs", "/git-upload-pack", "/git-receive-pack", "/HEAD"].iter().any(|end| route.ends_with(end))
        || route.contains("/objects/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;
    use crate::record::line::Text;

    fn line(second: i64, token: &str, user: Option<&str>, route: &str) -> (Line, Text) {
        let (mut line, mut text) =
            (Line::new([192, 0, 2, 7].into(), second * 1_000_000, monotonic()), Text::new());
        line.set(&mut text, Field::TokenId, token);
        line.set(&mut text, Field::Route, route);
        if let Some(user) = user {
            line.set(&mut text, Field::User, user);
        }
        (line, text)
    }

    #[test]
    fn the_last_use_of_a_known_token_is_told_when_due() {
        let mut uses = Uses::default();
        let rest = "GET /repos/{owner}/{repo}";
        for (line, text) in [
            line(5, "a", Some("bob"), "POST /{owner}/{repository}/git-upload-pack"),
            line(3, "a", Some("bob"), rest),
            line(4, "b", None, rest),
        ] {
            uses.note(&line, text.as_str());
        }
        let now = monotonic();
        assert_eq!(uses.due(now, false), None);
        let told = uses.due(now + TELL_EVERY, false).unwrap();
        let from = [192, 0, 2, 7].into();
        assert_eq!(told, [Use { used: Used::Token("a".into()), times: 2, at: UnixTime(5), from, git: true }]);
        assert_eq!(uses.due(now + TELL_EVERY * 2, true), None);
    }

    #[test]
    fn a_use_from_elsewhere_is_not_lost_between_others() {
        let mut uses = Uses::default();
        for (second, from) in [(5, [192, 0, 2, 7]), (6, [198, 51, 100, 1]), (7, [192, 0, 2, 9])] {
            let (mut line, text) = line(second, "a", Some("bob"), "GET /user");
            line.peer = from.into();
            uses.note(&line, text.as_str());
        }
        let told = uses.due(monotonic(), true).unwrap();
        let from: Vec<_> = told.iter().map(|used| (used.at.0, used.from.to_string())).collect();
        assert_eq!(from, [(6, "198.51.100.1".to_owned()), (7, "192.0.2.9".to_owned())]);
    }
}
