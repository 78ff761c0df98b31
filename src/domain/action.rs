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
    /// What it is about.
    pub resource: Resource<'a>,
}
