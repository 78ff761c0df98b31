//! Finds the files of a policy directory, and tells whether they have changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::domain::fault::Fault;

/// The largest policy file, bytes: a million declared tokens take about a quarter of it.
pub const FILE_LIMIT: u64 = 1 << 30;

/// How deep folders may lie below the policy directory.
const DEPTH: usize = 4;

/// A policy file that has not been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Its path below the policy directory, with `/`.
    pub name: String,
    /// Its path as an operator would name it.
    pub path: PathBuf,
    /// Its length, bytes.
    pub length: u64,
}

/// Every policy file below `directory`, sorted by name. Hidden files and folders (also the `..data` links of Kubernetes)
/// and editors' leftovers (`*~`) are passed over; so are files that are neither YAML nor JSON lines.
///
/// # Errors
/// Every file or folder that cannot be looked at.
pub fn list(directory: &Path) -> Result<Vec<PolicyFile>, Vec<Fault>> {
    let mut reader = Reader { files: Vec::new(), faults: Vec::new() };
    reader.folder(directory, "", 0);
    reader.files.sort_by(|left, right| left.name.cmp(&right.name));
    if reader.faults.is_empty() { Ok(reader.files) } else { Err(reader.faults) }
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

struct Reader {
    files: Vec<PolicyFile>,
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
                Ok(metadata) if is_policy(&name) => self.file(path, name, metadata.len()),
                Err(error) if is_policy(&name) => self.fault(&path, format!("cannot be read: {error}")),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn file(&mut self, file: PathBuf, name: String, length: u64) {
        if length > FILE_LIMIT {
            return self.fault(&file, "larger than 1 GiB; split it".to_owned());
        }
        self.files.push(PolicyFile { name, path: file, length });
    }

    fn fault(&mut self, file: &Path, message: String) {
        self.faults.push(Fault::of_file(file, message));
    }
}

fn is_policy(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    let known = ["yaml", "yml", "jsonl"];
    ending.is_some_and(|ending| known.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_policy_files_and_passes_over_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("tokens/team")).unwrap();
        fs::create_dir_all(root.join(".git")).unwrap();
        for name in [
            "tokens/b.yaml",
            "tokens/team/a.yml",
            "tokens/c.jsonl",
            "deny.yaml",
            ".git/x.yaml",
            "tokens/.b.yaml.swp",
            "x.yaml~",
            "README.md",
        ] {
            fs::write(root.join(name), "a: 1\n").unwrap();
        }
        let names: Vec<_> = list(root).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["deny.yaml", "tokens/b.yaml", "tokens/c.jsonl", "tokens/team/a.yml"]);
        assert_eq!(list(&root.join("missing")).unwrap_err().len(), 1);
    }
}
