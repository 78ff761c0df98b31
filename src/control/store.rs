//! How the store is, for scrapes and probes.

use crate::store::Health;

/// The metrics in Prometheus' text format.
pub(super) fn render(health: Health) -> String {
    let rows = [
        (
            "portcullis_store_readable",
            "Whether the last look at the store succeeded.",
            i64::from(health.readable),
        ),
        (
            "portcullis_store_writable",
            "Whether the last attempt to change the store succeeded.",
            i64::from(health.writable),
        ),
        (
            "portcullis_store_followed_timestamp_seconds",
            "When everything in the store was last known to be in force, as Unix time.",
            health.followed_at.0,
        ),
    ];
    let text = |(name, help, value)| format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
    rows.map(text).concat()
}

/// What is wrong with it, a line each. None of it makes the gateway unready: what is in memory goes on being enforced.
pub(super) fn complaints(health: Health) -> String {
    let mut lines = String::new();
    if !health.readable {
        lines.push_str("store: cannot be read; what is in memory is enforced, see the log\n");
    }
    if !health.writable {
        lines.push_str("store: the last change failed; tokens cannot be changed, see the log\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::grant::UnixTime;

    #[test]
    fn a_store_that_fails_is_told() {
        let health = Health { readable: true, writable: true, followed_at: UnixTime(7) };
        assert_eq!(complaints(health), "");
        assert!(render(health).contains("\nportcullis_store_followed_timestamp_seconds 7\n"));
        let failing = Health { readable: false, writable: false, ..health };
        assert_eq!(complaints(failing).lines().count(), 2);
        assert!(render(failing).contains("\nportcullis_store_readable 0\n"));
    }
}
