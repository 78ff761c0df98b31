//! What resource owners do: GitHub's endpoints for the requests and the tokens that reach an organization.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::answer::{ApiError, empty, json_answer};
use crate::api::body::{ReviewBody, RevokeBody, read};
use crate::api::own::number;
use crate::api::query::{Paging, list_query};
use crate::api::{Answered, Call};
use crate::domain::lifecycle::{Part, RequestState};
use crate::issuer::Capacity;
use crate::issuer::draft::FieldError;
use crate::issuer::review::{Review, Verdict};
use crate::store::people::Named;

/// Numbers in one bulk call at most (GitHub's).
const MOST_NUMBERS: usize = 100;

impl Call<'_> {
    /// Below `/orgs/{org}`.
    pub(super) async fn organization(&self, org: &str, rest: &[&str]) -> Answered {
        self.acts_for(org).await?;
        let reads = matches!(*self.request.method, Method::GET | Method::HEAD);
        let changes = self.request.method == Method::POST;
        match *rest {
            ["personal-access-token-requests"] if reads => self.requests(org).await,
            ["personal-access-token-requests"] if changes => {
                let body: ReviewBody = read(self.request.body)?;
                let numbers = numbers(body.pat_request_ids.as_deref(), "pat_request_ids")?;
                self.review(org, numbers, &body).await?;
                Ok(json_answer(StatusCode::ACCEPTED, &json!({})))
            }
            ["personal-access-token-requests", id] if changes => {
                let body: ReviewBody = read(self.request.body)?;
                self.review(org, vec![number(id)?], &body).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            ["personal-access-token-requests", id, "repositories"] if reads => {
                let request = self.api.issuer.store.read(read_request(number(id)?)).await?;
                let request = request.filter(|request| request.state == RequestState::Pending);
                self.repositories(org, request.map(|request| request.part)).await
            }
            ["personal-access-tokens"] if reads => self.grants(org).await,
            ["personal-access-tokens"] if changes => {
                let body: RevokeBody = read(self.request.body)?;
                let numbers = numbers(body.pat_ids.as_deref(), "pat_ids")?;
                self.revoke(org, numbers, &body).await?;
                Ok(json_answer(StatusCode::ACCEPTED, &json!({})))
            }
            ["personal-access-tokens", id] if changes => {
                let body: RevokeBody = read(self.request.body)?;
                self.revoke(org, vec![number(id)?], &body).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            ["personal-access-tokens", id, "repositories"] if reads => {
                let id = number(id)?;
                let grant = self.api.issuer.store.read(move |reads| reads.grant(id)).await?;
                let grant = grant.filter(|grant| grant.revoked_at.is_none());
                self.repositories(org, grant.map(|grant| grant.part)).await
            }
            ["classic-tokens"] if reads => self.classic_uses(Some(org.to_owned())).await,
            ["audit-log"] if reads => self.audit(Some(org)).await,
            ["request-log"] if reads => self.request_log(Some(org)).await,
            ["token-policy"] => self.rules(Some(org)).await,
            _ => Err(ApiError::NotFound),
        }
    }

    /// Whether the caller acts for `org`. A token does no more than its user may, so that is asked of both.
    async fn acts_for(&self, org: &str) -> Result<(), ApiError> {
        let memberships = self.memberships().await?;
        if self.policy.is_owned_by(org, self.login(), &memberships) || self.is_administrator() {
            return Ok(());
        }
        Err(ApiError::Forbidden(format!("only owners of `{org}` may do this; `{}` is none", self.login())))
    }

    async fn requests(&self, org: &str) -> Answered {
        let (query, paging) = list_query(org, self.request.target)?;
        let page = self.api.issuer.store.read(move |reads| reads.requests_at(&query)).await?;
        let entries: Vec<Value> =
            page.entries.iter().map(|(token, request)| self.request(token, request)).collect();
        Ok(self.paged(json_answer(StatusCode::OK, &entries), paging, page.total))
    }

    async fn grants(&self, org: &str) -> Answered {
        let (query, paging) = list_query(org, self.request.target)?;
        let page = self.api.issuer.store.read(move |reads| reads.grants_at(&query)).await?;
        let entries: Vec<Value> =
            page.entries.iter().map(|(token, grant)| self.grant(token, grant)).collect();
        Ok(self.paged(json_answer(StatusCode::OK, &entries), paging, page.total))
    }

    async fn review(&self, org: &str, requests: Vec<i64>, body: &ReviewBody) -> Result<(), ApiError> {
        let verdict = match body.action.as_str() {
            "approve" => Verdict::Approve,
            "deny" => Verdict::Deny,
            _ => return Err(unknown_action("expected `approve` or `deny`")),
        };
        let review = Review { org: org.to_owned(), requests, verdict, reason: body.reason.clone() };
        let setting = self.setting_as(Capacity::OwnerOf(org.to_owned()));
        Ok(self.api.issuer.review(setting, review).await?)
    }

    async fn revoke(&self, org: &str, grants: Vec<i64>, body: &RevokeBody) -> Result<(), ApiError> {
        if body.action != "revoke" {
            return Err(unknown_action("expected `revoke`"));
        }
        let setting = self.setting_as(Capacity::OwnerOf(org.to_owned()));
        Ok(self.api.issuer.revoke_grants(setting, org.to_owned(), grants).await?)
    }

    /// The repositories that `part` lists, where it is one of `org`.
    async fn repositories(&self, org: &str, part: Option<Part>) -> Answered {
        let part = part.filter(|part| part.owner.eq_ignore_ascii_case(org)).ok_or(ApiError::NotFound)?;
        let paging = Paging::read(self.request.target)?;
        let names = part.terms.reach.names();
        let page = names.iter().skip((paging.page - 1) * paging.per_page).take(paging.per_page);
        let (owner, page) = (part.owner.clone(), page.cloned().collect::<Vec<_>>());
        let give_numbers = move |changes: &crate::store::Changes<'_>| {
            let id = changes.give_number(Named::Owner, &owner)?;
            let mut numbered = Vec::new();
            for name in page {
                let number = changes.give_number(Named::Repository, &format!("{owner}/{name}"))?;
                numbered.push((name, number));
            }
            Ok::<_, ApiError>((owner, id, numbered))
        };
        let (owner, id, numbered) = self.api.issuer.store.write(give_numbers).await?;
        let repository = |(name, number): &(String, i64)| self.repository((&owner, id), name, *number);
        let entries: Vec<Value> = numbered.iter().map(repository).collect();
        Ok(self.paged(json_answer(StatusCode::OK, &entries), paging, names.len()))
    }
}

fn read_request(
    id: i64,
) -> impl FnOnce(crate::store::Reads<'_>) -> Result<Option<crate::store::rows::RequestRow>, ApiError> + Send {
    move |reads| Ok(reads.request(id)?)
}

fn unknown_action(expected: &str) -> ApiError {
    ApiError::Invalid(vec![FieldError::invalid("action", expected)])
}

/// 1 to 100 numbers.
fn numbers(numbers: Option<&[i64]>, field: &'static str) -> Result<Vec<i64>, ApiError> {
    let given = numbers.unwrap_or_default();
    if (1..=MOST_NUMBERS).contains(&given.len()) {
        return Ok(given.to_vec());
    }
    let code = if numbers.is_none() { "missing_field" } else { "invalid" };
    let message = format!("expected 1 to {MOST_NUMBERS} numbers");
    Err(ApiError::Invalid(vec![FieldError { field, code, message }]))
}
