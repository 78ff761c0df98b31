//! What groups make of someone. Pure.

use std::collections::HashSet;

use crate::config::OidcProvider;
use crate::domain::membership::{Memberships, Role};

/// What someone in `groups` is at organizations, and whether they administer the gateway, where groups decide that.
pub fn of(provider: &OidcProvider, groups: &[String]) -> (Memberships, Option<bool>) {
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

/// Those of `groups` of which `provider` makes something.
pub fn named(provider: &OidcProvider, groups: &[String]) -> Vec<String> {
    let owners = provider.owners.values().flatten();
    let members = provider.members.values().flat_map(|groups| groups.keys());
    let named: HashSet<&String> =
        owners.chain(members).chain(provider.administrators.iter().flatten()).collect();
    groups.iter().filter(|group| named.contains(group)).cloned().collect()
}
