//! Tokens, grants, requests, users and repositories as JSON; GitHub's shapes where GitHub has them.

use serde_json::{Map, Value, json};

use crate::api::Call;
use crate::api::answer::moment;
use crate::clock;
use crate::domain::lifecycle::Part;
use crate::issuer::TokenView;
use crate::issuer::shape::{self, node_id, put_urls};
use crate::store::rows::{GrantRow, PermissionWords, RequestRow, TokenRow};

/// What follows a repository's URL in GitHub's minimal repository.
const REPOSITORY_URLS: [(&str, &str); 37] = [
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
    ("url", ""),
];

impl Call<'_> {
    /// A user, or a resource owner of this `kind`: `User` or `Organization`.
    pub(super) fn user(&self, login: &str, id: i64, kind: &str) -> Value {
        shape::user(&self.url(""), (login, id), kind)
    }

    /// A repository that is known by name alone.
    pub(super) fn repository(&self, owner: (&str, i64), name: &str, id: i64) -> Value {
        let full_name = format!("{}/{name}", owner.0);
        let mut repository = json!({
            "id": id,
            "node_id": node_id("Repository", id),
            "name": name,
            "full_name": full_name,
            "owner": self.user(owner.0, owner.1, "Organization"),
            "private": true,
            "html_url": self.url(&format!("/{full_name}")),
            "description": null,
            "fork": false,
        });
        put_urls(&mut repository, &self.url(&format!("/repos/{full_name}")), &REPOSITORY_URLS);
        repository
    }

    /// A grant, as GitHub shows it to the resource owner.
    pub(super) fn grant(&self, token: &TokenRow, grant: &GrantRow) -> Value {
        let path = format!("personal-access-tokens/{}/repositories", grant.id);
        let mut value = self.reach(token, &grant.part, &path);
        value.insert("id".to_owned(), grant.id.into());
        value.insert("access_granted_at".to_owned(), moment(grant.granted_at).into());
        value.into()
    }

    /// A request, as GitHub shows it to the resource owner.
    pub(super) fn request(&self, token: &TokenRow, request: &RequestRow) -> Value {
        let path = format!("personal-access-token-requests/{}/repositories", request.id);
        let mut value = self.reach(token, &request.part, &path);
        value.insert("id".to_owned(), request.id.into());
        value.insert("reason".to_owned(), request.reason.clone().into());
        value.insert("created_at".to_owned(), moment(request.created_at).into());
        value.into()
    }

    fn reach(&self, token: &TokenRow, part: &Part, path: &str) -> Map<String, Value> {
        let expired = token.expires_at.is_some_and(|moment| moment <= clock::now());
        let value = json!({
            "owner": self.user(&token.user, token.user_id, "User"),
            "repository_selection": part.terms.reach.as_str(),
            "repositories_url": self.url(&format!("/orgs/{}/{path}", part.owner)),
            "permissions": PermissionWords::from(&part.terms.permissions),
            "token_id": token.id,
            "token_name": token.name,
            "token_expired": expired,
            "token_expires_at": token.expires_at.map(moment),
            "token_last_used_at": token.last_used.as_ref().map(|used| moment(used.at)),
        });
        value.as_object().cloned().unwrap_or_default()
    }

    /// A token, as its user sees it.
    pub(super) fn token(&self, view: &TokenView) -> Value {
        shape::token(&self.url(""), self.policy.format.prefix(), view, clock::now())
    }
}
