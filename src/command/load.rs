//! Reads the configuration and the policy files for a command, and gathers the faults of both.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::app::start::inputs;
use crate::config::{self, Config};
use crate::domain::fault::{Fault, describe};
use crate::domain::token::TokenFormat;
use crate::live::Inputs;
use crate::policy::snapshot::Snapshot;
use crate::policy::upstream::{ClassicTokens, UpstreamSpec};
use crate::yaml;

/// The configuration where the arguments name none.
pub const DEFAULT_FILE: &str = "portcullis.yaml";

/// A gateway's files, compiled.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The policy.
    pub snapshot: Snapshot,
}

/// What is wrong with a gateway's files.
#[derive(Debug)]
pub struct Faulty {
    /// Every fault.
    pub faults: Vec<Fault>,
    /// What was not checked, and why.
    pub unchecked: Option<String>,
}

impl Faulty {
    /// All of it as text.
    pub fn text(&self) -> String {
        let mut text = describe(&self.faults);
        if let Some(unchecked) = &self.unchecked {
            text.push('\n');
            text.push_str(unchecked);
        }
        text
    }
}

/// Reads and compiles all that the configuration in `file` names.
///
/// # Errors
/// The faults of the configuration and, as far as it can be made out where they are, of the policy files.
pub fn load(file: &Path) -> Result<Loaded, Faulty> {
    let config = config::load(file).map_err(|faults| and_policy(file, faults))?;
    match inputs(&config, file).compile(1) {
        Ok(snapshot) => Ok(Loaded { config, snapshot }),
        Err(faults) => Err(Faulty { faults, unchecked: None }),
    }
}

/// The token format of the configuration in `file`, also where it has faults elsewhere.
///
/// # Errors
/// The file, or the prefix in it, cannot be read.
pub fn token_format(file: &Path) -> anyhow::Result<TokenFormat> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Fault::of_file(file, format!("cannot be read: {error}")))?;
    let outline: Outline = yaml::parse(file, &text)?;
    Ok(match outline.token_prefix {
        Some(prefix) => TokenFormat::new(&prefix)?,
        None => TokenFormat::default(),
    })
}

/// The faults of the configuration, and those of the policy files by what can be made out of it.
pub fn and_policy(file: &Path, mut faults: Vec<Fault>) -> Faulty {
    let outlined = outline(file);
    let unchecked = outlined.is_none().then(|| {
        "the policy files were not checked: the configuration does not tell where they are, or which catalogs they are for"
            .to_owned()
    });
    if let Some(Err(found)) = outlined.map(|inputs| inputs.compile(1)) {
        faults.extend(found);
    }
    Faulty { faults, unchecked }
}

/// What is read of a configuration with faults: enough to check the policy files.
#[derive(Deserialize)]
struct Outline {
    policies: Option<PathBuf>,
    token_prefix: Option<String>,
    #[serde(default)]
    upstreams: Vec<OutlinedUpstream>,
}

#[derive(Deserialize)]
struct OutlinedUpstream {
    name: Option<String>,
    #[serde(default)]
    catalogs: Vec<String>,
}

fn outline(file: &Path) -> Option<Inputs> {
    let text = std::fs::read_to_string(file).ok()?;
    let outline: Outline = yaml::parse(file, &text).ok()?;
    let directory = file.parent().unwrap_or_else(|| Path::new("")).join(outline.policies?);
    let spec = |upstream: OutlinedUpstream| {
        Some(UpstreamSpec {
            name: upstream.name?,
            hosts: Vec::new(),
            path_prefix: None,
            catalogs: upstream.catalogs,
            classic: ClassicTokens::default(),
            file: file.to_owned(),
        })
    };
    let upstreams: Vec<_> = outline.upstreams.into_iter().filter_map(spec).collect();
    // Without catalogs every permission would be unknown, which is not what is wrong.
    let named = upstreams.iter().any(|upstream| !upstream.catalogs.is_empty());
    (named && directory.is_dir()).then(|| Inputs { directory, upstreams, format: TokenFormat::default() })
}
