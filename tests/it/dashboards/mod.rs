//! What operators are given beside the program: rules and runbooks that agree, dashboards that hold together, and every
//! query of them asked of a real Prometheus that watches a gateway under load.

mod board;
mod live;
mod load;
mod rules;

use std::fs;
use std::path::Path;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of metrics in an expression or a page: words that begin as all of ours do.
fn metrics_in(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != ':')
        .filter(|word| word.starts_with("portcullis_") || word.starts_with("process_"))
}
