//! Steps 8 to 11 of the decision: may this grant do this action, now, from there.
//!
//! Total: every input gives a permit or a refusal. The one place that makes a [`Permit`].

use std::net::IpAddr;

use crate::domain::action::Action;
use crate::domain::grant::{GrantState, UnixTime};
use crate::domain::lifecycle::rules::Access;
use crate::domain::permission::{Level, Need, PermissionSet, Requirement, Scope, describe};
use crate::domain::refusal::{Missing, Refusal};
use crate::domain::resource::Resource;
use crate::domain::rule::PolicyRule;
use crate::policy::grants::{Grant, GrantPart};
use crate::policy::public::PublicRepositories;
use crate::policy::snapshot::{Ceiling, Enterprise, Mode, Organization, Snapshot};
use crate::policy::upstream::DenyRule;

/// Proof that one request was judged and may pass. Cannot be copied, cannot be made elsewhere:
///
/// ```compile_fail
/// let forged = portcullis::policy::decide::Permit { shadow: Vec::new(), public: true };
/// ```
/// ```compile_fail
/// fn twice(permit: portcullis::policy::decide::Permit) { let second = permit.clone(); drop((permit, second)); }
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit is for exactly one request"]
pub struct Permit {
    shadow: Vec<String>,
    public: bool,
}

impl Permit {
    /// The rules in shadow mode that would have refused.
    pub fn shadow(&self) -> &[String] {
        &self.shadow
    }

    /// Whether it was given because everybody may read this.
    pub fn is_public(&self) -> bool {
        self.public
    }
}

/// What is known of a request beside its action.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: UnixTime,
    /// The client's address.
    pub peer: IpAddr,
    /// The deny rule that closes the route.
    pub denied: Option<&'a DenyRule>,
}

/// Step 6: whether the token is good at all.
///
/// # Errors
/// [`Refusal::Revoked`], [`Refusal::Expired`], [`Refusal::Pending`], [`Refusal::Suspended`].
pub fn check_state(snapshot: &Snapshot, grant: Grant<'_>, now: UnixTime) -> Result<(), Refusal> {
    match grant.state() {
        GrantState::Revoked => return Err(Refusal::Revoked),
        GrantState::Suspended => return Err(Refusal::Suspended),
        GrantState::Pending | GrantState::Active => {}
    }
    // Of a token that files declare, too.
    if snapshot.stored.is_suspended(grant.user()) {
        return Err(Refusal::Suspended);
    }
    if grant.expires_at() <= now {
        return Err(Refusal::Expired(grant.expires_at()));
    }
    // The last of them, since what waits may read what is public.
    if grant.state() == GrantState::Pending {
        return Err(Refusal::Pending(grantors(snapshot, grant.parts().next())));
    }
    Ok(())
}

/// Steps 8 to 11. `waits` is what step 6 refuses everything for but reading what is public.
///
/// # Errors
/// The first step that refuses, with everything that is missing.
pub fn decide(
    snapshot: &Snapshot,
    grant: Grant<'_>,
    action: &Action<'_>,
    (circumstances, waits): (&Circumstances<'_>, Option<Refusal>),
) -> Result<Permit, Refusal> {
    let granted = match waits {
        None => decide_granted(snapshot, grant, action, circumstances),
        Some(refusal) => Err(refusal),
    };
    match granted {
        Err(refusal) if yields_to_public(&refusal) => match OpenToAll::find(snapshot, action) {
            Some(open) => decide_public(&open, grant, circumstances),
            None => Err(refusal),
        },
        outcome => outcome,
    }
}

/// An action that does no more than reading what is public.
struct OpenToAll<'a> {
    snapshot: &'a Snapshot,
    organization: &'a Organization,
    public: &'a PublicRepositories,
    action: &'a Action<'a>,
}

impl<'a> OpenToAll<'a> {
    fn find(snapshot: &'a Snapshot, action: &'a Action<'_>) -> Option<Self> {
        let organization = snapshot.organization(action.resource.owner()?)?;
        let public = organization.public.as_deref().filter(|public| public.open(action))?;
        Some(Self { snapshot, organization, public, action })
    }

    /// Ceilings hold for what is public, too; one on trial is added to `shadow`.
    fn check_ceilings(&self, shadow: &mut Vec<String>) -> Result<(), Refusal> {
        let below = |ceiling: &Ceiling| {
            let allowed = |need: Need| self.public.holds(need) && is_below(ceiling, need);
            self.action.requirement.satisfied_by(allowed)
        };
        let enterprise = self.snapshot.enterprise.as_ref();
        if let Some(enterprise) = enterprise.filter(|enterprise| !below(&enterprise.ceiling)) {
            return Err(Refusal::Policy(enterprise.forbids(PolicyRule::Ceiling)));
        }
        if !below(&self.organization.ceiling) {
            let forbidden = self.organization.forbids(PolicyRule::Ceiling);
            match self.organization.mode {
                Mode::Enforce => return Err(Refusal::Policy(forbidden)),
                Mode::Shadow => shadow.push(forbidden.to_string()),
            }
        }
        Ok(())
    }
}

/// Whether what is public may be read though this refuses: it speaks of what the token was granted, or of its kind.
fn yields_to_public(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::NotGranted | Refusal::PermissionMissing(_) | Refusal::Pending(_) | Refusal::Policy(_)
    )
}

/// Steps 10 and 11 for reading what is public.
fn decide_public(
    open: &OpenToAll<'_>,
    grant: Grant<'_>,
    circumstances: &Circumstances<'_>,
) -> Result<Permit, Refusal> {
    let mut shadow = Vec::new();
    check_denied(circumstances.denied, &mut shadow)?;
    open.check_ceilings(&mut shadow)?;
    if !grant.allows_peer(circumstances.peer) {
        return Err(Refusal::Network);
    }
    Ok(Permit { shadow, public: true })
}

/// Steps 8 to 11 by what the token was granted.
fn decide_granted(
    snapshot: &Snapshot,
    grant: Grant<'_>,
    action: &Action<'_>,
    circumstances: &Circumstances<'_>,
) -> Result<Permit, Refusal> {
    let part = part_for(snapshot, grant, action)?;
    let held = Held { snapshot, grant, part };
    held.check_permission(action)?;
    let mut shadow = Vec::new();
    check_denied(circumstances.denied, &mut shadow)?;
    if let Some(enterprise) =
        snapshot.enterprise.as_ref().filter(|_| !matches!(action.requirement, Requirement::Nothing))
        && let Some(rule) = held.forbidden_everywhere(enterprise, action, circumstances.now)
    {
        return Err(Refusal::Policy(enterprise.forbids(rule)));
    }
    if let Some(organization) = action.resource.owner().and_then(|owner| snapshot.organization(owner))
        && let Some(rule) = held.forbidden_by(organization, action, circumstances.now)
    {
        match organization.mode {
            Mode::Enforce => return Err(Refusal::Policy(organization.forbids(rule))),
            Mode::Shadow => shadow.push(organization.forbids(rule).to_string()),
        }
    }
    if !grant.allows_peer(circumstances.peer) {
        return Err(Refusal::Network);
    }
    Ok(Permit { shadow, public: false })
}

/// Step 10 for a credential that the host issued; `None` where no catalog knows what the request is about.
///
/// # Errors
/// [`Refusal::Denied`], [`Refusal::Policy`].
pub fn decide_classic(
    snapshot: &Snapshot,
    action: Option<&Action<'_>>,
    denied: Option<&DenyRule>,
) -> Result<Permit, Refusal> {
    let mut shadow = Vec::new();
    check_denied(denied, &mut shadow)?;
    if let Some(open) = action.and_then(|action| OpenToAll::find(snapshot, action))
        && open.check_ceilings(&mut shadow).is_ok()
    {
        return Ok(Permit { shadow, public: true });
    }
    if let Some(enterprise) =
        snapshot.enterprise.as_ref().filter(|enterprise| enterprise.classic == Some(Access::Deny))
    {
        return Err(Refusal::Policy(enterprise.forbids(PolicyRule::Classic)));
    }
    let blocks = |organization: &&Organization| organization.classic == Access::Deny;
    let blocking = match action.and_then(|action| action.resource.owner()) {
        Some(owner) => snapshot.organization(owner).filter(blocks),
        // It may be about anybody, and so about one that blocks; one that is acted on goes before one on trial.
        None => snapshot
            .organizations
            .values()
            .filter(blocks)
            .min_by_key(|blocking| (blocking.mode == Mode::Shadow, &blocking.name)),
    };
    match blocking.map(|organization| (organization.mode, organization.forbids(PolicyRule::Classic))) {
        None => {}
        Some((Mode::Enforce, forbidden)) => return Err(Refusal::Policy(forbidden)),
        Some((Mode::Shadow, forbidden)) => shadow.push(forbidden.to_string()),
    }
    Ok(Permit { shadow, public: false })
}

/// Whether a deny rule closes the route; one on trial is added to `shadow`.
fn check_denied(denied: Option<&DenyRule>, shadow: &mut Vec<String>) -> Result<(), Refusal> {
    let Some(rule) = denied else {
        return Ok(());
    };
    match rule.mode {
        Mode::Enforce => return Err(Refusal::Denied(rule.name.clone())),
        Mode::Shadow => shadow.push(format!("deny rule {}", rule.name)),
    }
    Ok(())
}

/// Step 8. A resource that belongs to nobody has no part; one that needs a repository's permission on an owner as a
/// whole needs all of its repositories.
fn part_for<'a>(
    snapshot: &Snapshot,
    grant: Grant<'a>,
    action: &Action<'_>,
) -> Result<Option<GrantPart<'a>>, Refusal> {
    if action.resource == Resource::Nothing {
        return Ok(None);
    }
    if matches!(action.requirement, Requirement::Nothing) && matches!(action.resource, Resource::Owner(_)) {
        return Ok(grant.part_for(&action.resource));
    }
    let Some(part) = grant.part_for(&action.resource) else {
        // What was asked for and not approved yet is told apart from what was not asked for: the token's user knows of
        // it already.
        let awaited = grant.awaited_part_for(&action.resource);
        return Err(
            awaited.map_or(Refusal::NotGranted, |part| Refusal::Pending(grantors(snapshot, Some(part))))
        );
    };
    let of_repositories = |need: Need| {
        snapshot.vocabulary.permission(need.permission).is_none_or(|known| known.scope == Scope::Repository)
    };
    let whole_owner = matches!(action.resource, Resource::Owner(_));
    if whole_owner && !part.selection.is_all() && action.requirement.needs().any(of_repositories) {
        return Err(Refusal::NotGranted);
    }
    Ok(Some(part))
}

/// What a grant holds where the action takes place.
struct Held<'a> {
    snapshot: &'a Snapshot,
    grant: Grant<'a>,
    part: Option<GrantPart<'a>>,
}

impl Held<'_> {
    fn holds(&self, need: Need) -> bool {
        let of_user = self
            .snapshot
            .vocabulary
            .permission(need.permission)
            .is_some_and(|permission| permission.scope == Scope::User);
        let held: Option<&PermissionSet> = if of_user {
            Some(self.grant.user_permissions())
        } else {
            self.part.map(|part| part.permissions)
        };
        held.is_some_and(|held| held.satisfies(need))
    }

    /// Step 9.
    fn check_permission(&self, action: &Action<'_>) -> Result<(), Refusal> {
        if action.requirement.satisfied_by(|need| self.holds(need)) {
            return Ok(());
        }
        let grantable = |need: &Need| {
            let permission = self.snapshot.vocabulary.permission(need.permission);
            permission.is_some_and(|permission| permission.levels.last() >= Some(&need.level))
        };
        let lacking = action
            .requirement
            .alternatives()
            .iter()
            .filter(|all_of| all_of.iter().all(grantable))
            .map(|all_of| all_of.iter().filter(|need| !self.holds(**need)).collect::<Vec<_>>())
            .min_by_key(Vec::len);
        let Some(lacking) = lacking else {
            return Err(Refusal::NeverGrantable);
        };
        // Asked for, and not approved yet.
        let awaited = self.grant.awaited_part_for(&action.resource);
        if let Some(awaited) = awaited
            && action.requirement.satisfied_by(|need| self.holds(need) || awaited.permissions.satisfies(need))
        {
            return Err(Refusal::Pending(grantors(self.snapshot, Some(awaited))));
        }
        Err(Refusal::PermissionMissing(Missing {
            needs: lacking.into_iter().map(|need| describe(*need, &self.snapshot.vocabulary)).collect(),
            accepted: action.accepted.to_owned(),
            grantor: grantors(self.snapshot, self.part),
        }))
    }

    /// Step 10: the rule of `enterprise` that forbids the action.
    fn forbidden_everywhere(
        &self,
        enterprise: &Enterprise,
        action: &Action<'_>,
        now: UnixTime,
    ) -> Option<PolicyRule> {
        if enterprise.access == Some(Access::Deny) {
            return Some(PolicyRule::Access);
        }
        let exempt = enterprise.exempt_administrators && enterprise.is_administrator(self.grant.user());
        if !exempt && let Some(rule) = self.lives_longer_than(enterprise.max_lifetime, now) {
            return Some(rule);
        }
        let allowed = |need: Need| self.holds(need) && is_below(&enterprise.ceiling, need);
        (!action.requirement.satisfied_by(allowed)).then_some(PolicyRule::Ceiling)
    }

    /// Whether the token's whole lifetime is longer than `most` seconds.
    fn lives_longer_than(&self, most: Option<i64>, now: UnixTime) -> Option<PolicyRule> {
        // A token that is said to be made later than now would look younger than it is.
        let born = self.grant.created_at().unwrap_or(now).min(now);
        let lifetime = self.grant.expires_at().0.saturating_sub(born.0);
        most.filter(|most| lifetime > *most).map(PolicyRule::MaxLifetime)
    }

    /// Step 10: the rule of `organization` that forbids the action.
    fn forbidden_by(
        &self,
        organization: &Organization,
        action: &Action<'_>,
        now: UnixTime,
    ) -> Option<PolicyRule> {
        if organization.access == Access::Deny {
            return Some(PolicyRule::Access);
        }
        if let Some(rule) = self.lives_longer_than(organization.max_lifetime, now) {
            return Some(rule);
        }
        let below_ceiling = |need: Need| is_below(&organization.ceiling, need);
        if !action.requirement.satisfied_by(|need| self.holds(need) && below_ceiling(need)) {
            return Some(PolicyRule::Ceiling);
        }
        let role = self.snapshot.role(organization, self.grant.user());
        if role.is_none() {
            return Some(PolicyRule::Membership);
        }
        let within_role = |need: Need| role >= Some(self.role_for(need));
        if !action
            .requirement
            .satisfied_by(|need| self.holds(need) && below_ceiling(need) && within_role(need))
        {
            return Some(PolicyRule::Role);
        }
        None
    }

    /// The role that a token's user needs for `need`.
    fn role_for(&self, need: Need) -> Level {
        match (need.level, self.snapshot.vocabulary.permission(need.permission)) {
            (Level::Read, _) => Level::Read,
            (level, Some(permission)) => level.max(permission.write_role),
            (_, None) => Level::Admin,
        }
    }
}

/// Whether `ceiling` leaves `need` to tokens.
fn is_below(ceiling: &Ceiling, need: Need) -> bool {
    ceiling.get(&need.permission).is_none_or(|most| *most >= Some(need.level))
}

/// Who may grant what `part` lacks.
fn grantors(snapshot: &Snapshot, part: Option<GrantPart<'_>>) -> String {
    grantor(snapshot, part.map(|part| part.owner))
}

/// Who may grant permissions at the resource owner `owner`, or at nobody's resources.
pub fn grantor(snapshot: &Snapshot, owner: Option<&str>) -> String {
    let Some(owner) = owner else {
        return "the token's user".to_owned();
    };
    match snapshot.organization(owner).map(|organization| organization.owners.join(", ")) {
        Some(owners) if !owners.is_empty() => format!("an owner of `{owner}` ({owners})"),
        _ => format!("the owner of `{owner}`"),
    }
}
