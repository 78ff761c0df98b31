//! What a service manager is told (`sd_notify(3)`); nothing where `NOTIFY_SOCKET` names nobody to tell.

use sd_notify::NotifyState;

/// The gateway serves; `status` is one line for people.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Files are read again because somebody asked for it. [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager is not told of the reload"),
    }
}

/// Another line for people.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The gateway drains, and ends then.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// The service is the process `pid` from now on. Said by the old one: nobody else is believed yet.
pub(super) fn succeeded_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager (`NOTIFY_SOCKET`) cannot be told");
    }
}
