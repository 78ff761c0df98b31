//! What groups make of someone. Pure.

use crate::config::OidcProvider;
use crate::domain::membership::{Memberships, Role};

/// What someone in `groups` is at organizations, and whether they administer the gateway, where groups decide that.
pub(super) fn of(provider: &OidcProvider, groups: &[String]) -> (Memberships, Option<bool>) {
    let is_in = |group: &String| groups.contains(group);
    let mut memberships = Memberships::default();
    for (organization, owners) in &provider.owners {
        if owners.iter().any(is_in) {
            memberships.add(organization, Role::Owner);
        }
    }
    for (organization, levels) in &provider.members {
        for (_, level) in levels.iter().filter(|(group, _)| is_in(group)) {
            memberships.add(organization, Role::Member(*level));
        }
    }
    let administrator = provider.administrators.as_ref().map(|listed| listed.iter().any(is_in));
    (memberships, administrator)
}

/// Whether there is a group that makes people this at `organization`, in any case.
pub fn gives(provider: &OidcProvider, organization: &str, role: Role) -> bool {
    let named = |name: &String| name.eq_ignore_ascii_case(organization);
    match role {
        Role::Owner => provider.owners.iter().any(|(name, groups)| named(name) && !groups.is_empty()),
        Role::Member(level) => provider
            .members
            .iter()
            .any(|(name, groups)| named(name) && groups.values().any(|own| *own == level)),
    }
}
