//! What is allowed and weakens the gateway all the same: told by `check` and at the start of `serve`.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use http::uri::Authority;

use crate::config::{AuditLines, AuditOutput, Config, Host, Identity, Upstream};
use crate::domain::lifecycle::rules::Keeper;
use crate::policy::snapshot::{Mode, Snapshot};
use crate::policy::upstream::UpstreamPolicy;

/// What weakens the configuration.
pub fn of_config(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.audit.output == AuditOutput::Off {
        warnings.push("`audit: danger_off`: nobody can tell later who did what".to_owned());
    }
    if config.audit.lines == AuditLines::Refused {
        warnings
            .push("`audit.requests: refused`: nobody can tell later what was done with a token".to_owned());
    }
    for listener in &config.listeners {
        if listener.tls.is_empty() && !listener.bind.ip().is_loopback() {
            let bind = listener.bind;
            warnings.push(format!("listener `{bind}` has no `tls`: tokens cross the network in the clear"));
        }
    }
    if let Some(control) = config.control.filter(|control| !control.ip().is_loopback()) {
        warnings.push(format!("`control` on `{control}` is open to the network"));
    }
    for upstream in &config.upstreams {
        if let Some(host) = clear_host(upstream)
            && credential_file(&upstream.identity).is_some()
        {
            warnings.push(format!(
                "upstream `{}` gets the gateway's own credential over plain HTTP at `{host}`; use `https://`",
                upstream.name
            ));
        }
    }
    for hook in &config.webhooks.hooks {
        if let Some(host) = hook.clear_host() {
            warnings.push(format!(
                "webhook `{}` is told of tokens over plain HTTP at `{host}`; use `https://`",
                hook.filter.name
            ));
        }
    }
    warnings.extend(secret_files(config).filter(|file| is_exposed(file)).map(|file| {
        format!(
            "everybody on this machine may read `{}`; take the permission away (`chmod o-r`)",
            file.display()
        )
    }));
    warnings
}

/// What policy files say and is not acted on.
pub fn of_policy(snapshot: &Snapshot) -> Vec<String> {
    let mut names: Vec<_> = snapshot
        .organizations
        .values()
        .filter(|organization| organization.mode == Mode::Shadow)
        .map(|organization| format!("the rules of organization `{}`", organization.name))
        .collect();
    let rules = snapshot.upstreams.iter().flat_map(UpstreamPolicy::deny_rules);
    names.extend(
        rules.filter(|rule| rule.mode == Mode::Shadow).map(|rule| format!("deny rule `{}`", rule.name)),
    );
    names.sort();
    names.dedup();
    names
        .into_iter()
        .map(|name| format!("{name}: mode `shadow`, judged and recorded, not acted on"))
        .collect()
}

/// Rules that nothing can change: their files leave them to a store that there is none of.
pub fn of_keepers(config: &Config, snapshot: &Snapshot) -> Vec<String> {
    if config.store.is_some() {
        return Vec::new();
    }
    let told = |name| {
        format!(
            "`{name}` says `managed: store`, and there is no `store`: its rules stay as its file has them"
        )
    };
    kept_elsewhere(snapshot).into_iter().map(told).collect()
}

/// Organizations, and the enterprise, whose files leave their rules to the store.
pub fn kept_elsewhere(snapshot: &Snapshot) -> Vec<&str> {
    let organizations = &snapshot.declared.organizations;
    let organizations = organizations.values().map(|declared| (&declared.name, declared.keeper));
    let enterprise = snapshot.declared.enterprise.iter().map(|declared| (&declared.name, declared.keeper));
    let kept = organizations.chain(enterprise).filter(|(_, keeper)| *keeper == Keeper::Store);
    let mut names: Vec<_> = kept.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

/// What groups of providers name and nothing comes of.
pub fn of_groups(config: &Config, snapshot: &Snapshot) -> Vec<String> {
    let mut warnings = Vec::new();
    for provider in config.api.iter().flat_map(|api| &api.oidc) {
        let name = &provider.name;
        for organization in provider.owners.keys().chain(provider.members.keys()) {
            if snapshot.organization(organization).is_none() {
                warnings.push(format!(
                    "groups of `{name}` are for `{organization}`, which has no policy file: nothing comes of them"
                ));
            }
        }
        let open = |organization: &&String| {
            snapshot.organization(organization).is_some_and(|organization| organization.members.is_none())
        };
        warnings.extend(provider.members.keys().filter(open).map(|organization| {
            format!("`{name}` has members of `{organization}`, where everybody may do everything: its policy file says no `members` (`members: {{}}` leaves them to groups)")
        }));
    }
    warnings.sort();
    warnings.dedup();
    warnings
}

/// The files that hold the gateway's own credentials, at its upstreams and at those who sign people in, and the
/// secrets that it signs with.
pub fn credential_files(config: &Config) -> impl Iterator<Item = &Path> {
    let upstreams = config.upstreams.iter().filter_map(|upstream| credential_file(&upstream.identity));
    let providers =
        config.api.iter().flat_map(|api| &api.oidc).map(|provider| provider.client_secret_file.as_path());
    let signs = config.webhooks.hooks.iter().map(|hook| hook.secret_file.as_path());
    upstreams.chain(providers).chain(signs)
}

fn credential_file(identity: &Identity) -> Option<&Path> {
    match identity {
        Identity::Basic { file, .. } | Identity::Bearer { file, .. } => Some(file),
        Identity::Sudo { token_file } => Some(token_file),
        Identity::TrustedHeader(_) | Identity::RemoteUser => None,
    }
}

fn secret_files(config: &Config) -> impl Iterator<Item = &Path> {
    let certificates = config.listeners.iter().flat_map(|listener| &listener.tls);
    certificates.map(|certificate| certificate.key.as_path()).chain(credential_files(config))
}

/// Whether everybody on this machine may read `file`.
pub fn is_exposed(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// The host of an upstream on another machine that is spoken to without TLS.
fn clear_host(upstream: &Upstream) -> Option<&str> {
    let Host::Http { authority, tls: None, .. } = &upstream.host else {
        return None;
    };
    let parsed: Authority = authority.parse().ok()?;
    let host = parsed.host().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    (!here).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_keepers_for_nothing_are_told() {
        let site = tempfile::tempdir().unwrap();
        let organizations = site.path().join("policies/organizations");
        std::fs::create_dir_all(&organizations).unwrap();
        for (name, members) in [("acme", ""), ("umbrella", "members: {}\nmanaged: store\n")] {
            let text = format!("organization: {name}\nowners: [alice]\n{members}");
            std::fs::write(organizations.join(format!("{name}.yaml")), text).unwrap();
        }
        std::fs::write(site.path().join("b"), "x").unwrap();
        let file = site.path().join("portcullis.yaml");
        let text = "listeners: [{ bind: 127.0.0.1:0 }]\npolicies: policies\nstore: sqlite:a.db\n\
             upstreams: [{ name: a, hosts: [a], url: 'http://a', catalogs: [git], identity: { trusted_header: X-User } }]\n\
             api: { url: 'https://t', oidc: [{ name: sso, issuer: 'https://sso', client_id: a, client_secret_file: b, \
             owners: { gone: [x], acme: [x] }, members: { gone: { x: read }, Acme: { x: read }, umbrella: { x: read } } }] }\n";
        let config = crate::config::parse(&file, text).unwrap();
        let snapshot = crate::app::start::inputs(&config, &file).compile(1).unwrap();
        assert_eq!(of_keepers(&config, &snapshot), Vec::<String>::new());
        let config = Config { store: None, ..config };
        let [kept] = of_keepers(&config, &snapshot).try_into().unwrap();
        assert!(kept.starts_with("`umbrella` says `managed: store`, and there is no `store`"), "{kept}");
        let warnings = of_groups(&config, &snapshot);
        let [acme, gone] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert!(acme.starts_with("`sso` has members of `Acme`, where everybody may do everything"), "{acme}");
        assert!(gone.starts_with("groups of `sso` are for `gone`, which has no policy file"), "{gone}");
    }

    #[test]
    fn a_webhook_in_the_clear_and_a_secret_that_everybody_reads_are_told() {
        let site = tempfile::tempdir().unwrap();
        std::fs::create_dir(site.path().join("policies")).unwrap();
        std::fs::write(site.path().join("secret"), "x").unwrap();
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(site.path().join("secret"), open).unwrap();
        let text = "listeners: [{ bind: 127.0.0.1:0 }]\npolicies: policies\nstore: sqlite:a.db\n\
             upstreams: [{ name: a, hosts: [a], url: 'http://a', catalogs: [git], identity: { trusted_header: X-User } }]\n\
             webhooks:\n- { name: far, url: 'http://h/hidden', secret_file: secret }\n\
             - { name: near, url: 'http://localhost:80', secret_file: secret }\n\
             - { name: safe, url: 'https://h', secret_file: secret }\n";
        let config = crate::config::parse(&site.path().join("portcullis.yaml"), text).unwrap();
        let warnings = of_config(&config);
        let of_hooks: Vec<_> = warnings.iter().filter(|warning| warning.contains("webhook")).collect();
        assert_eq!(
            of_hooks,
            ["webhook `far` is told of tokens over plain HTTP at `h:80`; use `https://`"],
            "{warnings:?}"
        );
        let exposed =
            format!("everybody on this machine may read `{}`", site.path().join("secret").display());
        assert!(warnings.iter().any(|warning| warning.starts_with(&exposed)), "{warnings:?}");
    }
}
