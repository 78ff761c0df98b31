//! `organizations/*.yaml` and `enterprise.yaml`: their documents to the rules that they declare.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::domain::fault::Fault;
use crate::domain::lifecycle::rules::{Access, ApprovalRule, AutomaticApproval, Keeper, TokenRules};
use crate::domain::permission::{Level, Vocabulary};
use crate::domain::resource::owner_name;
use crate::policy::compile::{Kind, Source};
use crate::policy::document::{
    AutomaticDocument, EnterpriseDocument, OrganizationDocument, TokenPolicyDocument,
};
use crate::policy::public;
use crate::policy::rules::{Declared, DeclaredEnterprise, DeclaredOrganization, ceiling_level};
use crate::policy::snapshot::Mode;
use crate::policy::tokens::permission::PermissionFault;
use crate::units;
use crate::yaml::{self, Entries, Spanned};

/// Compiles what is said of resource owners.
pub(super) struct OrganizationCompiler<'a> {
    /// The permissions that a ceiling may name.
    pub(super) vocabulary: &'a Vocabulary,
    /// Every fault so far.
    pub(super) faults: &'a mut Vec<Fault>,
}

impl OrganizationCompiler<'_> {
    /// What `sources` say of the enterprise and of organizations.
    pub(super) fn compile(&mut self, sources: &[Source]) -> Declared {
        let enterprise = self.enterprise(sources);
        let mut organizations = HashMap::new();
        for source in sources.iter().filter(|source| Kind::of(&source.name) == Some(Kind::Organization)) {
            match yaml::parse::<OrganizationDocument>(&source.file, &source.text) {
                Ok(document) => {
                    let organization = self.organization(source, &document);
                    if organizations.insert(organization.name.to_ascii_lowercase(), organization).is_some() {
                        let name = &document.organization;
                        let message = format!("organization `{}` stands in another file already", name.value);
                        self.faults.push(source.fault(name, message));
                    }
                }
                Err(fault) => self.faults.push(fault),
            }
        }
        Declared { enterprise, organizations }
    }

    fn enterprise(&mut self, sources: &[Source]) -> Option<DeclaredEnterprise> {
        let source = sources.iter().find(|source| Kind::of(&source.name) == Some(Kind::Enterprise))?;
        let document = match yaml::parse::<EnterpriseDocument>(&source.file, &source.text) {
            Ok(document) => document,
            Err(fault) => {
                self.faults.push(fault);
                return None;
            }
        };
        let tokens = &document.fine_grained_tokens;
        let classic = document.classic_tokens.as_ref().and_then(|classic| classic.access.as_ref());
        Some(DeclaredEnterprise {
            name: document.enterprise.value.clone(),
            administrators: document.administrators.iter().map(|login| login.value.clone()).collect(),
            keeper: self.keeper(source, document.managed.as_ref()),
            rules: TokenRules {
                access: self.access(source, tokens.access.as_ref()),
                approval: self.approval(source, tokens.approval.as_ref()),
                automatic: Vec::new(),
                max_lifetime: self.lifetime(source, tokens.max_lifetime.as_ref()),
                exempt_administrators: tokens
                    .exempt_administrators
                    .as_ref()
                    .is_some_and(|exempt| exempt.value),
                classic: self.access(source, classic),
                ceiling: self.ceiling(source, document.ceiling.as_ref()),
            },
        })
    }

    fn organization(&mut self, source: &Source, document: &OrganizationDocument) -> DeclaredOrganization {
        let name = &document.organization;
        if owner_name(&name.value).is_err() {
            self.faults
                .push(source.fault(name, "an organization's name holds letters, digits, `.`, `_` and `-`"));
        }
        let TokenPolicyDocument { access, approval, approve_automatically, max_lifetime } =
            &document.fine_grained_tokens;
        let classic = document.classic_tokens.as_ref().and_then(|classic| classic.access.as_ref());
        let automatic =
            approve_automatically.iter().flatten().map(|rule| self.automatic(source, rule)).collect();
        DeclaredOrganization {
            name: name.value.clone(),
            owners: document.owners.iter().map(|owner| owner.value.clone()).collect(),
            members: document.members.as_ref().map(|members| self.members(source, members)),
            public: document.public.as_ref().map(|document| {
                let fault = |message| self.faults.push(message);
                Arc::new(public::compile(document, source, self.vocabulary, fault))
            }),
            mode: self.mode(source, document.mode.as_ref()),
            keeper: self.keeper(source, document.managed.as_ref()),
            rules: TokenRules {
                access: self.access(source, access.as_ref()),
                approval: self.approval(source, approval.as_ref()),
                automatic,
                max_lifetime: self.lifetime(source, max_lifetime.as_ref()),
                exempt_administrators: false,
                classic: self.access(source, classic),
                ceiling: self.ceiling(source, document.ceiling.as_ref()),
            },
        }
    }

    fn keeper(&mut self, source: &Source, managed: Option<&Spanned<String>>) -> Keeper {
        let expected = "keeper; expected `file` or `store`";
        self.word(source, managed, Keeper::parse, expected).unwrap_or_default()
    }

    fn automatic(&mut self, source: &Source, rule: &Spanned<AutomaticDocument>) -> AutomaticApproval {
        let level = &rule.value.max_level;
        let max_level = Level::parse(&level.value).unwrap_or_else(|| {
            let message = format!("unknown level `{}`; expected `read`, `write` or `admin`", level.value);
            self.faults.push(source.fault(level, message));
            Level::Read
        });
        AutomaticApproval { max_level, max_lifetime: self.lifetime(source, rule.value.max_lifetime.as_ref()) }
    }

    fn access(&mut self, source: &Source, access: Option<&Spanned<String>>) -> Option<Access> {
        self.word(source, access, Access::parse, "access; expected `allow` or `deny`")
    }

    fn approval(&mut self, source: &Source, approval: Option<&Spanned<String>>) -> Option<ApprovalRule> {
        self.word(source, approval, ApprovalRule::parse, "approval; expected `required` or `automatic`")
    }

    /// What the word at `at` stands for; `expected` says what kind of word, and which there are.
    fn word<T>(
        &mut self,
        source: &Source,
        at: Option<&Spanned<String>>,
        parse: fn(&str) -> Option<T>,
        expected: &str,
    ) -> Option<T> {
        let at = at?;
        let found = parse(&at.value);
        if found.is_none() {
            let (kind, expected) = expected.split_once(';').unwrap_or((expected, ""));
            self.faults.push(source.fault(at, format!("unknown {kind} `{}`;{expected}", at.value)));
        }
        found
    }

    /// Seconds.
    fn lifetime(&mut self, source: &Source, text: Option<&Spanned<String>>) -> Option<i64> {
        let text = text?;
        match units::parse_lifetime(&text.value) {
            Ok(seconds) => Some(seconds),
            Err(error) => {
                self.faults.push(source.fault(text, error.to_string()));
                None
            }
        }
    }

    fn members(&mut self, source: &Source, members: &Entries<String>) -> HashMap<String, Level> {
        let mut roles = HashMap::new();
        for (user, role) in &members.0 {
            if let Some(level) = Level::parse(&role.value) {
                roles.insert(user.value.to_ascii_lowercase(), level);
            } else {
                let message = format!("unknown role `{}`; expected `read`, `write` or `admin`", role.value);
                self.faults.push(source.fault(role, message));
            }
        }
        roles
    }

    fn ceiling(
        &mut self,
        source: &Source,
        entries: Option<&Entries<String>>,
    ) -> BTreeMap<String, Option<Level>> {
        let mut ceiling = BTreeMap::new();
        for (name, level) in entries.iter().flat_map(|entries| &entries.0) {
            match ceiling_level(self.vocabulary, &name.value, &level.value) {
                Ok(most) => drop(ceiling.insert(name.value.clone(), most)),
                Err(PermissionFault::Name(message)) => self.faults.push(source.fault(name, message)),
                Err(PermissionFault::Level(message)) => self.faults.push(source.fault(level, message)),
            }
        }
        ceiling
    }

    /// Whether a rule is acted on.
    pub(super) fn mode(&mut self, source: &Source, mode: Option<&Spanned<String>>) -> Mode {
        match mode.map(|mode| (mode, mode.value.as_str())) {
            None | Some((_, "enforce")) => Mode::Enforce,
            Some((_, "shadow")) => Mode::Shadow,
            Some((at, other)) => {
                let message = format!("unknown mode `{other}`; expected `enforce` or `shadow`");
                self.faults.push(source.fault(at, message));
                Mode::Enforce
            }
        }
    }
}
