//! A token's declaration out of arguments: the YAML that `token new` prints, and the grant that `explain` judges.
//!
//! The YAML is compiled by the same code as policy files, so that arguments mean what files mean.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::command::UsageError;
use crate::domain::grant::UnixTime;
use crate::domain::permission::Vocabulary;
use crate::domain::token::TokenDigest;
use crate::policy::grants::packed::{Packer, TokenFile};
use crate::policy::tokens::{TokenCompiler, TokenForm};

/// What YAML could take for something other than text.
const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// A declared token.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Its name.
    pub name: String,
    /// Its digest.
    pub digest: TokenDigest,
    /// Whom it belongs to.
    pub user: String,
    /// What it reaches: resource owner to repositories.
    pub reach: BTreeMap<String, Repositories>,
    /// What it may do there: name and level.
    pub permissions: Vec<(String, String)>,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it stops working.
    pub expires_at: UnixTime,
}

/// Repositories of one resource owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repositories {
    /// None: permissions on the owner alone.
    None,
    /// All.
    All,
    /// These.
    Names(Vec<String>),
}

impl Declaration {
    /// The policy file that declares the token.
    pub fn yaml(&self) -> String {
        let permissions: Vec<_> = self
            .permissions
            .iter()
            .map(|(name, level)| format!("{}: {}", scalar(name), scalar(level)))
            .collect();
        let permissions = format!("{{ {} }}", permissions.join(", "));
        let several = self.reach.len() != 1;
        let mut lines = vec![
            "tokens:".to_owned(),
            format!("  - name: {}", scalar(&self.name)),
            format!("    sha256: {}", self.digest),
            format!("    user: {}", scalar(&self.user)),
        ];
        if several {
            lines.push("    grants:".to_owned());
        }
        for (owner, repositories) in &self.reach {
            let (before, indent) = if several { ("      - ", "        ") } else { ("    ", "    ") };
            lines.push(format!("{before}resource_owner: {}", scalar(owner)));
            lines.extend(
                repositories.yaml().map(|repositories| format!("{indent}repositories: {repositories}")),
            );
            lines.push(format!("{indent}permissions: {permissions}"));
        }
        lines.push(format!("    created_at: {}", self.created_at));
        lines.push(format!("    expires_at: {}\n", self.expires_at));
        lines.join("\n")
    }

    /// What the token opens: a file with this one token.
    ///
    /// # Errors
    /// [`UsageError`] with everything that no policy file could say.
    pub fn compile(&self, vocabulary: &Vocabulary) -> Result<TokenFile, UsageError> {
        let mut packer = Packer::default();
        let mut compiler = TokenCompiler::new(PathBuf::from("arguments"), vocabulary, &mut packer);
        compiler.take(TokenForm::Document, &self.yaml());
        let (file, faults) = compiler.finish();
        if faults.is_empty() {
            return Ok(file);
        }
        let messages: Vec<_> = faults.into_iter().map(|fault| fault.message).collect();
        Err(UsageError(messages.join("\n       ")))
    }
}

impl Repositories {
    fn yaml(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::All => Some("all".into()),
            Self::Names(names) => {
                let names: Vec<_> = names.iter().map(|name| scalar(name)).collect();
                Some(format!("[{}]", names.join(", ")))
            }
        }
    }
}

/// Reads `contents=read,issues=write`.
///
/// # Errors
/// [`UsageError`] for a piece that is no pair.
pub fn permissions(text: &str) -> Result<Vec<(String, String)>, UsageError> {
    let pair = |piece: &str| {
        let (name, level) = piece.split_once('=').ok_or_else(|| {
            UsageError(format!("`{piece}` is no permission with a level; expected such as `contents=read`"))
        })?;
        Ok((name.trim().to_owned(), level.trim().to_owned()))
    };
    text.split(',').map(pair).collect()
}

/// Reads `acme/alpha,acme/beta`, `acme/*`, or `acme` for the owner without its repositories.
///
/// # Errors
/// [`UsageError`] where one owner is named in two ways.
pub fn reach(text: &str) -> Result<BTreeMap<String, Repositories>, UsageError> {
    let mut reach: BTreeMap<String, Repositories> = BTreeMap::new();
    for piece in text.split(',').map(str::trim) {
        let (owner, repositories) = match piece.split_once('/') {
            None => (piece, Repositories::None),
            Some((owner, "*")) => (owner, Repositories::All),
            Some((owner, name)) => (owner, Repositories::Names(vec![name.to_owned()])),
        };
        match (reach.get_mut(owner), repositories) {
            (None, repositories) => {
                reach.insert(owner.to_owned(), repositories);
            }
            (Some(Repositories::Names(names)), Repositories::Names(more)) => names.extend(more),
            (Some(_), _) => {
                return Err(UsageError(format!(
                    "`{owner}` is named in two ways; expected `{owner}/*`, names of its repositories, or `{owner}` alone"
                )));
            }
        }
    }
    Ok(reach)
}

/// `text` as YAML text: plain where it can only be read as text, else quoted as in JSON.
fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" ._@+-".contains(&byte);
    let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let word = WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    if starts_well && text.bytes().all(plain) && !text.ends_with(' ') && !word {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn declaration(text: &str) -> Declaration {
        Declaration {
            name: "true".into(),
            digest: TokenDigest::of(""),
            user: "bob".into(),
            reach: reach(text).unwrap(),
            permissions: permissions("contents=read, issues=write").unwrap(),
            created_at: UnixTime(0),
            expires_at: UnixTime(86_400),
        }
    }

    #[test]
    fn one_owner_stands_in_the_token_itself() {
        let digest = TokenDigest::of("");
        let want = format!(
            "tokens:\n  - name: \"true\"\n    sha256: {digest}\n    user: bob\n    resource_owner: acme\n    repositories: [alpha, \".github\"]\n    permissions: {{ contents: read, issues: write }}\n    created_at: 1970-01-01T00:00:00Z\n    expires_at: 1970-01-02T00:00:00Z\n"
        );
        assert_eq!(declaration("acme/alpha,acme/.github").yaml(), want);
    }

    #[test]
    fn several_owners_stand_in_grants() {
        let yaml = declaration("acme/*,umbrella").yaml();
        assert!(
            yaml.contains("    grants:\n      - resource_owner: acme\n        repositories: all\n        permissions: { contents: read, issues: write }\n      - resource_owner: umbrella\n        permissions: {"),
            "{yaml}"
        );
    }

    #[test]
    fn what_is_no_pair_and_what_contradicts_itself_is_refused() {
        for text in ["", "contents", "contents=read,"] {
            assert!(permissions(text).is_err(), "{text}");
        }
        for text in ["acme,acme/*", "acme/*,acme/alpha", "acme/alpha,acme"] {
            assert!(reach(text).is_err(), "{text}");
        }
    }

    #[test]
    fn text_is_read_back_as_text() {
        for text in [
            "nightly build",
            "no",
            "NULL",
            "1",
            "1e3",
            "~",
            "- a",
            "a: b",
            "a #b",
            "ä",
            "",
            " a",
            "a ",
            "{a}",
            "a\"b\\c\n",
        ] {
            let file = std::path::Path::new("x.yaml");
            let yaml = format!("value: {}\n", scalar(text));
            let read: BTreeMap<String, String> = yaml::parse(file, &yaml).unwrap();
            assert_eq!(read["value"], text, "{yaml}");
        }
    }
}
