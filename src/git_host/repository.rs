//! From the path of a request to a bare repository on disk.
//!
//! The gateway compares names without regard to ASCII case and without `.git`; the file system does neither. What is
//! found here is the repository that was judged, or nothing: git is never left to guess another one.

use std::path::{Path, PathBuf};

use crate::domain::resource::{owner_name, repository_name, strip_suffix_ignoring_case};
use crate::domain::target::{CanonicalTarget, decode_once};

/// A repository on disk, and what of it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Relative to the directory of all repositories; no symbolic link is left in it.
    pub(super) repository: PathBuf,
    /// The file or service: `info/refs`, `git-upload-pack`.
    pub(super) service: String,
}

/// The place that `target` names below `directory`, which is canonical.
pub(super) fn find(directory: &Path, target: &CanonicalTarget) -> Option<Place> {
    let mut segments = target.segments();
    let owner = decode_once(segments.next()?);
    let name = decode_once(segments.next()?);
    let service = decode_once(segments.rest()?);
    let name = stem(&name)?;
    if !is_service(&service) {
        return None;
    }
    let owner = directory.join(entry(directory, &[owner_name(&owner).ok()?])?);
    let found = owner.join(entry(&owner, &[&format!("{name}.git"), name])?);
    let found = found.canonicalize().ok()?;
    let repository = found.strip_prefix(directory).ok()?;
    is_bare(&found).then(|| Place { repository: repository.to_owned(), service: service.into_owned() })
}

/// `name` without its one `.git`. Nothing for a name that could stand for another repository than was judged.
fn stem(name: &str) -> Option<&str> {
    let stem = owner_name(strip_suffix_ignoring_case(name, ".git").unwrap_or(name)).ok()?;
    let repository = strip_suffix_ignoring_case(stem, ".wiki").unwrap_or(stem);
    (repository_name(repository) == Ok(repository)).then_some(stem)
}

/// The entry of `directory` that is named as the first of `names` that exists, but for case. Nothing where two entries
/// differ in case only: a grant for one would open the other.
fn entry(directory: &Path, names: &[&str]) -> Option<String> {
    let entries: Vec<String> =
        directory.read_dir().ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let of_name = |name: &&str| {
        let mut found = entries.iter().filter(|entry| entry.eq_ignore_ascii_case(name));
        let first = found.next()?;
        Some(found.next().is_none().then(|| first.clone()))
    };
    names.iter().find_map(of_name).flatten()
}

/// Whether git would open this very directory. Given one that holds a `.git`, it would open that instead.
fn is_bare(path: &Path) -> bool {
    let exists = |name: &str| path.join(name).symlink_metadata().is_ok();
    exists("HEAD") && path.join("objects").is_dir() && !exists(".git")
}

/// Whether `rest` is, as a whole, one of the files and services of git-http-backend(1).
///
/// It looks for them at the end of the path, so that a longer path would open a repository that lies within the one
/// that was judged. `objects/info/alternates` is left out: it tells paths of this machine, and no client can use them.
fn is_service(rest: &str) -> bool {
    match rest.strip_prefix("objects/") {
        Some(path) => matches!(path, "info/packs" | "info/http-alternates") || is_object(path),
        None => matches!(rest, "HEAD" | "info/refs" | "git-upload-pack" | "git-receive-pack"),
    }
}

/// `12/3456…`, a loose object, or `pack/pack-1234….pack` or `.idx`; names are SHA-1 or SHA-256.
fn is_object(path: &str) -> bool {
    let hexadecimal = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match path.split_once('/') {
        Some(("pack", file)) => file
            .strip_suffix(".pack")
            .or_else(|| file.strip_suffix(".idx"))
            .and_then(|file| file.strip_prefix("pack-"))
            .is_some_and(|name| matches!(name.len(), 40 | 64) && hexadecimal(name)),
        Some((first, rest)) => {
            first.len() == 2 && matches!(rest.len(), 38 | 62) && hexadecimal(first) && hexadecimal(rest)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory that passes for a bare repository.
    fn bare(path: &Path) {
        fs::create_dir_all(path.join("objects")).unwrap();
        fs::write(path.join("HEAD"), "ref: refs/heads/main\n").unwrap();
    }

    #[track_caller]
    fn check(root: &Path, target: &str, want: Option<&str>) {
        let parsed = CanonicalTarget::parse(target).unwrap();
        let found = find(&root.canonicalize().unwrap(), &parsed);
        assert_eq!(found.as_ref().and_then(|place| place.repository.to_str()), want, "{target}");
    }

    #[test]
    fn names_are_found_as_the_gateway_compares_them() {
        let root = tempfile::tempdir().unwrap();
        for name in
            ["acme/alpha.git", "acme/beta", "acme/Gamma.git", "Umbrella/T-Virus.git", "acme/alpha.wiki.git"]
        {
            bare(&root.path().join(name));
        }
        for name in ["acme/twin.git", "acme/twin", "acme/TWO.git", "acme/Two.git"] {
            bare(&root.path().join(name));
        }
        let root = root.path();
        check(root, "/acme/alpha.git/info/refs?service=git-upload-pack", Some("acme/alpha.git"));
        check(root, "/acme/alpha/info/refs", Some("acme/alpha.git"));
        check(root, "/acme/alpha.GIT/HEAD", Some("acme/alpha.git"));
        check(root, "/acme/al%70ha/git-upload%2Dpack", Some("acme/alpha.git"));
        check(root, "/ACME/ALPHA/git-receive-pack", Some("acme/alpha.git"));
        check(root, "/acme/beta.git/HEAD", Some("acme/beta"));
        check(root, "/acme/gamma/HEAD", Some("acme/Gamma.git"));
        check(root, "/umbrella/t-virus.git/HEAD", Some("Umbrella/T-Virus.git"));
        check(root, "/acme/alpha.wiki.git/HEAD", Some("acme/alpha.wiki.git"));
        check(root, "/acme/alpha.wiki/HEAD", Some("acme/alpha.wiki.git"));
        check(root, "/acme/twin/HEAD", Some("acme/twin.git"));
        check(root, "/acme/Two/HEAD", None);
        check(root, "/acme/two/HEAD", None);
        check(root, "/acme/delta/HEAD", None);
        check(root, "/nobody/alpha/HEAD", None);
        check(root, "/acme/alpha.git.git/HEAD", None);
        check(root, "/acme/alpha.git.wiki.git/HEAD", None);
        check(root, "/acme/alpha.git", None);
        check(root, "/acme", None);
        check(root, "/", None);
        check(root, "/acme%2Falpha.git/HEAD/info/refs", None);
        check(root, "/acme/alpha%C3%A4/HEAD", None);
    }

    #[test]
    fn nothing_but_a_bare_repository_below_the_directory_is_found() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        bare(&outside.path().join("secret.git"));
        bare(&root.path().join("acme/alpha.git"));
        bare(&root.path().join("acme/tree"));
        fs::create_dir_all(root.path().join("acme/tree/.git")).unwrap();
        fs::create_dir_all(root.path().join("acme/empty.git")).unwrap();
        fs::write(root.path().join("acme/file.git"), "gitdir: /elsewhere").unwrap();
        symlink(outside.path().join("secret.git"), root.path().join("acme/secret.git")).unwrap();
        symlink(outside.path(), root.path().join("other")).unwrap();
        symlink("alpha.git", root.path().join("acme/alias.git")).unwrap();
        let root = root.path();
        check(root, "/acme/alias/HEAD", Some("acme/alpha.git"));
        for target in ["/acme/secret/HEAD", "/other/secret/HEAD", "/acme/tree/HEAD", "/acme/empty/HEAD"] {
            check(root, target, None);
        }
        check(root, "/acme/file/HEAD", None);
    }

    #[test]
    fn a_service_is_the_whole_rest_of_the_path() {
        let (sha1, sha256) = ("0a".repeat(20), "0a".repeat(32));
        let pack = |name: &str, end: &str| format!("objects/pack/pack-{name}.{end}");
        for rest in [pack(&sha1, "pack"), pack(&sha256, "idx"), format!("objects/ff/{}", "0".repeat(38))] {
            assert!(is_service(&rest), "{rest}");
        }
        for rest in [
            "",
            "HEAD/",
            "config",
            "hooks/update",
            "modules/sub/HEAD",
            "sub.git/git-receive-pack",
            "git-upload-archive",
            "objects/info/alternates",
            "objects/0a/short",
            &pack("0a", "pack"),
            &pack(&sha1, "keep"),
            &format!("objects/FF/{}", "0".repeat(38)),
        ] {
            assert!(!is_service(rest), "{rest}");
        }
    }
}
