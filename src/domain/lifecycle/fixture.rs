//! Terms and parts out of one line of text, and back, for tests.

use crate::domain::lifecycle::Part;
use crate::domain::lifecycle::terms::{Names, Permissions, Reach, Terms};
use crate::domain::permission::{Level, Scope};

/// Permissions of a scope other than `repository`.
const SCOPES: [(&str, Scope); 4] = [
    ("members", Scope::Organization),
    ("organization_administration", Scope::Organization),
    ("emails", Scope::User),
    ("profile", Scope::User),
];

/// `all contents=read`, `alpha,beta contents=write,members=read`, `- …` for public ones.
pub(crate) fn terms(text: &str) -> Terms {
    let (reach, permissions) = text.split_once(' ').unwrap_or((text, ""));
    let reach = match reach {
        "all" => Reach::All,
        "-" => Reach::Public,
        "[]" => Reach::Subset(Names::default()),
        names => Reach::Subset(Names::new(names.split(',').map(str::to_owned).collect())),
    };
    let mut held = Permissions::default();
    for pair in permissions.split(',').filter(|pair| !pair.is_empty()) {
        let (name, level) = pair.split_once('=').unwrap();
        let scope =
            SCOPES.iter().find(|(known, _)| *known == name).map_or(Scope::Repository, |known| known.1);
        held.of_mut(scope).insert(name.into(), Level::parse(level).unwrap());
    }
    Terms { reach, permissions: held }
}

/// `acme all contents=read`: a resource owner before the terms.
pub(crate) fn part(text: &str) -> Part {
    let (owner, rest) = text.split_once(' ').unwrap();
    Part { owner: owner.into(), terms: terms(rest) }
}

/// What [`part`] reads.
pub(crate) fn shown(part: &Part) -> String {
    let Terms { reach, permissions } = &part.terms;
    let reach = match reach {
        Reach::All => "all".to_owned(),
        Reach::Public => "-".to_owned(),
        Reach::Subset(names) if names.as_slice().is_empty() => "[]".to_owned(),
        Reach::Subset(names) => names.as_slice().join(","),
    };
    let held: Vec<_> = permissions.iter().map(|(_, name, level)| format!("{name}={level}")).collect();
    format!("{} {reach} {}", part.owner, held.join(",")).trim_end().to_owned()
}

/// What `terms` open, item by item: at the owner as a whole, which has no name, at some repositories, and at `*`, one that
/// nobody has named, as it may still come.
pub(crate) fn opened(terms: &Terms) -> Vec<(&'static str, &'static str, String, Level)> {
    let mut opened = Vec::new();
    for repository in ["", "alpha", "beta", "gamma", "*"] {
        let is_reached = match &terms.reach {
            Reach::Public => repository.is_empty(),
            Reach::All => true,
            Reach::Subset(names) => repository.is_empty() || names.hold(repository),
        };
        for (scope, name, most) in terms.permissions.iter().filter(|_| is_reached) {
            let levels = Level::ALL.into_iter().filter(|level| *level <= most);
            opened.extend(levels.map(|level| (repository, scope.as_str(), name.to_owned(), level)));
        }
    }
    opened
}
