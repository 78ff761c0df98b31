//! Rules about tokens that are changed here instead of in policy files.

use std::collections::BTreeMap;

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Result, Row, params};
use serde::{Deserialize, Serialize};

use crate::domain::grant::UnixTime;
use crate::domain::lifecycle::rules::{Access, ApprovalRule, AutomaticApproval, KeptRules, TokenRules};
use crate::domain::permission::Level;
use crate::store::error::StoreError;
use crate::store::rows::unreadable;
use crate::store::{Changes, Reads};
use crate::units;

/// The key of the enterprise, which no organization can have.
const ENTERPRISE: &str = "";

/// Rules in the shape of policy files, in which the API shows them too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesDocument {
    /// About fine-grained tokens.
    #[serde(default)]
    pub fine_grained_tokens: FineGrainedDocument,
    /// About credentials that hosts issued.
    #[serde(default)]
    pub classic_tokens: ClassicDocument,
    /// The most that any token may hold: permission to level, or `none`.
    #[serde(default)]
    pub ceiling: BTreeMap<String, String>,
}

/// What holds for fine-grained tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineGrainedDocument {
    /// `allow` or `deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
    /// `required` or `automatic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// What needs no approval though others do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approve_automatically: Vec<AutomaticDocument>,
    /// The longest lifetime: `90d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<String>,
    /// Whether administrators' tokens may live longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exempt_administrators: Option<bool>,
}

/// Tokens that need no approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutomaticDocument {
    /// The highest level of all of their permissions.
    pub max_level: String,
    /// Their longest lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lifetime: Option<String>,
}

/// What holds for credentials that hosts issued.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassicDocument {
    /// `allow` or `deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<String>,
}

/// Where the rules stand by which nobody needs to approve.
const AUTOMATIC: &str = "fine_grained_tokens.approve_automatically";

/// How many there may be of them: each is looked at for each token that is asked for.
const MOST_AUTOMATIC: usize = 100;

/// A word of rules that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFault {
    /// Where.
    pub field: &'static str,
    /// What was expected.
    pub message: String,
}

impl From<&TokenRules> for RulesDocument {
    fn from(rules: &TokenRules) -> Self {
        let lifetime = |seconds: i64| units::duration_text(seconds.unsigned_abs());
        let automatic = |rule: &AutomaticApproval| AutomaticDocument {
            max_level: rule.max_level.as_str().to_owned(),
            max_lifetime: rule.max_lifetime.map(lifetime),
        };
        let level = |most: &Option<Level>| most.map_or("none", Level::as_str).to_owned();
        Self {
            fine_grained_tokens: FineGrainedDocument {
                access: rules.access.map(|access| access.as_str().to_owned()),
                approval: rules.approval.map(|approval| approval.as_str().to_owned()),
                approve_automatically: rules.automatic.iter().map(automatic).collect(),
                max_lifetime: rules.max_lifetime.map(lifetime),
                exempt_administrators: rules.exempt_administrators.then_some(true),
            },
            classic_tokens: ClassicDocument {
                access: rules.classic.map(|access| access.as_str().to_owned()),
            },
            ceiling: rules.ceiling.iter().map(|(name, most)| (name.clone(), level(most))).collect(),
        }
    }
}

impl RulesDocument {
    /// The rules. What permissions there are is for a vocabulary to say.
    ///
    /// # Errors
    /// Every word that is none.
    pub fn read(&self) -> std::result::Result<TokenRules, Vec<RuleFault>> {
        let mut faults = Vec::new();
        let Self { fine_grained_tokens: tokens, classic_tokens, ceiling } = self;
        if tokens.approve_automatically.len() > MOST_AUTOMATIC {
            let message = format!("expected {MOST_AUTOMATIC} rules at most");
            faults.push(RuleFault { field: AUTOMATIC, message });
        }
        let rules = TokenRules {
            access: word("fine_grained_tokens.access", tokens.access.as_deref(), &mut faults),
            approval: word("fine_grained_tokens.approval", tokens.approval.as_deref(), &mut faults),
            automatic: tokens
                .approve_automatically
                .iter()
                .filter_map(|rule| {
                    let max_lifetime = lifetime(AUTOMATIC, rule.max_lifetime.as_deref(), &mut faults);
                    let max_level = word(AUTOMATIC, Some(&rule.max_level), &mut faults)?;
                    Some(AutomaticApproval { max_level, max_lifetime })
                })
                .collect(),
            max_lifetime: lifetime(
                "fine_grained_tokens.max_lifetime",
                tokens.max_lifetime.as_deref(),
                &mut faults,
            ),
            exempt_administrators: tokens.exempt_administrators.unwrap_or_default(),
            classic: word("classic_tokens.access", classic_tokens.access.as_deref(), &mut faults),
            ceiling: ceiling
                .iter()
                .filter_map(|(name, text)| match text.as_str() {
                    "none" => Some((name.clone(), None)),
                    text => Some((name.clone(), Some(word("ceiling", Some(text), &mut faults)?))),
                })
                .collect(),
        };
        if faults.is_empty() { Ok(rules) } else { Err(faults) }
    }
}

/// A word that stands for something.
trait Word: Sized {
    const EXPECTED: &str;

    fn of(text: &str) -> Option<Self>;
}

impl Word for Access {
    const EXPECTED: &str = "`allow` or `deny`";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Word for ApprovalRule {
    const EXPECTED: &str = "`required` or `automatic`";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

impl Word for Level {
    const EXPECTED: &str = "`read`, `write` or `admin`";

    fn of(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

fn word<W: Word>(field: &'static str, text: Option<&str>, faults: &mut Vec<RuleFault>) -> Option<W> {
    let text = text?;
    let found = W::of(text);
    if found.is_none() {
        faults.push(RuleFault { field, message: format!("`{text}`: expected {}", W::EXPECTED) });
    }
    found
}

/// Seconds.
fn lifetime(field: &'static str, text: Option<&str>, faults: &mut Vec<RuleFault>) -> Option<i64> {
    let text = text?;
    match units::parse_lifetime(text) {
        Ok(seconds) => Some(seconds),
        Err(error) => {
            faults.push(RuleFault { field, message: format!("`{text}`: {error}") });
            None
        }
    }
}

/// Rules of one of them in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesRow {
    /// `None` where they were given back to the file.
    pub rules: Option<TokenRules>,
    /// When they were changed last.
    pub changed_at: UnixTime,
    /// By whom.
    pub changed_by: String,
}

impl RulesRow {
    /// From the columns behind the first.
    fn read(row: &Row<'_>) -> Result<Self> {
        let text: Option<String> = row.get(1)?;
        let rules = text.map(|text| {
            let document: Option<RulesDocument> = serde_json::from_str(&text).ok();
            document.and_then(|document| document.read().ok()).ok_or_else(|| unreadable(1, Type::Text))
        });
        Ok(Self { rules: rules.transpose()?, changed_at: row.get(2)?, changed_by: row.get(3)? })
    }
}

const COLUMNS: &str = "SELECT owner_key, rules, changed_at, changed_by FROM rules";

impl Reads<'_> {
    /// The rules of `organization`, or of the enterprise, where they were ever changed here.
    ///
    /// # Errors
    /// The database's.
    pub fn rules(self, organization: Option<&str>) -> std::result::Result<Option<RulesRow>, StoreError> {
        let mut statement = self.0.prepare_cached(&format!("{COLUMNS} WHERE owner_key = ?1"))?;
        Ok(statement.query_row([key(organization)], RulesRow::read).optional()?)
    }

    /// All rules that are kept here.
    ///
    /// # Errors
    /// The database's.
    pub fn kept_rules(self) -> std::result::Result<KeptRules, StoreError> {
        Ok(self.all_rules()?)
    }

    /// The same, where any of them has changed above `seen`.
    pub(super) fn rules_since(self, seen: i64) -> Result<Option<KeptRules>> {
        let changed = "SELECT EXISTS (SELECT 1 FROM rules WHERE change > ?1)";
        let changed: bool = self.0.prepare_cached(changed)?.query_row([seen], |row| row.get(0))?;
        changed.then(|| self.all_rules()).transpose()
    }

    fn all_rules(self) -> Result<KeptRules> {
        let mut statement = self.0.prepare_cached(COLUMNS)?;
        let mut rows = statement.query([])?;
        let mut kept = KeptRules::default();
        while let Some(row) = rows.next()? {
            let Some(rules) = RulesRow::read(row)?.rules else { continue };
            match row.get::<_, String>(0)? {
                key if key == ENTERPRISE => kept.enterprise = Some(rules),
                key => drop(kept.organizations.insert(key, rules)),
            }
        }
        Ok(kept)
    }
}

impl Changes<'_> {
    /// Sets the rules of `organization`, or of the enterprise; `None` gives them back to the file.
    ///
    /// # Errors
    /// The database's.
    pub fn set_rules(
        &self,
        organization: Option<&str>,
        rules: Option<&TokenRules>,
        (at, by): (UnixTime, &str),
    ) -> std::result::Result<(), StoreError> {
        let text = rules.map(|rules| serde_json::to_string(&RulesDocument::from(rules)).unwrap_or_default());
        let sql = "INSERT INTO rules (owner_key, rules, changed_at, changed_by, change) VALUES (?1, ?2, ?3, ?4, ?5) \
            ON CONFLICT (owner_key) DO UPDATE SET rules = ?2, changed_at = ?3, changed_by = ?4, change = ?5";
        self.0.prepare_cached(sql)?.execute(params![key(organization), text, at, by, self.next_change()?])?;
        Ok(())
    }
}

fn key(organization: Option<&str>) -> String {
    organization.map_or_else(|| ENTERPRISE.to_owned(), str::to_ascii_lowercase)
}
