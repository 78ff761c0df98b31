//! Notices that files changed.
//!
//! Watches folders, not files: editors rename and replace, Kubernetes swaps a link. Events only say "look again": what
//! is read then decides. Should the watch itself break (too many watches, a file system without events), the folder
//! is looked at every second.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
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
    watched: BTreeSet<PathBuf>,
}

impl Changes {
    /// Watches `roots` (files or folders) and what lies below them.
    pub fn of(roots: Vec<PathBuf>) -> Self {
        // One place is enough: an event only says that something changed.
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let reading = event.is_ok_and(|event| event.kind.is_access());
            if !reading && let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                tracing::debug!("file events come after the end");
            }
        });
        let watcher = watcher
            .map_err(|error| tracing::warn!(%error, "file events are not available; looking every second"))
            .ok();
        let mut changes = Self {
            events,
            roots,
            watcher,
            watched: BTreeSet::new(),
        };
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
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(&folders) {
            // The folder is usually gone already, and its watch with it.
            if let Err(error) = watcher.unwatch(gone) {
                tracing::debug!(%error, "a folder is no longer watched");
            }
        }
        let mut kept: BTreeSet<PathBuf> = self.watched.intersection(&folders).cloned().collect();
        for new in folders.difference(&self.watched) {
            match watcher.watch(new, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    kept.insert(new.clone());
                }
                Err(error) => {
                    tracing::debug!(%error, folder = %new.display(), "cannot be watched; looking every second");
                }
            }
        }
        self.watched = kept;
    }
}

fn collect(path: &Path, folders: &mut BTreeSet<PathBuf>, depth: usize) {
    if !path.is_dir() {
        folders.extend(
            path.parent()
                .filter(|parent| parent.is_dir())
                .map(Path::to_path_buf),
        );
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
}
