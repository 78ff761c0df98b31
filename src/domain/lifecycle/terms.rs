//! What a token opens at one resource owner: a selection of repositories, and permissions by scope.
//!
//! Terms are ordered by what they open. Comparing the terms that were granted with those that are asked for tells what
//! acts at once (less) and what needs approval (more).

use std::collections::BTreeMap;

use crate::domain::permission::{Level, Scope};
use crate::domain::resource::compare_names;

/// Which repositories of a resource owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// None but public ones: `none` at GitHub.
    Public,
    /// All, also those to come: `all`.
    All,
    /// These: `subset`.
    Subset(Names),
}

/// Names of repositories without their owner, in the order of [`compare_names`], each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// `names`, sorted, each once.
    pub fn new(mut names: Vec<String>) -> Self {
        names.sort_by(|left, right| compare_names(left, right));
        names.dedup_by(|left, right| left.eq_ignore_ascii_case(right));
        Self(names)
    }

    /// The names.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Whether `name` is among them.
    pub fn hold(&self, name: &str) -> bool {
        self.0.binary_search_by(|known| compare_names(known, name)).is_ok()
    }
}

impl Reach {
    /// GitHub's word, as `repository_selection`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Public => "none",
            Self::All => "all",
            Self::Subset(_) => "subset",
        }
    }

    /// The names; none where none are listed.
    pub fn names(&self) -> &[String] {
        match self {
            Self::Public | Self::All => &[],
            Self::Subset(names) => names.as_slice(),
        }
    }

    fn within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Public, _) | (_, Self::All) => true,
            (Self::All | Self::Subset(_), Self::Public) | (Self::All, Self::Subset(_)) => false,
            (Self::Subset(own), Self::Subset(others)) => own.0.iter().all(|name| others.hold(name)),
        }
    }

    fn meet(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Public, _) | (_, Self::Public) => Self::Public,
            (Self::All, reach) | (reach, Self::All) => reach.clone(),
            (Self::Subset(own), Self::Subset(others)) => {
                let both = own.0.iter().filter(|name| others.hold(name)).cloned().collect();
                Self::Subset(Names(both))
            }
        }
    }
}

/// Permissions by name, of each scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    /// About the resource owner as a whole.
    pub organization: BTreeMap<String, Level>,
    /// About its repositories.
    pub repository: BTreeMap<String, Level>,
    /// About the token's own user: `other` at GitHub.
    pub user: BTreeMap<String, Level>,
}

impl Permissions {
    /// Those of `scope`.
    pub fn of(&self, scope: Scope) -> &BTreeMap<String, Level> {
        match scope {
            Scope::Organization => &self.organization,
            Scope::Repository => &self.repository,
            Scope::User => &self.user,
        }
    }

    /// Those of `scope`, to be changed.
    pub fn of_mut(&mut self, scope: Scope) -> &mut BTreeMap<String, Level> {
        match scope {
            Scope::Organization => &mut self.organization,
            Scope::Repository => &mut self.repository,
            Scope::User => &mut self.user,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Scope, &str, Level)> {
        let scopes = [Scope::Organization, Scope::Repository, Scope::User];
        scopes
            .into_iter()
            .flat_map(|scope| self.of(scope).iter().map(move |(name, level)| (scope, &**name, *level)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Those for which `keep` gives a level.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(Scope, &str, Level) -> Option<Level>) -> Self {
        let mut kept = Self::default();
        for (scope, name, level) in self.iter() {
            if let Some(level) = keep(scope, name, level) {
                kept.of_mut(scope).insert(name.to_owned(), level);
            }
        }
        kept
    }

    /// Those that `before` lacks altogether.
    #[must_use]
    pub fn added_to(&self, before: &Self) -> Self {
        self.filtered(|scope, name, level| (!before.of(scope).contains_key(name)).then_some(level))
    }

    /// Those that `before` holds at a lower level.
    #[must_use]
    pub fn raised_from(&self, before: &Self) -> Self {
        self.filtered(|scope, name, level| {
            before.of(scope).get(name).is_some_and(|known| *known < level).then_some(level)
        })
    }
}

/// What a token opens at one resource owner: each permission, at each repository of the selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Which repositories.
    pub reach: Reach,
    /// What may be done there.
    pub permissions: Permissions,
}

impl Terms {
    /// Whether `other` opens all that these open.
    pub fn within(&self, other: &Self) -> bool {
        let held = |(scope, name, level): (Scope, &str, Level)| {
            other.permissions.of(scope).get(name).is_some_and(|most| *most >= level)
        };
        self.reach.within(&other.reach) && self.permissions.iter().all(held)
    }

    /// What both open.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        let lower = |scope: Scope, name: &str, level: Level| {
            other.permissions.of(scope).get(name).map(|most| level.min(*most))
        };
        Self { reach: self.reach.meet(&other.reach), permissions: self.permissions.filtered(lower) }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::domain::lifecycle::fixture::{opened, terms};

    fn compare(left: &Terms, right: &Terms) -> Option<Ordering> {
        match (left.within(right), right.within(left)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Less),
            (false, true) => Some(Ordering::Greater),
            (false, false) => None,
        }
    }

    #[track_caller]
    fn check(left: &str, right: &str, order: Option<Ordering>, meet: &str) {
        let (left, right) = (terms(left), terms(right));
        assert_eq!(compare(&left, &right), order);
        assert_eq!((left.meet(&right), right.meet(&left)), (terms(meet), terms(meet)));
        assert!(terms(meet).within(&left) && terms(meet).within(&right));
    }

    #[test]
    fn terms_are_ordered_by_what_they_open() {
        use Ordering::{Equal, Greater, Less};
        check("all contents=read", "all contents=read", Some(Equal), "all contents=read");
        check("all contents=write", "all contents=read", Some(Greater), "all contents=read");
        check("alpha contents=read", "all contents=read", Some(Less), "alpha contents=read");
        check("- contents=read", "alpha contents=read", Some(Less), "- contents=read");
        check("alpha,beta a=read", "beta,gamma a=read", None, "beta a=read");
        check("alpha contents=write", "all contents=read", None, "alpha contents=read");
        check("all contents=read,members=read", "all members=admin", None, "all members=read");
        check("all", "alpha contents=read", None, "alpha");
    }

    #[test]
    fn what_is_new_is_told_from_what_is_more() {
        let before = terms("all contents=read,issues=write").permissions;
        let after = terms("all contents=write,issues=read,members=read").permissions;
        assert_eq!(after.added_to(&before), terms("all members=read").permissions);
        assert_eq!(after.raised_from(&before), terms("all contents=write").permissions);
    }

    #[test]
    fn names_stand_once_whatever_their_case() {
        let names = Names::new(["beta", "Alpha", "alpha", "BETA"].map(str::to_owned).into());
        assert_eq!(names.as_slice(), ["Alpha", "beta"]);
        assert!(names.hold("ALPHA") && !names.hold("gamma"));
    }
    fn any_reach() -> impl Strategy<Value = Reach> {
        let names = vec(prop_oneof!["alpha", "Alpha", "beta", "BETA", "gamma"], 0..4);
        prop_oneof![
            Just(Reach::Public),
            Just(Reach::All),
            names.prop_map(|names| Reach::Subset(Names::new(names)))
        ]
    }

    fn any_terms() -> impl Strategy<Value = Terms> {
        let levels = || prop_oneof![Just(Level::Read), Just(Level::Write), Just(Level::Admin)];
        let held = || btree_map(prop_oneof!["a", "b"], levels(), 0..3);
        (any_reach(), held(), held(), held()).prop_map(|(reach, organization, repository, user)| Terms {
            reach,
            permissions: Permissions { organization, repository, user },
        })
    }

    proptest! {
        #[test]
        fn what_is_within_opens_no_more(left in any_terms(), right in any_terms()) {
            let both = opened(&right);
            if left.within(&right) {
                prop_assert!(opened(&left).iter().all(|item| both.contains(item)));
            }
        }

        #[test]
        fn what_both_open_is_what_each_opens(left in any_terms(), right in any_terms()) {
            let meet = left.meet(&right);
            let (ours, theirs) = (opened(&left), opened(&right));
            let common: Vec<_> = ours.into_iter().filter(|item| theirs.contains(item)).collect();
            prop_assert_eq!(opened(&meet), common);
            prop_assert!(meet.within(&left) && meet.within(&right));
            prop_assert_eq!(compare(&meet, &right.meet(&left)), Some(Ordering::Equal));
        }

        #[test]
        fn within_is_an_order(one in any_terms(), two in any_terms(), three in any_terms()) {
            prop_assert!(one.within(&one));
            prop_assert!(!(one.within(&two) && two.within(&three)) || one.within(&three));
            prop_assert!(!one.within(&two) || compare(&one, &one.meet(&two)) == Some(Ordering::Equal));
        }

        /// Whatever is more than before is either new or raised, or the reach is.
        #[test]
        fn nothing_becomes_more_unnoticed(before in any_terms(), after in any_terms()) {
            let (added, raised) = (
                after.permissions.added_to(&before.permissions),
                after.permissions.raised_from(&before.permissions),
            );
            let noticed = !added.is_empty() || !raised.is_empty() || !after.reach.within(&before.reach);
            prop_assert_eq!(noticed, !after.within(&before));
        }
    }
}
