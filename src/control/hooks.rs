//! How deliveries to webhooks go, for scrapes.

use std::fmt::Write as _;

use crate::hooks::tally::{Outcome, Tally};

/// The metrics in Prometheus' text format.
pub(super) fn render(tally: &Tally) -> String {
    let counts = tally.deliveries();
    let mut text = String::from(
        "# HELP portcullis_webhook_deliveries Notices that wait for a webhook, or were given up.\n\
         # TYPE portcullis_webhook_deliveries gauge\n",
    );
    // Writing into a text cannot fail.
    for (state, count) in [("pending", counts.pending), ("failed", counts.failed)] {
        writeln!(text, "portcullis_webhook_deliveries{{state=\"{state}\"}} {count}").ok();
    }
    text.push_str(
        "# HELP portcullis_webhook_attempts_total Attempts to deliver a notice to a webhook.\n\
         # TYPE portcullis_webhook_attempts_total counter\n",
    );
    for outcome in Outcome::ALL {
        let (word, count) = (outcome.as_str(), tally.attempts(outcome));
        writeln!(text, "portcullis_webhook_attempts_total{{outcome=\"{word}\"}} {count}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start_and_described() {
        let text = render(&Tally::default());
        assert_eq!(text.lines().filter(|line| line.ends_with(" 0")).count(), 6, "{text}");
        let page = include_str!("../../docs/metrics.md");
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(page.contains(&format!("\n### `{name}{{")), "{name} is not described");
        }
        for outcome in Outcome::ALL {
            assert!(page.contains(&format!("`{}`", outcome.as_str())), "{outcome:?}");
        }
    }
}
