//! `bundles.yaml`: permissions that are asked for together, by one name.

use std::collections::BTreeMap;

use crate::domain::fault::Fault;
use crate::domain::lifecycle::terms::Permissions;
use crate::domain::permission::Vocabulary;
use crate::policy::compile::{Kind, Source};
use crate::policy::document::BundlesDocument;
use crate::policy::tokens::permission::{PermissionFault, permission_level};
use crate::yaml;

/// Bundles by name.
pub type Bundles = BTreeMap<String, Permissions>;

/// The bundles of `sources`; adds what is wrong with them.
pub(super) fn compile(sources: &[Source], vocabulary: &Vocabulary, faults: &mut Vec<Fault>) -> Bundles {
    let mut bundles = Bundles::new();
    for source in sources.iter().filter(|source| Kind::of(&source.name) == Some(Kind::Bundles)) {
        let document = match yaml::parse::<BundlesDocument>(&source.file, &source.text) {
            Ok(document) => document,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        for (name, levels) in &document.bundles.0 {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.value.is_empty() || !name.value.bytes().all(plain) {
                let message = "a bundle's name holds lower-case letters, digits and `-`";
                faults.push(source.fault(name, message));
            }
            let mut permissions = Permissions::default();
            for (permission, level) in &levels.value.0 {
                match permission_level(vocabulary, &permission.value, &level.value) {
                    Ok((id, level)) => {
                        if let Some(known) = vocabulary.permission(id) {
                            permissions.of_mut(known.scope).insert(known.name.clone(), level);
                        }
                    }
                    Err(PermissionFault::Name(message)) => faults.push(source.fault(permission, message)),
                    Err(PermissionFault::Level(message)) => faults.push(source.fault(level, message)),
                }
            }
            bundles.insert(name.value.clone(), permissions);
        }
    }
    bundles
}
