//! The rules that stand above what was granted: whose they are, and how a refusal names them.

use std::fmt;

/// Seconds.
const DAY: i64 = 24 * 60 * 60;

/// A rule of an enterprise or an organization that forbids a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden {
    /// What kind of authority made the rule.
    pub authority: Authority,
    /// Its name, as its file writes it.
    pub name: String,
    /// The rule.
    pub rule: PolicyRule,
}

/// Who makes rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Above all organizations.
    Enterprise,
    /// At its own resources.
    Organization,
}

/// What is ruled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyRule {
    /// That fine-grained tokens may not be used.
    Access,
    /// That credentials which hosts issued may not be used.
    Classic,
    /// That tokens live no longer than this, seconds.
    MaxLifetime(i64),
    /// That no token holds what the request needs.
    Ceiling,
    /// That the token's user is a member.
    Membership,
    /// That the token's user may do as much themselves.
    Role,
}

impl Forbidden {
    /// A host's own sentence about it: `{owner}`, `{authority}` and `{lifetime}` are filled in.
    pub fn fill(&self, sentence: &str) -> String {
        let filled = sentence.replace("{owner}", &self.name).replace("{authority}", self.authority.as_str());
        if let PolicyRule::MaxLifetime(most) = self.rule {
            filled.replace("{lifetime}", &in_days(most))
        } else {
            filled
        }
    }
}

impl Authority {
    /// `enterprise` or `organization`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::Organization => "organization",
        }
    }
}

impl PolicyRule {
    /// One of each.
    pub const ALL: [Self; 6] =
        [Self::Access, Self::Classic, Self::MaxLifetime(0), Self::Ceiling, Self::Membership, Self::Role];

    /// The rule's name, by which catalogs word refusals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Classic => "classic_tokens",
            Self::MaxLifetime(_) => "max_lifetime",
            Self::Ceiling => "ceiling",
            Self::Membership => "membership",
            Self::Role => "role",
        }
    }

    /// What the one who was refused can do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Access => "ask those who made the rule to allow fine-grained tokens",
            Self::Classic => "use a fine-grained token of this gateway",
            Self::MaxLifetime(_) => "regenerate the token to expire sooner",
            Self::Ceiling => {
                "no token may do this there, whatever it was granted; ask those who made the rule"
            }
            Self::Membership => "ask its owners to make the token's user a member",
            Self::Role => "ask its owners for a higher role of the token's user",
        }
    }
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access => f.write_str("access of fine-grained tokens"),
            Self::Classic => f.write_str("access of classic tokens"),
            Self::MaxLifetime(most) => write!(f, "maximum lifetime of {}", in_days(*most)),
            Self::Ceiling => f.write_str("ceiling"),
            Self::Membership => f.write_str("membership"),
            Self::Role => f.write_str("the user's own role"),
        }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.authority.as_str(), self.name, self.rule)
    }
}

/// `seconds` for people: in days where they are whole.
pub fn in_days(seconds: i64) -> String {
    match (seconds / DAY, seconds % DAY) {
        (1, 0) => "1 day".to_owned(),
        (days, 0) => format!("{days} days"),
        _ => format!("{seconds} seconds"),
    }
}
