//! What someone is at organizations by the word of whoever signed them in, beside what policy files say.

use crate::domain::permission::Level;

/// What someone is at one organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One of its owners.
    Owner,
    /// One of its members, with this level.
    Member(Level),
}

impl Role {
    /// The word in the store and in records: `owner`, `read`, `write` or `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Member(level) => level.as_str(),
        }
    }

    /// The role that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        if word == "owner" { Some(Self::Owner) } else { Level::parse(word).map(Self::Member) }
    }

    /// The most that someone with this role may do through a token; an owner may do everything.
    pub fn level(self) -> Level {
        match self {
            Self::Owner => Level::Admin,
            Self::Member(level) => level,
        }
    }

    /// Whether it is more than `other`.
    fn exceeds(self, other: Self) -> bool {
        other != Self::Owner && (self == Self::Owner || self.level() > other.level())
    }
}

/// What someone is at which organizations; at each, the most of what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memberships(Vec<(String, Role)>);

impl Memberships {
    /// Adds a role, where there is no higher one at this organization.
    pub fn add(&mut self, organization: &str, role: Role) {
        let key = organization.to_ascii_lowercase();
        match self.0.iter_mut().find(|(other, _)| *other == key) {
            Some((_, known)) if role.exceeds(*known) => *known = role,
            Some(_) => {}
            None => self.0.push((key, role)),
        }
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
    }

    /// Whether they own `organization`.
    pub fn owns(&self, organization: &str) -> bool {
        self.at(organization) == Some(Role::Owner)
    }

    /// What they are at `organization`.
    pub fn at(&self, organization: &str) -> Option<Role> {
        self.iter().find(|(name, _)| name.eq_ignore_ascii_case(organization)).map(|(_, role)| role)
    }

    /// Whether they are nothing anywhere.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Organizations in lower case, with the role; by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Role)> {
        self.0.iter().map(|(organization, role)| (organization.as_str(), *role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_role_counts() {
        let (read, admin) = (Role::Member(Level::Read), Role::Member(Level::Admin));
        for (roles, want) in [
            (vec![read, admin], admin),
            (vec![admin, read], admin),
            (vec![Role::Owner, admin], Role::Owner),
            (vec![admin, Role::Owner, read], Role::Owner),
        ] {
            let mut memberships = Memberships::default();
            for role in &roles {
                memberships.add("Acme", *role);
            }
            assert_eq!(memberships.iter().collect::<Vec<_>>(), [("acme", want)], "{roles:?}");
            assert_eq!(memberships.owns("ACME"), want == Role::Owner);
            assert!(!memberships.owns("umbrella"));
        }
    }

    #[test]
    fn roles_have_words() {
        for word in ["owner", "read", "write", "admin"] {
            assert_eq!(Role::parse(word).map(Role::as_str), Some(word));
        }
        assert_eq!(Role::parse("Owner"), None);
    }
}
