//! Catalogs: what a kind of host offers, and which permission each of its routes needs.
//!
//! Pure. `document` is what people write, `template` the grammar of a route's path, `compile` checks a document,
//! `table` matches requests. Deny by default: what no catalog lists does not pass.

pub mod compile;
pub mod document;
pub mod errors;
pub mod requirement;
pub mod table;
pub mod template;

/// The catalogs that are built in: file name and text. A file of the same catalog name in the policy directory
/// replaces one.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("catalogs/git.yaml", include_str!("../../policies/catalogs/git.yaml")),
    ("catalogs/github.yaml", include_str!("../../policies/catalogs/github.yaml")),
    ("catalogs/portcullis.yaml", include_str!("../../policies/catalogs/portcullis.yaml")),
];
