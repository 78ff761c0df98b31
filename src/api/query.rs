//! What the query of a list says.

use http::HeaderValue;

use crate::api::answer::ApiError;
use crate::domain::grant::UnixTime;
use crate::domain::target::CanonicalTarget;
use crate::issuer::draft::FieldError;
use crate::store::lists::ListQuery;

/// Entries of a page where nothing is said.
const USUAL_PAGE: usize = 30;

/// Entries of a page at most.
const LARGEST_PAGE: usize = 100;

/// Logins that a list may be filtered by.
const MOST_LOGINS: usize = 10;

/// Tokens that a list may be filtered by.
const MOST_TOKENS: usize = 50;

/// The last page that is looked at: what lies behind is not worth what it costs.
const LAST_PAGE: usize = 100_000;

/// Which page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paging {
    /// From 1.
    pub(super) page: usize,
    /// 1 to 100.
    pub(super) per_page: usize,
}

impl Paging {
    /// What `target` says.
    pub(super) fn read(target: &CanonicalTarget) -> Result<Self, ApiError> {
        let (mut paging, mut errors) = (Self { page: 1, per_page: USUAL_PAGE }, Vec::new());
        for (name, value) in target.query_fields() {
            match &*name {
                "page" => paging.page = number(&value, "page", &mut errors).clamp(1, LAST_PAGE),
                "per_page" => {
                    paging.per_page = number(&value, "per_page", &mut errors).clamp(1, LARGEST_PAGE);
                }
                _ => {}
            }
        }
        if errors.is_empty() { Ok(paging) } else { Err(ApiError::Invalid(errors)) }
    }

    /// `Link` (RFC 8288) of this page of `total` entries at `url`, which has no query; `None` where there is one page.
    pub(super) fn link(self, url: &str, target: &CanonicalTarget, total: usize) -> Option<HeaderValue> {
        let last = total.div_ceil(self.per_page).max(1);
        let kept: Vec<_> = target
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|piece| !piece.is_empty() && piece.split('=').next() != Some("page"))
            .collect();
        let one = |page: usize, relation: &str| {
            let page = format!("page={page}");
            let query = kept.iter().copied().chain([page.as_str()]).collect::<Vec<_>>().join("&");
            format!("<{url}?{query}>; rel=\"{relation}\"")
        };
        let mut links = Vec::new();
        if self.page > 1 {
            links.extend([one(self.page - 1, "prev"), one(1, "first")]);
        }
        if self.page < last {
            links.extend([one(self.page + 1, "next"), one(last, "last")]);
        }
        HeaderValue::try_from(links.join(", ")).ok().filter(|_| !links.is_empty())
    }
}

/// What `target` says of the list of a resource owner.
pub(super) fn list_query(org: &str, target: &CanonicalTarget) -> Result<(ListQuery, Paging), ApiError> {
    let paging = Paging::read(target)?;
    let mut query = ListQuery {
        org: org.to_owned(),
        skip: (paging.page - 1) * paging.per_page,
        limit: paging.per_page,
        ..ListQuery::default()
    };
    let mut errors = Vec::new();
    for (name, value) in target.query_fields() {
        let value = value.into_owned();
        match &*name {
            // Octokit writes a list as one value with commas, which neither logins nor numbers hold.
            "owner" | "owner[]" => query.users.extend(value.split(',').map(str::to_owned)),
            "token_id" | "token_id[]" => {
                for number in value.split(',') {
                    match number.parse() {
                        Ok(id) => query.token_ids.push(id),
                        Err(_) => errors.push(FieldError::invalid("token_id", "expected whole numbers")),
                    }
                }
            }
            "repository" => query.repository = Some(value.rsplit('/').next().unwrap_or_default().to_owned()),
            "permission" => query.permission = Some(value),
            "last_used_before" => query.used_before = moment(&value, "last_used_before", &mut errors),
            "last_used_after" => query.used_after = moment(&value, "last_used_after", &mut errors),
            "sort" if value != "created_at" => {
                errors.push(FieldError::invalid("sort", "expected `created_at`"));
            }
            "direction" => match value.as_str() {
                "asc" => query.ascending = true,
                "desc" => query.ascending = false,
                _ => errors.push(FieldError::invalid("direction", "expected `asc` or `desc`")),
            },
            _ => {}
        }
    }
    if query.users.len() > MOST_LOGINS {
        errors.push(FieldError::invalid("owner", format!("expected at most {MOST_LOGINS}")));
    }
    if query.token_ids.len() > MOST_TOKENS {
        errors.push(FieldError::invalid("token_id", format!("expected at most {MOST_TOKENS}")));
    }
    if errors.is_empty() { Ok((query, paging)) } else { Err(ApiError::Invalid(errors)) }
}

fn number(text: &str, field: &'static str, errors: &mut Vec<FieldError>) -> usize {
    text.parse().unwrap_or_else(|_| {
        errors.push(FieldError::invalid(field, "expected a whole number"));
        1
    })
}

/// A moment or a date (its first moment, UTC).
pub(super) fn moment(text: &str, field: &'static str, errors: &mut Vec<FieldError>) -> Option<UnixTime> {
    let found = crate::policy::tokens::parse_moment(text);
    if found.is_none() {
        let message = "expected a moment such as `2027-01-31T18:00:00Z`, or a date";
        errors.push(FieldError::invalid(field, message));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, total: usize, want: Option<&str>) {
        let target = CanonicalTarget::parse(&format!("/x{query}")).unwrap();
        let link = Paging::read(&target).unwrap().link("http://h/x", &target, total);
        assert_eq!(link.as_ref().map(|link| link.to_str().unwrap()), want);
    }

    #[test]
    fn link_leads_where_there_is_something() {
        check("", 30, None);
        check("", 0, None);
        check("", 31, Some("<http://h/x?page=2>; rel=\"next\", <http://h/x?page=2>; rel=\"last\""));
        check(
            "?per_page=10&page=2&a=b",
            30,
            Some(
                "<http://h/x?per_page=10&a=b&page=1>; rel=\"prev\", <http://h/x?per_page=10&a=b&page=1>; rel=\"first\", \
                 <http://h/x?per_page=10&a=b&page=3>; rel=\"next\", <http://h/x?per_page=10&a=b&page=3>; rel=\"last\"",
            ),
        );
        check(
            "?page=3&per_page=10",
            30,
            Some(
                "<http://h/x?per_page=10&page=2>; rel=\"prev\", <http://h/x?per_page=10&page=1>; rel=\"first\"",
            ),
        );
    }

    #[test]
    fn lists_are_repeated_or_hold_commas() {
        for query in ["owner=bob&owner=carol&token_id=7&token_id=8", "owner[]=bob,carol&token_id[]=7%2C8"] {
            let target = CanonicalTarget::parse(&format!("/x?{query}")).unwrap();
            let (query, _) = list_query("acme", &target).unwrap();
            assert_eq!((query.users, query.token_ids), (vec!["bob".into(), "carol".into()], vec![7, 8]));
        }
    }

    #[test]
    fn what_a_list_cannot_be_filtered_by_is_told() {
        for query in ["?sort=name", "?direction=up", "?token_id[]=x", "?last_used_before=soon", "?page=x"] {
            let target = CanonicalTarget::parse(&format!("/x{query}")).unwrap();
            assert!(matches!(list_query("acme", &target), Err(ApiError::Invalid(_))), "{query}");
        }
        let target =
            CanonicalTarget::parse("/x?owner[]=bob&owner[]=carol&token_id=7&direction=asc&per_page=500")
                .unwrap();
        let (query, paging) = list_query("acme", &target).unwrap();
        assert_eq!(
            (query.users, query.token_ids, query.ascending),
            (vec!["bob".into(), "carol".into()], vec![7], true)
        );
        assert_eq!(paging.per_page, LARGEST_PAGE);
    }
}
