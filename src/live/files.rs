//! Reads a policy directory.

use std::fs;
use std::path::{Path, PathBuf};

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
    let mut reader = Reader {
        sources: Vec::new(),
        faults: Vec::new(),
    };
    reader.folder(directory, "", 0);
    reader.sources.sort_by(|left, right| left.name.cmp(&right.name));
    if reader.faults.is_empty() {
        Ok(reader.sources)
    } else {
        Err(reader.faults)
    }
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
            let Ok(entry) = entry else { continue };
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
        let names: Vec<_> = read(root)
            .unwrap()
            .into_iter()
            .map(|source| source.name)
            .collect();
        assert_eq!(names, ["deny.yaml", "tokens/b.yaml", "tokens/team/a.yml"]);
        assert_eq!(read(&root.join("missing")).unwrap_err().len(), 1);
    }
}
