//! Reads a policy directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use crate::domain::fault::Fault;
use crate::policy::compile::Source;

/// The largest policy file, bytes: a million declared tokens take about a quarter of it.
const FILE_LIMIT: u64 = 1 << 30;

/// How deep folders may lie below the policy directory.
const DEPTH: usize = 4;

/// Every YAML file below `directory`, sorted by name. Hidden files and folders (also the `..data` links of Kubernetes)
/// and editors' leftovers (`*~`) are passed over; so are files that are not YAML.
///
/// # Errors
/// Every file or folder that cannot be read.
pub fn read(directory: &Path) -> Result<Vec<Source>, Vec<Fault>> {
    let mut reader = Reader { sources: Vec::new(), faults: Vec::new() };
    reader.folder(directory, "", 0);
    reader.sources.sort_by(|left, right| left.name.cmp(&right.name));
    if reader.faults.is_empty() { Ok(reader.sources) } else { Err(reader.faults) }
}

/// How often files that change while they are read are read again.
const ATTEMPTS: usize = 5;

/// What [`read`] gives, and the stamps of what was read. `None` where the files changed while they were read, each time
/// anew: what was read may be half of one policy and half of the next one.
#[expect(clippy::type_complexity, reason = "read once, at both places that call it")]
pub fn read_at_rest(directory: &Path) -> Option<(Vec<Stamp>, Result<Vec<Source>, Vec<Fault>>)> {
    let mut before = stamps(directory);
    for _ in 0..ATTEMPTS {
        let sources = read(directory);
        let after = stamps(directory);
        if before == after {
            return Some((after, sources));
        }
        before = after;
    }
    None
}

/// What can be told of a file without reading it: name, length, inode, time of change in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp(PathBuf, u64, u64, i64);

/// The stamps of every file and folder below `root`, or of `root` itself where it is a file. What cannot be looked at
/// is left out.
pub fn stamps(root: &Path) -> Vec<Stamp> {
    let mut stamps = Vec::new();
    stamp(root, 0, &mut stamps);
    stamps
}

fn stamp(path: &Path, depth: usize, stamps: &mut Vec<Stamp>) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let changed = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
    stamps.push(Stamp(path.to_owned(), metadata.len(), metadata.ino(), changed));
    if !metadata.is_dir() || depth > DEPTH {
        return;
    }
    let Ok(entries) = fs::read_dir(path) else { return };
    let mut below: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    below.sort();
    for path in &below {
        stamp(path, depth + 1, stamps);
    }
}

/// SHA-256 over the names and texts of some files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextsDigest([u8; 32]);

/// The digest of `sources`.
pub fn digest(sources: &[Source]) -> TextsDigest {
    let mut context = Context::new(&SHA256);
    for Source { name, text, .. } in sources {
        for part in [name, text] {
            context.update(&part.len().to_le_bytes());
            context.update(part.as_bytes());
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    TextsDigest(bytes)
}

struct Reader {
    sources: Vec<Source>,
    faults: Vec<Fault>,
}

impl Reader {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.fault(folder, format!("the folder cannot be read: {error}")),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.fault(folder, format!("the folder cannot be read: {error}")),
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            let path = entry.path();
            let name = format!("{prefix}{name}");
            // Follows links: Kubernetes mounts files as links.
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() && depth < DEPTH => {
                    self.folder(&path, &format!("{name}/"), depth + 1);
                }
                Ok(metadata) if metadata.is_dir() => {
                    self.fault(&path, format!("more than {DEPTH} folders deep; move it up"));
                }
                Ok(metadata) if is_yaml(&name) => self.file(path, name, metadata.len()),
                Err(error) if is_yaml(&name) => self.fault(&path, format!("cannot be read: {error}")),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn file(&mut self, file: PathBuf, name: String, length: u64) {
        if length > FILE_LIMIT {
            return self.fault(&file, "larger than 1 GiB; split it".to_owned());
        }
        match fs::read_to_string(&file) {
            Ok(text) => self.sources.push(Source { name, file, text }),
            Err(error) => self.fault(&file, format!("cannot be read: {error}")),
        }
    }

    fn fault(&mut self, file: &Path, message: String) {
        self.faults.push(Fault::of_file(file, message));
    }
}

fn is_yaml(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ending.eq_ignore_ascii_case("yaml") || ending.eq_ignore_ascii_case("yml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_yaml_and_passes_over_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("tokens/team")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        for name in [
            "tokens/b.yaml",
            "tokens/team/a.yml",
            "deny.yaml",
            ".git/x.yaml",
            "tokens/.b.yaml.swp",
            "x.yaml~",
            "README.md",
        ] {
            fs::write(root.join(name), "a: 1\n").unwrap();
        }
        let names: Vec<_> = read(root).unwrap().into_iter().map(|source| source.name).collect();
        assert_eq!(names, ["deny.yaml", "tokens/b.yaml", "tokens/team/a.yml"]);
        assert_eq!(read(&root.join("missing")).unwrap_err().len(), 1);
    }
}
