//! All policy files to one snapshot, or to all their faults.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::catalog::BUILT_IN;
use crate::catalog::compile::Catalog;
use crate::catalog::document::ResourceParameters;
use crate::catalog::template::Template;
use crate::domain::fault::{Fault, Place};
use crate::domain::lifecycle::rules::KeptRules;
use crate::domain::permission::{Permission, Vocabulary};
use crate::domain::token::TokenFormat;
use crate::policy::bundles::{self, Bundles};
use crate::policy::document::{DenyDocument, DenyRuleDocument};
use crate::policy::grants::packed::{Packer, TokenFile};
use crate::policy::grants::table::{Duplicate, TokenTable, Twice};
use crate::policy::organizations::OrganizationCompiler;
use crate::policy::rules::Declared;
use crate::policy::snapshot::Snapshot;
use crate::policy::tokens::{TokenCompiler, TokenForm};
use crate::policy::upstream::{DenyRule, UpstreamPolicy, UpstreamSpec};
use crate::yaml::{self, Spanned};

/// One policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its path below the policy directory, with `/`.
    pub name: String,
    /// Its path as an operator would name it.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
}

impl Source {
    /// A fault at `at` of this file.
    pub fn fault<T>(&self, at: &Spanned<T>, message: impl Into<String>) -> Fault {
        Fault::new(&self.file, yaml::place(at), message, &self.text)
    }
}

/// What a policy file is about, by where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `catalogs/*.yaml`.
    Catalog,
    /// `enterprise.yaml`.
    Enterprise,
    /// `bundles.yaml`.
    Bundles,
    /// `organizations/*.yaml`.
    Organization,
    /// `tokens/*.yaml` or `tokens/*.jsonl`.
    Tokens(TokenForm),
    /// `deny.yaml` or `deny/*.yaml`.
    Deny,
}

impl Kind {
    /// The kind of the file called `name` below the policy directory.
    pub fn of(name: &str) -> Option<Self> {
        let (name, ending) = name.rsplit_once('.').unwrap_or((name, ""));
        let (folder, lines) = (name, ending.eq_ignore_ascii_case("jsonl"));
        match (folder.split_once('/').map_or(folder, |(folder, _)| folder), lines) {
            ("catalogs", false) => Some(Self::Catalog),
            ("bundles", false) if folder == "bundles" => Some(Self::Bundles),
            ("enterprise", false) if folder == "enterprise" => Some(Self::Enterprise),
            ("organizations", false) => Some(Self::Organization),
            ("tokens", false) => Some(Self::Tokens(TokenForm::Document)),
            ("tokens", true) => Some(Self::Tokens(TokenForm::Lines)),
            ("deny", false) => Some(Self::Deny),
            _ => None,
        }
    }

    /// How files of this kind declare tokens, where they do.
    pub fn tokens(self) -> Option<TokenForm> {
        match self {
            Self::Tokens(form) => Some(form),
            Self::Catalog | Self::Enterprise | Self::Bundles | Self::Organization | Self::Deny => None,
        }
    }
}

/// All that policy files say beside tokens, and every fault that was found so far.
#[derive(Debug)]
pub struct Frame {
    vocabulary: Vocabulary,
    upstreams: Vec<UpstreamPolicy>,
    declared: Declared,
    bundles: Bundles,
    faults: Vec<Fault>,
}

impl Frame {
    /// Compiles all of `sources` that declare no tokens, for `upstreams`.
    pub fn compile(sources: &[Source], upstreams: &[UpstreamSpec]) -> Self {
        let mut faults = Vec::new();
        for source in sources.iter().filter(|source| Kind::of(&source.name).is_none()) {
            faults.push(Fault::of_file(
                &source.file,
                "unknown policy file; expected `enterprise.yaml`, `bundles.yaml`, `organizations/*.yaml`, `tokens/*.yaml`, `tokens/*.jsonl`, `catalogs/*.yaml` or `deny.yaml`",
            ));
        }
        let catalogs = read_catalogs(sources, &mut faults);
        let vocabulary = vocabulary(&catalogs, upstreams, &mut faults);
        let mut compiler = Compiler { sources, vocabulary, faults };
        let upstreams = compiler.upstreams(upstreams, &catalogs);
        let declared = compiler.rules().compile(sources);
        let Compiler { vocabulary, mut faults, .. } = compiler;
        let bundles = bundles::compile(sources, &vocabulary, &mut faults);
        Self { vocabulary, upstreams, declared, bundles, faults }
    }

    /// The permissions that tokens may hold.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Adds what is wrong with a file of tokens.
    pub fn fault(&mut self, faults: Vec<Fault>) {
        self.faults.extend(faults);
    }

    /// Puts the tokens of `files` into the frame, in this order. `text` gives the text of a file, to tell of a digest
    /// that stands twice; `pause` is called every fraction of a millisecond.
    ///
    /// # Errors
    /// All faults.
    pub fn with_tokens(
        self,
        files: Vec<Arc<TokenFile>>,
        (format, generation): (&TokenFormat, u64),
        text: impl Fn(&Path) -> Option<String>,
        pause: impl FnMut(),
    ) -> Result<Snapshot, Vec<Fault>> {
        let Self { vocabulary, upstreams, declared, bundles, mut faults } = self;
        match TokenTable::build(files, pause) {
            Ok(tokens) if faults.is_empty() => {
                let format = format.clone();
                let kept = Arc::<KeptRules>::default();
                let (enterprise, organizations) = declared.in_force(&kept, &vocabulary);
                Ok(Snapshot {
                    generation,
                    vocabulary: Arc::new(vocabulary),
                    upstreams: upstreams.into(),
                    declared: Arc::new(declared),
                    kept,
                    enterprise,
                    organizations,
                    bundles: Arc::new(bundles),
                    tokens: Arc::new(tokens),
                    stored: Arc::default(),
                    format,
                })
            }
            Ok(_) => Err(faults),
            Err(Twice { files, duplicates }) => {
                faults.extend(tell_duplicates(&files, &duplicates, text));
                Err(faults)
            }
        }
    }
}

/// Compiles `sources` for `upstreams`.
///
/// # Errors
/// All faults of all files.
pub fn compile(
    sources: &[Source],
    upstreams: &[UpstreamSpec],
    format: &TokenFormat,
    generation: u64,
) -> Result<Snapshot, Vec<Fault>> {
    let mut frame = Frame::compile(sources, upstreams);
    let (mut files, mut packer) = (Vec::new(), Packer::default());
    for source in sources {
        let Some(form) = Kind::of(&source.name).and_then(Kind::tokens) else { continue };
        let mut compiler = TokenCompiler::new(source.file.clone(), frame.vocabulary(), &mut packer);
        compiler.take(form, &source.text);
        let (file, faults) = compiler.finish();
        files.push(Arc::new(file));
        frame.fault(faults);
    }
    let text =
        |path: &Path| sources.iter().find(|source| source.file == path).map(|source| source.text.clone());
    frame.with_tokens(files, (format, generation), text, || {})
}

/// The most digests that stand twice that are told.
const MOST_DUPLICATES: usize = 100;

fn tell_duplicates(
    files: &[Arc<TokenFile>],
    duplicates: &[Duplicate],
    text: impl Fn(&Path) -> Option<String>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for Duplicate { first, again } in duplicates.iter().take(MOST_DUPLICATES) {
        let (Some(one), Some(other)) = (files.get(first.file), files.get(again.file)) else { continue };
        if open.as_ref().is_none_or(|(file, _)| *file != again.file) {
            open = Some((again.file, text(other.path()).unwrap_or_default()));
        }
        let text = open.as_ref().map(|(_, text)| text.as_str()).unwrap_or_default();
        let line = other.line(again.entry).unwrap_or_default();
        let digest = other.grant(again.entry).map(|grant| grant.digest().to_string()).unwrap_or_default();
        let place = Place { line, column: column_of(text, line, &digest) };
        let first = one.line(first.entry).unwrap_or_default();
        let message = format!("this digest stands at {}:{first} already", one.path().display());
        faults.push(Fault::new(other.path(), place, message, text));
    }
    faults
}

/// The column of `digest`, with the quote before it, in the line number `line` of `text`.
fn column_of(text: &str, line: u64, digest: &str) -> u64 {
    let line = usize::try_from(line).ok().and_then(|line| text.lines().nth(line.checked_sub(1)?));
    let before = line.and_then(|line| {
        let (before, _) = line.split_at_checked(line.to_ascii_lowercase().find(digest)?)?;
        Some(before.strip_suffix(['"', '\'']).unwrap_or(before).chars().count())
    });
    before.and_then(|before| u64::try_from(before).ok()).unwrap_or_default() + 1
}

/// The catalogs in files and those built in, by name; a file replaces a built-in one.
fn read_catalogs(sources: &[Source], faults: &mut Vec<Fault>) -> Vec<Catalog> {
    let mut catalogs: Vec<Catalog> = Vec::new();
    for source in of_kind(sources, Kind::Catalog) {
        match Catalog::read(&source.file, &source.text) {
            Ok(catalog) => match catalogs.iter().find(|known| known.name == catalog.name) {
                Some(known) => {
                    let message =
                        format!("catalog `{}` stands in `{}` already", catalog.name, known.file.display());
                    faults.push(Fault::of_file(&source.file, message));
                }
                None => catalogs.push(catalog),
            },
            Err(found) => faults.extend(found),
        }
    }
    for (name, text) in BUILT_IN {
        match Catalog::read(Path::new(name), text) {
            Ok(catalog) if catalogs.iter().any(|known| known.name == catalog.name) => {}
            Ok(catalog) => catalogs.push(catalog),
            Err(found) => faults.extend(found),
        }
    }
    catalogs
}

/// The permissions of the catalogs in use.
fn vocabulary(catalogs: &[Catalog], upstreams: &[UpstreamSpec], faults: &mut Vec<Fault>) -> Vocabulary {
    let mut permissions: Vec<Permission> = Vec::new();
    let used =
        |catalog: &&Catalog| upstreams.iter().any(|upstream| upstream.catalogs.contains(&catalog.name));
    for catalog in catalogs.iter().filter(used) {
        for (place, permission) in &catalog.permissions {
            match permissions.iter_mut().find(|known| known.name == permission.name) {
                None => permissions.push(permission.clone()),
                Some(known) if known.scope == permission.scope => merge(known, permission),
                Some(known) => {
                    let message = format!(
                        "permission `{}` has scope `{}` in another catalog; two catalogs may share a name only with the same scope",
                        permission.name,
                        known.scope.as_str()
                    );
                    faults.push(catalog.fault(*place, message));
                }
            }
        }
    }
    let mut vocabulary = Vocabulary::default();
    for permission in permissions {
        if let Err(error) = vocabulary.add(permission) {
            faults.push(Fault::of_file(
                "catalogs",
                format!("{error}; leave out catalogs that no upstream uses"),
            ));
            break;
        }
    }
    vocabulary
}

/// Two catalogs' views of one permission: the levels of both, and the stricter role.
fn merge(known: &mut Permission, other: &Permission) {
    for level in &other.levels {
        if !known.levels.contains(level) {
            known.levels.push(*level);
        }
    }
    known.levels.sort();
    known.implied |= other.implied;
    known.write_role = known.write_role.max(other.write_role);
}

fn of_kind(sources: &[Source], kind: Kind) -> impl Iterator<Item = &Source> {
    sources.iter().filter(move |source| Kind::of(&source.name) == Some(kind))
}

struct Compiler<'a> {
    sources: &'a [Source],
    vocabulary: Vocabulary,
    faults: Vec<Fault>,
}

impl Compiler<'_> {
    fn rules(&mut self) -> OrganizationCompiler<'_> {
        OrganizationCompiler { vocabulary: &self.vocabulary, faults: &mut self.faults }
    }

    fn upstreams(&mut self, specs: &[UpstreamSpec], catalogs: &[Catalog]) -> Vec<UpstreamPolicy> {
        let mut upstreams = Vec::new();
        for spec in specs {
            let mut used = Vec::new();
            for name in &spec.catalogs {
                if let Some(catalog) = catalogs.iter().find(|catalog| catalog.name == *name) {
                    used.push(catalog);
                } else {
                    let known: Vec<_> =
                        catalogs.iter().map(|catalog| format!("`{}`", catalog.name)).collect();
                    let message = format!(
                        "upstream `{}` uses catalog `{name}`, which does not exist; there are {}",
                        spec.name,
                        known.join(", ")
                    );
                    self.faults.push(Fault::of_file(&spec.file, message));
                }
            }
            match UpstreamPolicy::compile(spec, &used, &self.vocabulary) {
                Ok(upstream) => upstreams.push(upstream),
                Err(found) => self.faults.extend(found),
            }
        }
        for source in of_kind(self.sources, Kind::Deny) {
            match yaml::parse::<DenyDocument>(&source.file, &source.text) {
                Ok(document) => {
                    document
                        .deny
                        .iter()
                        .for_each(|rule| self.deny(source, &rule.value, specs, &mut upstreams));
                }
                Err(fault) => self.faults.push(fault),
            }
        }
        upstreams
    }

    fn deny(
        &mut self,
        source: &Source,
        document: &DenyRuleDocument,
        specs: &[UpstreamSpec],
        upstreams: &mut [UpstreamPolicy],
    ) {
        let resources = ResourceParameters {
            owner: vec!["owner".into(), "org".into()],
            repository: vec!["repo".into(), "repository".into()],
            wiki: vec!["wiki".into()],
        };
        let mode = self.rules().mode(source, document.mode.as_ref());
        let template = match Template::parse(&document.route.value, &resources) {
            Ok(template) => template,
            Err(error) => return self.faults.push(source.fault(&document.route, error.to_string())),
        };
        let named = document.upstreams.as_deref().unwrap_or_default();
        if document.upstreams.is_some() && named.is_empty() {
            let message = "`upstreams` is empty; leave it out where the rule holds for all";
            self.faults.push(source.fault(&document.name, message));
        }
        for name in named.iter().filter(|name| !specs.iter().any(|spec| spec.name == name.value)) {
            self.faults.push(source.fault(name, format!("there is no upstream `{}`", name.value)));
        }
        let concerned = |upstream: &&mut UpstreamPolicy| {
            document.upstreams.is_none() || named.iter().any(|name| name.value == upstream.name)
        };
        for upstream in upstreams.iter_mut().filter(concerned) {
            let rule = DenyRule { name: document.name.value.clone(), mode };
            if let Err(message) = upstream.deny(&template, rule) {
                self.faults.push(source.fault(&document.route, message));
            }
        }
    }
}
