//! The audit trail, and the requests in the audit log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::api::answer::{ApiError, json_answer};
use crate::api::query::Paging;
use crate::api::{Answered, Call};
use crate::domain::grant::UnixTime;
use crate::issuer::draft::FieldError;
use crate::policy::tokens::parse_moment;
use crate::record::audit::search::{Bounds, Found, Position, SearchError, Wanted, search};
use crate::store::audit::AuditQuery;

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

/// Bytes of the audit log that one call reads, about: a quarter of a second.
const SEARCHED_BYTES: u64 = 32 * 1024 * 1024;

/// How many calls may wait for their turn, and how long.
const WAITING: usize = 4;
const PATIENCE: Duration = Duration::from_secs(2);

/// The audit log, which is searched by one call at a time.
#[derive(Debug)]
pub struct RequestLog {
    file: Arc<PathBuf>,
    turn: Arc<Semaphore>,
    waiting: Semaphore,
}

impl RequestLog {
    /// In `file`, with the files that were rotated.
    pub fn new(file: PathBuf) -> Self {
        Self { file: Arc::new(file), turn: Arc::new(Semaphore::new(1)), waiting: Semaphore::new(WAITING) }
    }

    /// Searches when it is the call's turn, on a thread that may wait for the disk.
    ///
    /// # Cancel safety
    /// What has begun is done to its end, and makes no room for another before.
    async fn search(
        &self,
        wanted: Wanted,
        from: Option<Position>,
        bounds: Bounds,
    ) -> Result<Found, ApiError> {
        let busy = || ApiError::Unavailable("the audit log is being searched; try again".to_owned());
        let waits = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = timeout(PATIENCE, Arc::clone(&self.turn).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or_else(busy)?;
        drop(waits);
        let file = Arc::clone(&self.file);
        let search = move || {
            let found = search(&file, &wanted, from, bounds);
            drop(turn);
            found
        };
        match spawn_blocking(search).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(SearchError::Gone)) => {
                let error = FieldError::invalid("before", SearchError::Gone.to_string());
                Err(ApiError::Invalid(vec![error]))
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the audit log cannot be searched");
                Err(ApiError::Unavailable("the audit log cannot be read".to_owned()))
            }
            Err(_) => Err(ApiError::Unavailable("the search broke off".to_owned())),
        }
    }
}

impl Call<'_> {
    /// `GET /audit-log`, of everything, and `GET /orgs/{org}/audit-log`.
    pub(super) async fn audit(&self, org: Option<&str>) -> Answered {
        let paging = Paging::read(self.request.target)?;
        let (mut query, mut errors) = (AuditQuery::default(), Vec::new());
        for (name, value) in self.request.target.query_fields() {
            match &*name {
                "phrase" => read_phrase(&value, &mut query, &mut errors),
                "before" => match value.parse() {
                    Ok(id) => query.below = Some(id),
                    Err(_) => errors.push(FieldError::invalid("before", "expected the number of an entry")),
                },
                _ => {}
            }
        }
        if !errors.is_empty() {
            return Err(ApiError::Invalid(errors));
        }
        query.org = org.map(str::to_owned).or(query.org);
        let limit = paging.per_page;
        let mut entries = self.api.issuer.store.read(move |reads| reads.audit(&query, limit + 1)).await?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let shown: Vec<Value> = entries
            .iter()
            .map(|entry| {
                let mut value: Value = serde_json::from_str(&entry.entry).unwrap_or_default();
                if let Some(value) = value.as_object_mut() {
                    value.insert("_document_id".to_owned(), entry.id.to_string().into());
                }
                value
            })
            .collect();
        let next = entries.last().filter(|_| more).map(|last| last.id.to_string());
        Ok(self.with_next(json_answer(StatusCode::OK, &shown), next))
    }

    /// `GET /request-log`, of everything, and `GET /orgs/{org}/request-log`. A page may hold less than it could, or nothing:
    /// each call reads so much of the log, and the next goes on.
    pub(super) async fn request_log(&self, org: Option<&str>) -> Answered {
        let Some(log) = &self.api.request_log else {
            let message = "the audit log goes to no file here; search it where it goes";
            return Err(ApiError::Unavailable(message.to_owned()));
        };
        let paging = Paging::read(self.request.target)?;
        let (mut wanted, mut from, mut errors) = (Wanted::default(), None, Vec::new());
        for (name, value) in self.request.target.query_fields() {
            match &*name {
                "phrase" => read_wanted(&value, &mut wanted, &mut errors),
                "before" => {
                    from = Position::parse(&value);
                    if from.is_none() {
                        errors.push(FieldError::invalid("before", "expected what a `Link` of this list had"));
                    }
                }
                _ => {}
            }
        }
        if !errors.is_empty() {
            return Err(ApiError::Invalid(errors));
        }
        wanted.org = org.map(str::to_owned).or(wanted.org);
        let bounds = Bounds { lines: paging.per_page, bytes: SEARCHED_BYTES };
        let Found { lines, next } = log.search(wanted, from, bounds).await?;
        Ok(self.with_next(json_answer(StatusCode::OK, &lines), next.map(|next| next.to_string())))
    }

    /// `response` with a `Link` to what lies before `next`, where there is something.
    fn with_next(&self, mut response: Response<Bytes>, next: Option<String>) -> Response<Bytes> {
        if let Some(next) = next {
            let target = self.request.target;
            let pieces = target.query().unwrap_or_default().split('&');
            let kept = pieces.filter(|piece| !piece.is_empty() && !piece.starts_with("before="));
            let before = format!("before={next}");
            let query = kept.chain([before.as_str()]).collect::<Vec<_>>().join("&");
            let link = format!("<{}?{query}>; rel=\"next\"", self.url(target.path()));
            if let Ok(link) = HeaderValue::try_from(link) {
                response.headers_mut().insert(header::LINK, link);
            }
        }
        response
    }
}

/// The words of a phrase: what stands before the first colon, and behind it.
fn words(phrase: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    phrase.split_whitespace().map(|word| {
        let (key, value) = word.split_once(':').unwrap_or(("", word));
        (word, key, value.trim_matches('"'))
    })
}

/// `actor:bob action:personal_access_token.* created:>=2026-11-01`, as in GitHub's audit log.
fn read_phrase(phrase: &str, query: &mut AuditQuery, errors: &mut Vec<FieldError>) {
    for (word, key, value) in words(phrase) {
        let text = Some(value.to_owned());
        match key {
            "actor" => query.actor = text,
            "action" => query.action = text,
            "user" => query.user = text,
            "org" => query.org = text,
            "repo" => query.repository = text,
            "hashed_token" => query.hashed_token = text,
            "token_id" => match value.parse() {
                Ok(id) => query.token_id = Some(id),
                Err(_) => errors.push(FieldError::invalid("phrase", "`token_id` is a whole number")),
            },
            "created" if let Some(times) = created(value) => {
                let micros = |moment: UnixTime| moment.0.saturating_mul(SECOND);
                query.since = times.since.map(micros).or(query.since);
                query.until = times.until.map(micros).or(query.until);
            }
            _ => errors.push(FieldError::invalid(
                "phrase",
                format!("`{word}` is not understood; expected `actor:`, `action:`, `user:`, `org:`, `repo:`, `token_id:`, `hashed_token:` or `created:` with `>=`, `<` or `..`"),
            )),
        }
    }
}

/// `user:bob verdict:refuse created:>=2026-11-01`.
fn read_wanted(phrase: &str, wanted: &mut Wanted, errors: &mut Vec<FieldError>) {
    for (word, key, value) in words(phrase) {
        let text = Some(value.to_owned());
        match key {
            "user" => wanted.user = text,
            "token" => wanted.token = text,
            "org" => wanted.org = text,
            "repo" => wanted.repository = text,
            "reason" => wanted.reason = text,
            "peer" => wanted.peer = text,
            "id" => wanted.id = text,
            "verdict" if value == "refuse" => wanted.refused = true,
            "created" if let Some(times) = created(value) => {
                wanted.since = times.since.or(wanted.since);
                wanted.until = times.until.or(wanted.until);
            }
            _ => errors.push(FieldError::invalid(
                "phrase",
                format!("`{word}` is not understood; expected `user:`, `token:`, `org:`, `repo:`, `reason:`, `peer:`, `id:`, `verdict:refuse` or `created:` with `>=`, `<` or `..`"),
            )),
        }
    }
}

/// From when until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    since: Option<UnixTime>,
    /// Without this moment itself.
    until: Option<UnixTime>,
}

/// `2026-11-01`, `>=2026-11-01`, `<2026-12-01`, `2026-11-01..2026-11-30`. A date means the whole day.
fn created(text: &str) -> Option<Times> {
    if let Some(from) = text.strip_prefix(">=") {
        return Some(Times { since: Some(parse_moment(from)?), until: None });
    }
    if let Some(until) = text.strip_prefix('<') {
        return Some(Times { since: None, until: Some(parse_moment(until)?) });
    }
    let (from, until) = text.split_once("..").unwrap_or((text, text));
    let length = if until.contains(['T', 't']) { 1 } else { DAY };
    let behind = UnixTime(parse_moment(until)?.0.saturating_add(length));
    Some(Times { since: Some(parse_moment(from)?), until: Some(behind) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_says_when() {
        let at = |moment: i64| Some(UnixTime(moment));
        for (text, since, until) in [
            ("1970-01-03", at(2 * DAY), at(3 * DAY)),
            (">=1970-01-03", at(2 * DAY), None),
            ("<1970-01-03T00:00:01Z", None, at(2 * DAY + 1)),
            ("1970-01-02..1970-01-03T00:00:00Z", at(DAY), at(2 * DAY + 1)),
        ] {
            assert_eq!(created(text), Some(Times { since, until }), "{text}");
        }
        for text in ["", "soon", ">=", "<x", "1970-01-02..", "..1970-01-02"] {
            assert_eq!(created(text), None, "{text}");
        }
    }

    #[test]
    fn what_a_phrase_does_not_mean_is_told() {
        let mut errors = Vec::new();
        read_wanted("user:bob verdict:allow", &mut Wanted::default(), &mut errors);
        assert!(matches!(&*errors, [error] if error.message.contains("`verdict:allow` is not understood")));
        let mut wanted = Wanted::default();
        let phrase = "user:bob token:nightly repo:acme/alpha reason:no_route peer:192.0.2.7 id:7 verdict:refuse created:1970-01-03";
        read_wanted(phrase, &mut wanted, &mut errors);
        let text = |text: &str| Some(text.to_owned());
        let want = Wanted {
            user: text("bob"),
            token: text("nightly"),
            org: None,
            repository: text("acme/alpha"),
            reason: text("no_route"),
            refused: true,
            peer: text("192.0.2.7"),
            id: text("7"),
            since: Some(UnixTime(2 * DAY)),
            until: Some(UnixTime(3 * DAY)),
        };
        assert_eq!((wanted, errors.len()), (want, 1));
    }
}
