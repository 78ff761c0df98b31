//! What `policy::judge` found about a request, in words.

use std::sync::Arc;

use http::Method;

use crate::catalog::errors::ErrorStyle;
use crate::domain::action::Action;
use crate::domain::grant::GrantState;
use crate::domain::permission::{PermissionSet, Requirement};
use crate::domain::refusal::Refusal;
use crate::domain::resource::Resource;
use crate::domain::target::CanonicalTarget;
use crate::explain::report::{Inquiry, Outcome, RefusalReport, Report, StandsIn, Step, Token};
use crate::policy::decide::{Permit, grantor};
use crate::policy::grants::{Grant, Selection};
use crate::policy::judge::Judgment;
use crate::policy::snapshot::Snapshot;

/// The steps of the decision, in their order.
const STEPS: [&str; 11] = [
    "limits",
    "target",
    "upstream",
    "credential",
    "token text",
    "token",
    "action",
    "resource",
    "permission",
    "policy",
    "constraints",
];

/// Names of a list that are shown before the rest is only counted.
const SHOWN: usize = 8;

/// Methods that are looked for where a path is known and its method is not.
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// What is known of one request.
pub(super) struct Facts<'a> {
    inquiry: &'a Inquiry<'a>,
    target: Option<&'a CanonicalTarget>,
    judgment: Option<&'a Judgment<'a>>,
    action: Option<Action<'a>>,
    outcome: Result<&'a Permit, &'a Refusal>,
}

impl<'a> Facts<'a> {
    /// Of a request that was refused before it was judged.
    pub(super) fn early(inquiry: &'a Inquiry<'a>, refusal: &'a Refusal) -> Self {
        Self { inquiry, target: None, judgment: None, action: None, outcome: Err(refusal) }
    }

    /// Of a request that was judged.
    pub(super) fn of(
        inquiry: &'a Inquiry<'a>,
        target: &'a CanonicalTarget,
        judgment: &'a Judgment<'a>,
    ) -> Self {
        // Where an earlier step refused, the catalog still tells what would have been needed.
        let matched = judgment.matched.or_else(|| {
            let (_, upstream) = judgment.upstream?;
            upstream.action(&inquiry.request.method, target).ok()
        });
        Self {
            inquiry,
            target: Some(target),
            judgment: Some(judgment),
            action: matched.map(|matched| matched.action),
            outcome: judgment.outcome.as_ref(),
        }
    }

    /// All of it.
    pub(super) fn report(&self) -> Report {
        let Inquiry { request, now, .. } = self.inquiry;
        let grant = self.grant();
        let refusal = self.outcome.err();
        let (enough, grantor) = self.enough().unzip();
        Report {
            verdict: if refusal.is_none() { "allow" } else { "refuse" },
            method: request.method.to_string(),
            host: request.host.clone(),
            target: request.target.clone(),
            peer: self.inquiry.peer,
            peer_assumed: !self.inquiry.peer_given,
            at: now.to_string(),
            upstream: self.upstream().map(str::to_owned),
            token: grant.filter(|_| self.inquiry.stands_in != StandsIn::ForPermissions).map(|grant| Token {
                name: grant.name().to_string(),
                user: grant.user().to_string(),
                expires_at: grant.expires_at().to_string(),
            }),
            route: self.action.map(|action| action.route.to_owned()),
            resource: self
                .action
                .filter(|action| action.resource != Resource::Nothing)
                .map(|action| action.resource.to_string()),
            steps: self.steps(),
            refusal: refusal.map(|refusal| RefusalReport {
                reason: refusal.reason().as_str(),
                status: self.style().status(refusal).as_u16(),
                message: refusal.public_message(),
                missing: refusal.missing().map_or_else(Vec::new, |missing| missing.needs.clone()),
            }),
            enough,
            grantor,
            hints: self.hints(),
            shadow: self.outcome.map_or_else(|_| Vec::new(), |permit| permit.shadow().to_vec()),
        }
    }

    /// How the client is told.
    fn style(&self) -> Arc<ErrorStyle> {
        let judged = self.judgment.zip(self.target);
        judged
            .map(|(judgment, target)| judgment.style(&self.inquiry.request.method, target))
            .unwrap_or_default()
    }

    fn steps(&self) -> Vec<Step> {
        let refused = self.outcome.err().map(|refusal| refusal.reason().step());
        let step = |(number, name): (u8, &&'static str)| {
            let outcome = match refused {
                Some(at) if at < number => Outcome::NotReached,
                Some(at) if at == number => Outcome::Refused,
                _ => Outcome::Passed,
            };
            let found = match outcome {
                Outcome::NotReached => "not reached".to_owned(),
                Outcome::Passed | Outcome::Refused => self.found(number),
            };
            Step { step: number, name, outcome, found }
        };
        (1..).zip(&STEPS).map(step).collect()
    }

    /// What step `number` found.
    fn found(&self, number: u8) -> String {
        let found = match number {
            1 => Some(self.limits()),
            2 => Some(self.inquiry.request.target.clone()),
            3 => self.upstream().map(|name| format!("`{name}`")),
            4 => Some("one, in `Authorization`".to_owned()),
            5 => Some(self.token_text()),
            6 => self.grant().map(|grant| self.token(grant)),
            7 => self.action.map(|action| action.route.to_owned()),
            8 => self.resource(),
            9 => self.permission(),
            10 => self.policy(),
            _ => self.grant().map(|grant| self.constraints(grant)),
        };
        let refusal = || self.outcome.err().map(Refusal::public_message);
        // Where a step refused, what it looked at says nothing for some of them.
        let told = match self.outcome.err().map(|refusal| refusal.reason().step()) {
            Some(at @ (4 | 5)) if at == number => None,
            _ => found,
        };
        told.or_else(refusal).unwrap_or_default()
    }

    fn snapshot(&self) -> &'a Snapshot {
        self.inquiry.snapshot
    }

    fn grant(&self) -> Option<Grant<'a>> {
        self.judgment.and_then(|judgment| judgment.grant)
    }

    fn upstream(&self) -> Option<&'a str> {
        let (_, upstream) = self.judgment?.upstream?;
        Some(&upstream.name)
    }

    fn limits(&self) -> String {
        format!("{} bytes of target, of {}", self.inquiry.request.target.len(), self.inquiry.target_bytes)
    }

    fn token_text(&self) -> String {
        let prefix = self.snapshot().format.prefix();
        match (self.inquiry.stands_in, self.judgment.and_then(|judgment| judgment.token)) {
            (StandsIn::No, Some(token)) => format!("`{prefix}…`, public id {}", token.public_id),
            (StandsIn::No, None) => String::new(),
            (StandsIn::ForToken | StandsIn::ForPermissions, _) => {
                "not given; judged as if it were well formed".to_owned()
            }
        }
    }

    fn token(&self, grant: Grant<'_>) -> String {
        if self.inquiry.stands_in == StandsIn::ForPermissions {
            return format!("any token of {} with these permissions", grant.user());
        }
        let state = match grant.state() {
            GrantState::Active => "active",
            GrantState::Pending => "pending",
            GrantState::Revoked => "revoked",
            GrantState::Suspended => "suspended",
        };
        let expires_at = grant.expires_at().to_string();
        format!("`{}` of {}, {state}, until {expires_at}", grant.name(), grant.user())
    }

    fn resource(&self) -> Option<String> {
        let action = self.action?;
        if action.resource == Resource::Nothing {
            return Some("nobody's".to_owned());
        }
        if self.outcome.is_ok_and(Permit::is_public) {
            return Some(format!("{}; it is public, and every token may read it", action.resource));
        }
        let reach: Vec<_> = self
            .grant()?
            .parts()
            .map(|part| match part.selection {
                Selection::All => format!("{}/*", part.owner),
                Selection::Selected(names) if names.is_empty() => part.owner.to_string(),
                Selection::Selected(names) => {
                    let names: Vec<_> = names.iter().map(|name| format!("{}/{name}", part.owner)).collect();
                    shorten(&names)
                }
            })
            .collect();
        Some(format!("{}; the token reaches {}", action.resource, shorten(&reach)))
    }

    fn permission(&self) -> Option<String> {
        let action = self.action?;
        let needed = match action.requirement {
            Requirement::Nothing => "none",
            Requirement::Never => "what no token can hold",
            Requirement::AnyOf(_) => action.accepted,
        };
        if self.outcome.is_ok_and(Permit::is_public) {
            return Some(format!("needed {needed}; everybody holds that"));
        }
        let grant = self.grant()?;
        let mut held = Vec::new();
        if let Some(part) = grant.part_for(&action.resource) {
            held.extend(self.describe(part.permissions));
        }
        for permission in self.describe(grant.user_permissions()) {
            if !held.contains(&permission) {
                held.push(permission);
            }
        }
        let held = if held.is_empty() { "nothing".to_owned() } else { held.join(", ") };
        Some(format!("needed {needed}; held {held}"))
    }

    fn describe(&self, set: &PermissionSet) -> Vec<String> {
        let vocabulary = &self.snapshot().vocabulary;
        set.iter().map(|(id, level)| format!("{}={level}", vocabulary.name(id))).collect()
    }

    fn policy(&self) -> Option<String> {
        match self.outcome {
            Err(Refusal::Policy(forbidden)) => return Some(forbidden.to_string()),
            Err(Refusal::Denied(rule)) => return Some(format!("deny rule {rule}")),
            _ => {}
        }
        let Some(owner) = self.action?.resource.owner() else {
            return Some("no organization is concerned".to_owned());
        };
        let Some(organization) = self.snapshot().organization(owner) else {
            return Some(format!("there are no rules for `{owner}`"));
        };
        let user = self.grant()?.user();
        let role = match (&organization.members, self.snapshot().role(organization, user)) {
            (None, _) => "roles are not declared".to_owned(),
            (Some(_), Some(role)) => format!("{user} has role `{role}`"),
            (Some(_), None) => format!("{user} has no role"),
        };
        Some(format!("rules of organization `{}`; {role}", organization.name))
    }

    fn constraints(&self, grant: Grant<'_>) -> String {
        let networks: Vec<_> = grant.networks().map(|network| network.to_string()).collect();
        if networks.is_empty() {
            return "any network".to_owned();
        }
        format!("{}, and {} asks", shorten(&networks), self.inquiry.peer)
    }

    /// What would have been enough, and who may grant it.
    fn enough(&self) -> Option<(String, String)> {
        let refusal = self.outcome.err()?;
        if !(4..=9).contains(&refusal.reason().step()) {
            return None;
        }
        let action = self.action?;
        let grantable = match action.requirement {
            Requirement::Nothing => "any active token",
            Requirement::Never => return None,
            Requirement::AnyOf(_) if *refusal == Refusal::NeverGrantable => return None,
            Requirement::AnyOf(_) => action.accepted,
        };
        let owner = action.resource.owner();
        let enough = match owner {
            None => grantable.to_owned(),
            Some(_) => format!("{grantable} on {}", action.resource),
        };
        let hidden = !self.inquiry.owners_shown && owner.is_some_and(|owner| !self.has_part_of(owner));
        let grantor = match owner {
            Some(owner) if hidden => format!("the owner of `{owner}`"),
            owner => grantor(self.snapshot(), owner),
        };
        Some((enough, grantor))
    }

    /// Whether the token has, or asks for, anything of `owner`.
    fn has_part_of(&self, owner: &str) -> bool {
        self.grant().is_some_and(|grant| grant.parts().any(|part| part.owner.eq_ignore_ascii_case(owner)))
    }

    fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        match self.outcome {
            Err(Refusal::NoRoute) => {
                let known = self.known_methods();
                if !known.is_empty() {
                    hints.push(format!("the catalogs have this path for {}", known.join(", ")));
                }
            }
            Err(Refusal::Policy(_) | Refusal::Denied(_)) => {
                hints.push("no permission helps; the rule itself must change".to_owned());
            }
            Err(Refusal::Network) if !self.inquiry.peer_given => {
                hints.push("the client's address was assumed; name it (`peer`)".to_owned());
            }
            _ => {}
        }
        hints
    }

    /// Methods that the catalogs have for the path.
    fn known_methods(&self) -> Vec<String> {
        let upstream = self.judgment.and_then(|judgment| judgment.upstream);
        let (Some((_, upstream)), Some(target)) = (upstream, self.target) else {
            return Vec::new();
        };
        METHODS
            .iter()
            .filter(|method| upstream.action(method, target).is_ok())
            .map(|method| format!("`{method}`"))
            .collect()
    }
}

/// The first few of `names`, and how many there are more.
fn shorten(names: &[String]) -> String {
    let shown: Vec<_> = names.iter().take(SHOWN).map(String::as_str).collect();
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}
