//! One's own tokens.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde_json::Value;

use crate::api::answer::{ApiError, empty, json_answer};
use crate::api::body::{RenewalBody, TokenBody, read};
use crate::api::query::Paging;
use crate::api::{Answered, Call, Caller};
use crate::clock;
use crate::domain::grant::UnixTime;
use crate::issuer::issue::Renewal;
use crate::issuer::{IssueError, Issued};
use crate::policy::snapshot::Organization;
use crate::store::rows::PermissionWords;

impl Call<'_> {
    /// Below `/user/personal-access-tokens`.
    pub(super) async fn own(&self, rest: &[&str]) -> Answered {
        let method = self.request.method;
        match *rest {
            [] if matches!(*method, Method::GET | Method::HEAD) => self.own_tokens().await,
            [] if method == Method::POST => self.create().await,
            [id] => {
                let id = number(id)?;
                match *method {
                    Method::GET | Method::HEAD => {
                        let view = self.own_token(id).await?;
                        Ok(json_answer(StatusCode::OK, &self.token(&view)))
                    }
                    Method::PATCH => {
                        self.count_change()?;
                        let edit = read::<TokenBody>(self.request.body)?.edit(self)?;
                        let view = self.api.issuer.edit(self.setting(), id, edit).await?;
                        Ok(json_answer(StatusCode::OK, &self.token(&view)))
                    }
                    Method::DELETE => {
                        self.api.issuer.delete(self.setting(), id).await?;
                        Ok(empty(StatusCode::NO_CONTENT))
                    }
                    _ => Err(ApiError::NotFound),
                }
            }
            [id, "regenerate"] if method == Method::POST => self.regenerate(number(id)?).await,
            _ => Err(ApiError::NotFound),
        }
    }

    async fn own_tokens(&self) -> Answered {
        let paging = Paging::read(self.request.target)?;
        let page = ((paging.page - 1) * paging.per_page, paging.per_page);
        let (views, total) = self.api.issuer.tokens_of(self.login().to_owned(), page).await?;
        let page: Vec<Value> = views.iter().map(|view| self.token(view)).collect();
        Ok(self.paged(json_answer(StatusCode::OK, &page), paging, total))
    }

    /// With `Link`, of `total` entries.
    pub(super) fn paged(
        &self,
        mut response: Response<Bytes>,
        paging: Paging,
        total: usize,
    ) -> Response<Bytes> {
        let url = self.url(self.request.target.path());
        if let Some(link) = paging.link(&url, self.request.target, total) {
            response.headers_mut().insert(http::header::LINK, link);
        }
        response
    }

    async fn own_token(&self, id: i64) -> Result<crate::issuer::TokenView, ApiError> {
        let view = self.api.issuer.token(id).await?;
        let own = view.token.user.eq_ignore_ascii_case(self.login()) && view.token.revoked.is_none();
        if own { Ok(view) } else { Err(ApiError::NotFound) }
    }

    /// Counts a change that adds to the store, which else would grow as fast as somebody can ask. To take back is always
    /// possible.
    fn count_change(&self) -> Result<(), ApiError> {
        if matches!(self.caller, Caller::Machine(_)) {
            return Ok(());
        }
        let most = self.api.changes_per_hour;
        self.api.limiter.change(self.login(), clock::monotonic(), most).map_err(ApiError::Throttled)
    }

    async fn create(&self) -> Answered {
        self.count_change()?;
        let setting = self.setting();
        let draft = read::<TokenBody>(self.request.body)?.draft(self, setting.now)?;
        let issued = self.api.issuer.create(setting, draft).await?;
        Ok(self.issued(&issued))
    }

    async fn regenerate(&self, id: i64) -> Answered {
        self.count_change()?;
        let setting = self.setting();
        let body: RenewalBody = read(self.request.body)?;
        let renewal = Renewal { expiry: body.expiry(setting.now)?, overlap: body.overlap };
        let issued = self.api.issuer.regenerate(setting, id, renewal).await?;
        Ok(self.issued(&issued))
    }

    /// The one answer that shows a token's text.
    fn issued(&self, issued: &Issued) -> Response<Bytes> {
        let mut value = self.token(&issued.view);
        if let Some(value) = value.as_object_mut() {
            value.insert("token".to_owned(), issued.text.expose().into());
        }
        json_answer(StatusCode::CREATED, &value)
    }

    /// `GET /bundles`.
    pub(super) fn bundles(&self) -> Response<Bytes> {
        let shown = self.policy.bundles.iter().map(|(name, permissions)| {
            serde_json::json!({ "name": name, "permissions": PermissionWords::from(permissions) })
        });
        json_answer(StatusCode::OK, &shown.collect::<Vec<_>>())
    }

    /// `GET /user`.
    pub(super) async fn who_am_i(&self) -> Answered {
        let login = self.login().to_owned();
        let find = move |reads: crate::store::Reads<'_>| reads.user(&login);
        let found = self.api.issuer.store.read(find).await?;
        let memberships = self.memberships().await?;
        // A user whose tokens files declare may be unknown to the store.
        let id = found.as_ref().map_or(0, |user| user.id);
        let mut user = self.user(self.login(), id, "User");
        if let Some(user) = user.as_object_mut() {
            user.insert("site_admin".to_owned(), self.is_administrator().into());
            let owns = |organization: &&Organization| organization.is_owned_by(self.login(), &memberships);
            let owns = self.policy.organizations.values().filter(owns);
            let mut owns: Vec<_> = owns.map(|organization| organization.name.clone()).collect();
            owns.sort();
            user.insert("owned_organizations".to_owned(), owns.into());
        }
        Ok(json_answer(StatusCode::OK, &user))
    }

    /// `GET /token`.
    pub(super) async fn this_token(&self) -> Answered {
        let Caller::Token(digest, _) = self.caller else { return Err(ApiError::NotFound) };
        match self.api.issuer.token_by_digest(*digest).await {
            Ok(view) => Ok(json_answer(StatusCode::OK, &self.token(&view))),
            Err(IssueError::NotFound) => {
                let kept = crate::policy::grants::index::Kept::default();
                let grant = self.policy.token(digest, &kept).ok_or(ApiError::NotFound)?;
                Ok(json_answer(StatusCode::OK, &self.declared_token(grant)))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The number that a path names; what is none names nothing.
pub(super) fn number(text: &str) -> Result<i64, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound)
}

/// Never: the moment that stands for it.
pub(super) const NEVER: UnixTime = UnixTime(i64::MAX);
