//! Permissions, access levels, and what a request needs of them, as compact sets.
//!
//! A [`PermissionId`] means something only within the [`Vocabulary`] that gave it; both live in one policy
//! snapshot, so ids of two snapshots never meet.

use std::collections::HashMap;
use std::fmt;

use thiserror::Error;

/// How much of a permission: each level includes the ones before it. Absent means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// See.
    Read = 1,
    /// See and change.
    Write = 2,
    /// See, change and administer.
    Admin = 3,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The word in policy files, headers and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// The level that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a permission is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One repository of a resource owner.
    Repository,
    /// A resource owner as a whole.
    Organization,
    /// The token's own user.
    User,
}

impl Scope {
    /// The word in policy files and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Organization => "organization",
            Self::User => "user",
        }
    }

    /// The scope that `word` names.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Repository, Self::Organization, Self::User].into_iter().find(|scope| scope.as_str() == word)
    }
}

/// One permission of a [`Vocabulary`]: its index, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermissionId(u8);

/// What a catalog says of one permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The name in policy files and headers: `contents`.
    pub name: String,
    /// What it is about.
    pub scope: Scope,
    /// The levels that may be granted, lowest first; empty where it can never be granted to a token.
    pub levels: Vec<Level>,
    /// One line for people.
    pub description: String,
    /// Held at `read` by every token that holds any repository permission (`metadata` at GitHub).
    pub implied: bool,
    /// The role that the token's user needs to use it at `write` or above, where roles are declared.
    pub write_role: Level,
}

/// The permissions that a snapshot knows, at most [`Vocabulary::CAPACITY`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vocabulary {
    permissions: Vec<Permission>,
    by_name: HashMap<String, PermissionId>,
}

/// The vocabulary is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("more than {} permissions in all catalogs together", Vocabulary::CAPACITY)]
pub struct VocabularyFull;

impl Vocabulary {
    /// How many permissions there may be.
    pub const CAPACITY: usize = 256;

    /// Adds `permission`, whose name must not be known yet.
    ///
    /// # Errors
    /// [`VocabularyFull`] past [`Self::CAPACITY`].
    pub fn add(&mut self, permission: Permission) -> Result<PermissionId, VocabularyFull> {
        let id = u8::try_from(self.permissions.len()).map_err(|_| VocabularyFull)?;
        self.by_name.insert(permission.name.clone(), PermissionId(id));
        self.permissions.push(permission);
        Ok(PermissionId(id))
    }

    /// The id of the permission called `name`.
    pub fn find(&self, name: &str) -> Option<PermissionId> {
        self.by_name.get(name).copied()
    }

    /// What is known of `id`; `None` for an id of another vocabulary.
    pub fn permission(&self, id: PermissionId) -> Option<&Permission> {
        self.permissions.get(usize::from(id.0))
    }

    /// The name of `id`.
    pub fn name(&self, id: PermissionId) -> &str {
        self.permission(id).map_or("unknown", |permission| &permission.name)
    }

    /// All permissions with their ids, in order of id.
    pub fn iter(&self) -> impl Iterator<Item = (PermissionId, &Permission)> {
        (0..=u8::MAX).map(PermissionId).zip(&self.permissions)
    }
}

/// Which permissions are held, and at what level: two bits each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct PermissionSet([u64; 8]);

impl PermissionSet {
    /// The set that holds nothing.
    pub const NOTHING: Self = Self([0; 8]);

    /// The level at which `id` is held.
    pub fn level(&self, id: PermissionId) -> Option<Level> {
        let word = self.0.get(usize::from(id.0 >> 5)).copied().unwrap_or_default();
        match (word >> ((id.0 & 31) * 2)) & 3 {
            1 => Some(Level::Read),
            2 => Some(Level::Write),
            3 => Some(Level::Admin),
            _ => None,
        }
    }

    /// Whether `need` is held.
    pub fn satisfies(&self, need: Need) -> bool {
        self.level(need.permission) >= Some(need.level)
    }

    /// Holds `id` at `level` or at what it was held before, whichever is more.
    pub fn grant(&mut self, id: PermissionId, level: Level) {
        let raised = self.level(id).max(Some(level));
        let shift = (id.0 & 31) * 2;
        if let (Some(word), Some(raised)) = (self.0.get_mut(usize::from(id.0 >> 5)), raised) {
            *word = *word & !(3 << shift) | (raised as u64) << shift;
        }
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 8]
    }

    /// What is held, in order of id.
    pub fn iter(&self) -> impl Iterator<Item = (PermissionId, Level)> {
        // Most words are empty: a token holds a few permissions out of 256.
        let words = self.0.iter().zip((0..=u8::MAX).step_by(32)).filter(|(word, _)| **word != 0);
        words
            .flat_map(|(_, first)| (first..=first | 31).map(PermissionId))
            .filter_map(|id| Some((id, self.level(id)?)))
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(id, level)| (id.0, level))).finish()
    }
}

/// One permission at one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Need {
    /// Which.
    pub permission: PermissionId,
    /// At least this level.
    pub level: Level,
}

/// What a request needs: any one of several sets, each of which is needed whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requirement {
    /// Open to every valid token.
    Nothing,
    /// One of these sets. Never empty, and no set is empty.
    AnyOf(Box<[Box<[Need]>]>),
    /// No fine-grained token can ever do this.
    Never,
}

impl Requirement {
    /// The sets to choose from; none for [`Self::Nothing`] and [`Self::Never`].
    pub fn alternatives(&self) -> &[Box<[Need]>] {
        match self {
            Self::AnyOf(alternatives) => alternatives,
            Self::Nothing | Self::Never => &[],
        }
    }

    /// Every need of every alternative.
    pub fn needs(&self) -> impl Iterator<Item = Need> {
        self.alternatives().iter().flat_map(|all_of| all_of.iter().copied())
    }

    /// The first set that `held` satisfies in every need for which `holds` does not say otherwise.
    pub fn satisfied_by(&self, held: impl Fn(Need) -> bool) -> bool {
        match self {
            Self::Nothing => true,
            Self::Never => false,
            Self::AnyOf(alternatives) => {
                alternatives.iter().any(|all_of| all_of.iter().all(|need| held(*need)))
            }
        }
    }

    /// As in `X-Accepted-GitHub-Permissions`: `a=read,b=write; c=read`, `,` for and, `; ` for or.
    pub fn describe(&self, vocabulary: &Vocabulary) -> String {
        match self {
            Self::Nothing => "allows_permissionless_access=true".into(),
            Self::Never => "never".into(),
            Self::AnyOf(alternatives) => alternatives
                .iter()
                .map(|all_of| {
                    let needs = all_of.iter().map(|need| describe(*need, vocabulary));
                    needs.collect::<Vec<_>>().join(",")
                })
                .collect::<Vec<_>>()
                .join("; "),
        }
    }
}

/// `name=level`.
pub fn describe(need: Need, vocabulary: &Vocabulary) -> String {
    format!("{}={}", vocabulary.name(need.permission), need.level)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(name: &str) -> Permission {
        Permission {
            name: name.into(),
            scope: Scope::Repository,
            levels: Level::ALL.into(),
            description: String::new(),
            implied: false,
            write_role: Level::Write,
        }
    }

    #[test]
    fn sets_hold_every_id_apart() {
        let mut vocabulary = Vocabulary::default();
        let ids: Vec<_> = (0..Vocabulary::CAPACITY)
            .map(|n| vocabulary.add(permission(&format!("p{n}"))).unwrap())
            .collect();
        assert_eq!(vocabulary.add(permission("more")), Err(VocabularyFull));
        for (at, id) in ids.iter().enumerate() {
            let mut set = PermissionSet::default();
            let level = Level::ALL[at % 3];
            set.grant(*id, level);
            set.grant(*id, Level::Read);
            assert_eq!(set.iter().collect::<Vec<_>>(), [(*id, level)]);
        }
    }

    #[test]
    fn levels_include_the_lower_ones() {
        let mut vocabulary = Vocabulary::default();
        let id = vocabulary.add(permission("contents")).unwrap();
        let mut set = PermissionSet::default();
        assert!(!set.satisfies(Need { permission: id, level: Level::Read }));
        set.grant(id, Level::Write);
        assert!(set.satisfies(Need { permission: id, level: Level::Read }));
        assert!(set.satisfies(Need { permission: id, level: Level::Write }));
        assert!(!set.satisfies(Need { permission: id, level: Level::Admin }));
    }
}
