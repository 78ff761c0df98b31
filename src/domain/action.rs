//! What a request wants: the route that it takes, what that needs, and on which resource.

use crate::domain::permission::Requirement;
use crate::domain::resource::Resource;

/// One request, understood by a catalog.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// The route as the catalog writes it: `GET /repos/{owner}/{repo}`.
    pub route: &'a str,
    /// What it needs.
    pub requirement: &'a Requirement,
    /// The requirement as text: `contents=read; issues=read`.
    pub accepted: &'a str,
    /// Whether it need not be met where the repository is public.
    pub public: bool,
    /// What it is about.
    pub resource: Resource<'a>,
}

/// What a client of git does with a request (git's `Documentation/gitprotocol-http`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GitOperation {
    /// Asks which refs there are, in order to fetch.
    LsRefs,
    /// Fetches or clones.
    Fetch,
    /// Asks which refs there are, in order to push.
    PushRefs,
    /// Pushes.
    Push,
}

impl GitOperation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::LsRefs, Self::Fetch, Self::PushRefs, Self::Push];

    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LsRefs => "ls_refs",
            Self::Fetch => "fetch",
            Self::PushRefs => "push_refs",
            Self::Push => "push",
        }
    }
}
