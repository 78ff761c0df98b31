//! Notices that files changed.
//!
//! Watches folders, not files: editors rename and replace, Kubernetes swaps a link. Events only say "look again": what
//! is read then decides. Should the watch itself break (too many watches, a file system without events), the folder
//! is looked at every second.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::live::Look;

/// How long files must be left alone before they are read: an editor that renames, a copy that has written half, and
/// several files saved at once are read once, when they are whole.
const SETTLE: Duration = Duration::from_millis(50);

/// How often that may happen again before they are read all the same: a change is in force within a second.
const MOST_SETTLES: usize = 10;

/// How often is looked without an event: a lost event costs no more than this.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// Waits for changes of some files and folders.
#[derive(Debug)]
pub struct Changes {
    events: mpsc::Receiver<()>,
    roots: Vec<PathBuf>,
    watcher: Option<RecommendedWatcher>,
    /// With their inodes: a folder that was replaced by another one of its name is watched anew.
    watched: BTreeSet<(PathBuf, u64)>,
}

impl Changes {
    /// Watches `roots` (files or folders) and what lies below them.
    pub fn of(roots: Vec<PathBuf>) -> Self {
        // One place is enough: an event only says that something changed.
        let (sender, events) = mpsc::channel(1);
        let meant = roots.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let counts = event.map_or(true, |event| is_meant(&event, &meant));
            if counts && let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                tracing::debug!("file events come after the end");
            }
        });
        let watcher = watcher
            .map_err(|error| tracing::warn!(%error, "file events are not available; looking every second"))
            .ok();
        let mut changes = Self { events, roots, watcher, watched: BTreeSet::new() };
        changes.watch_folders();
        changes
    }

    /// Waits until something has changed, or for a second, and says how closely to look.
    ///
    /// # Cancel safety
    /// Nothing is lost when this is dropped: after a second is looked anyway.
    pub async fn next(&mut self) -> Look {
        let event = tokio::time::timeout(LOOK_ANYWAY, self.events.recv()).await;
        let look = if let Ok(Some(())) = event {
            for _ in 0..MOST_SETTLES {
                if tokio::time::timeout(SETTLE, self.events.recv()).await.is_err() {
                    break;
                }
            }
            Look::AtTexts
        } else {
            Look::AtStamps
        };
        self.watch_folders();
        look
    }

    /// Watches folders that have appeared, each by itself: links are followed, so that the target of a swapped link is
    /// watched too.
    fn watch_folders(&mut self) {
        let mut folders = BTreeSet::new();
        for root in &self.roots {
            collect(root, &mut folders, 0);
        }
        let folders: BTreeSet<_> = folders
            .into_iter()
            .filter_map(|folder| Some((std::fs::metadata(&folder).ok()?.ino(), folder)))
            .map(|(inode, folder)| (folder, inode))
            .collect();
        let Some(watcher) = &mut self.watcher else { return };
        for (gone, _) in self.watched.difference(&folders) {
            // The folder is usually gone already, and its watch with it.
            if let Err(error) = watcher.unwatch(gone) {
                tracing::debug!(%error, "a folder is no longer watched");
            }
        }
        let mut kept: BTreeSet<_> = self.watched.intersection(&folders).cloned().collect();
        for (new, inode) in folders.difference(&self.watched) {
            match watcher.watch(new, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    kept.insert((new.clone(), *inode));
                }
                Err(error) => {
                    tracing::debug!(%error, folder = %new.display(), "cannot be watched; looking every second");
                }
            }
        }
        self.watched = kept;
    }
}

/// Whether an event may be about one of `roots`. Their folders hold other files too, which are written all the time (a
/// log): what is written there says nothing, but what is made, renamed or removed there may be a link that leads to a root.
fn is_meant(event: &notify::Event, roots: &[PathBuf]) -> bool {
    let below = |path: &PathBuf| roots.iter().any(|root| path.starts_with(root));
    match event.kind {
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => event.paths.iter().any(below),
        EventKind::Modify(ModifyKind::Any | ModifyKind::Name(_) | ModifyKind::Other)
        | EventKind::Any
        | EventKind::Create(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

fn collect(path: &Path, folders: &mut BTreeSet<PathBuf>, depth: usize) {
    if depth == 0 {
        // A root itself may be replaced.
        folders.extend(path.parent().filter(|parent| parent.is_dir()).map(Path::to_path_buf));
    }
    if !path.is_dir() {
        return;
    }
    folders.insert(path.to_path_buf());
    let Ok(entries) = std::fs::read_dir(path) else {
        return;
    };
    for entry in entries.flatten() {
        let below = entry.path();
        if depth < 5 && below.is_dir() {
            collect(&below, folders, depth + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event must come well before the second after which is looked anyway.
    async fn noticed(changes: &mut Changes, what: &str) {
        let event = tokio::time::timeout(Duration::from_millis(800), changes.events.recv()).await;
        assert!(event.is_ok(), "{what} was not noticed");
    }

    #[tokio::test]
    async fn writes_renames_and_swapped_links_are_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for version in ["v1", "v2"] {
            std::fs::create_dir_all(root.join(version)).unwrap();
            std::fs::write(root.join(version).join("a.yaml"), version).unwrap();
        }
        std::os::unix::fs::symlink("v1", root.join("..data")).unwrap();
        let mut changes = Changes::of(vec![root.to_path_buf()]);
        std::fs::write(root.join("b.yaml"), "x").unwrap();
        noticed(&mut changes, "a write").await;
        changes.next().await;
        std::fs::write(root.join("b.new"), "y").unwrap();
        std::fs::rename(root.join("b.new"), root.join("b.yaml")).unwrap();
        noticed(&mut changes, "a rename").await;
        changes.next().await;
        std::os::unix::fs::symlink("v2", root.join("..tmp")).unwrap();
        std::fs::rename(root.join("..tmp"), root.join("..data")).unwrap();
        noticed(&mut changes, "a swapped link").await;
        std::fs::create_dir(root.join("tokens")).unwrap();
        changes.next().await;
        changes.next().await;
        std::fs::write(root.join("tokens/new.yaml"), "x").unwrap();
        noticed(&mut changes, "a write in a new folder").await;
    }

    #[tokio::test]
    async fn replaced_folders_are_watched_and_logs_beside_them_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("policies");
        let other = directory.path().join("other");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(directory.path().join("audit.log"), "").unwrap();
        let mut changes = Changes::of(vec![root.clone()]);
        std::fs::write(directory.path().join("audit.log"), "a line").unwrap();
        assert_eq!(changes.next().await, Look::AtStamps, "a log is no event");
        std::fs::create_dir(&other).unwrap();
        std::fs::rename(&root, directory.path().join("old")).unwrap();
        std::fs::rename(&other, &root).unwrap();
        assert_eq!(changes.next().await, Look::AtTexts);
        while changes.next().await == Look::AtTexts {}
        std::fs::write(root.join("new.yaml"), "x").unwrap();
        noticed(&mut changes, "a write in the replaced folder").await;
    }
}
