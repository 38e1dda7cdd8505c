//! The crates of the workspace: chat-core at the bottom, examples and benches at the top.

use std::collections::{HashMap, HashSet};
use std::fs;

use anyhow::{Context, Result};
use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package};

use super::Violation;

/// What each library may use among ours. All but chat-testkit itself may test with chat-testkit.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("chat-core", &[]),
    ("chat-testkit", &["chat-core"]),
    ("chat-redis", &["chat-core"]),
    ("chat-streams", &["chat-core", "chat-redis"]),
    ("chat-mongo", &["chat-core"]),
    ("chat-export", &["chat-core"]),
    ("chat-media", &["chat-core"]),
];

/// What chat-core must not pull in, however indirectly: it has no driver and no socket.
const DRIVERS: &[&str] = &[
    "redis",
    "fred",
    "deadpool-redis",
    "mongodb",
    "rdkafka",
    "rskafka",
    "sqlx",
    "socketioxide",
    "axum",
    "hyper",
    "tungstenite",
    "reqwest",
];

pub(super) fn check() -> Result<Vec<Violation>> {
    let metadata = MetadataCommand::new().features(CargoOpt::AllFeatures).exec()?;
    let mut violations = directions(&metadata)?;
    violations.extend(drivers(&metadata)?);
    Ok(violations)
}

/// Every dependency between two crates of the workspace which is not allowed.
fn directions(metadata: &Metadata) -> Result<Vec<Violation>> {
    let members = metadata.workspace_packages();
    let places: HashMap<&str, Place> =
        members.iter().map(|package| (package.name.as_str(), Place::of(metadata, package))).collect();
    let mut violations = Vec::new();
    for package in members {
        let from = (package.name.as_str(), Place::of(metadata, package));
        if from.1 == Place::Library && !LIBRARIES.iter().any(|(name, _)| *name == from.0) {
            let rule = format!("{} is not in the table of libraries of check-imports", from.0);
            violations.push(violation(package, "", DependencyKind::Normal, rule)?);
        }
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let Some(place) = places.get(dependency.name.as_str()) else { continue };
            let to = (dependency.name.as_str(), *place);
            if let Some(rule) = forbidden(from, to, dependency.kind) {
                violations.push(violation(package, to.0, dependency.kind, rule)?);
            }
        }
    }
    Ok(violations)
}

/// Where in the workspace a crate is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Library,
    Example,
    Bench,
    Xtask,
}

impl Place {
    fn of(metadata: &Metadata, package: &Package) -> Self {
        let path = package.manifest_path.strip_prefix(&metadata.workspace_root);
        match path.ok().and_then(|path| path.iter().next()) {
            Some("examples") => Self::Example,
            Some("benches") => Self::Bench,
            Some("xtask") => Self::Xtask,
            _ => Self::Library,
        }
    }
}

/// Why one crate of ours may not depend on another, if it may not.
fn forbidden(from: (&str, Place), to: (&str, Place), kind: DependencyKind) -> Option<String> {
    let (from, to) = match (from, to) {
        (_, (to, Place::Example | Place::Bench | Place::Xtask)) => {
            return Some(format!("nothing may depend on examples, benches or xtask, so not on {to}"));
        }
        ((_, Place::Xtask), _) => return Some("xtask must build without the crates it checks".into()),
        ((_, Place::Example | Place::Bench), _) => return None,
        ((from, Place::Library), (to, Place::Library)) => (from, to),
    };
    let allowed = LIBRARIES.iter().find(|(name, _)| *name == from).map_or(&[][..], |(_, allowed)| allowed);
    let tests_with_it = to == "chat-testkit" && kind == DependencyKind::Development;
    if allowed.contains(&to) || tests_with_it && from != to {
        return None;
    }
    Some(match allowed {
        [] => format!("{from} may depend on none of ours, so not on {to}"),
        _ => format!("{from} may depend on {} only, so not on {to}", allowed.join(" and ")),
    })
}

/// Every driver which chat-core would pull into a program, with the way it takes.
fn drivers(metadata: &Metadata) -> Result<Vec<Violation>> {
    let resolve = metadata.resolve.as_ref().context("cargo metadata resolved nothing")?;
    let nodes: HashMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let packages: HashMap<_, _> = metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let core = metadata.packages.iter().find(|package| package.name.as_str() == "chat-core");
    let core = core.context("the workspace has no chat-core")?;

    let mut violations = Vec::new();
    let mut seen = HashSet::new();
    let mut ways = vec![vec![core]];
    while let Some(way) = ways.pop() {
        let names: Vec<&str> = way.iter().map(|package| package.name.as_str()).collect();
        if let [_, first, ..] = names.as_slice()
            && let Some(driver) = names.last().filter(|name| DRIVERS.contains(name))
        {
            let rule = format!("chat-core must not pull in {driver} ({})", names.join(" -> "));
            violations.push(violation(core, first, DependencyKind::Normal, rule)?);
        }
        let node = way.last().and_then(|package| nodes.get(&package.id));
        for dependency in node.into_iter().flat_map(|node| &node.deps) {
            let is_normal = dependency.dep_kinds.iter().any(|info| info.kind == DependencyKind::Normal);
            if let Some(package) = packages.get(&dependency.pkg)
                && is_normal
                && seen.insert(&package.id)
            {
                ways.push([way.as_slice(), &[package]].concat());
            }
        }
    }
    Ok(violations)
}

/// A violation at the line of the package's manifest which names the dependency.
fn violation(package: &Package, dependency: &str, kind: DependencyKind, rule: String) -> Result<Violation> {
    let path = &package.manifest_path;
    let manifest = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let root = std::env::current_dir()?;
    let file = path.strip_prefix(&root).unwrap_or(path).to_string();
    Ok(Violation { file, line: line_of(&manifest, dependency, kind), rule })
}

/// The first line when the manifest names the dependency otherwise than by its own name.
fn line_of(manifest: &str, dependency: &str, kind: DependencyKind) -> usize {
    let section = match kind {
        DependencyKind::Development => "dev-dependencies",
        DependencyKind::Build => "build-dependencies",
        _ => "dependencies",
    };
    let mut is_inside = false;
    for (line, text) in (1..).zip(manifest.lines()) {
        if let Some(header) = text.strip_prefix('[').and_then(|text| text.trim_end().strip_suffix(']')) {
            is_inside = header == section || header.ends_with(&format!(".{section}"));
            if header == format!("{section}.{dependency}") {
                return line;
            }
        } else if is_inside && text.split(['=', '.', ' ']).next() == Some(dependency) {
            return line;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use DependencyKind::{Development as Dev, Normal};

    fn allows(from: &str, to: &str, kind: DependencyKind) -> bool {
        let place = |name: &str| match name {
            "chat-server" => Place::Example,
            "chat-benches" => Place::Bench,
            "xtask" => Place::Xtask,
            _ => Place::Library,
        };
        forbidden((from, place(from)), (to, place(to)), kind).is_none()
    }

    #[test]
    fn libraries_keep_their_direction() {
        assert!(allows("chat-redis", "chat-core", Normal));
        assert!(allows("chat-streams", "chat-redis", Normal));
        assert!(!allows("chat-mongo", "chat-redis", Normal));
        assert!(!allows("chat-core", "chat-redis", Normal));
        assert!(!allows("chat-core", "chat-redis", Dev));
        assert!(!allows("chat-testkit", "chat-redis", Dev));
        assert!(!allows("chat-unheard-of", "chat-core", Normal));
    }

    #[test]
    fn the_testkit_is_for_tests() {
        assert!(allows("chat-testkit", "chat-core", Normal));
        assert!(allows("chat-core", "chat-testkit", Dev));
        assert!(allows("chat-redis", "chat-testkit", Dev));
        assert!(!allows("chat-redis", "chat-testkit", Normal));
    }

    #[test]
    fn examples_and_benches_are_at_the_top() {
        for to in ["chat-core", "chat-redis", "chat-streams", "chat-testkit"] {
            assert!(allows("chat-server", to, Normal) && allows("chat-benches", to, Normal));
            assert!(!allows(to, "chat-server", Dev) && !allows(to, "chat-benches", Dev));
            assert!(!allows("xtask", to, Normal));
        }
        assert!(!allows("chat-benches", "chat-server", Normal));
    }

    #[test]
    fn a_violation_is_at_the_line_of_its_dependency() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nb = \"1\"\nbc.workspace = true\n\
                        [target.'cfg(unix)'.dev-dependencies]\nb = \"1\"\n[dependencies.d]\n";
        assert_eq!(line_of(manifest, "b", Normal), 4);
        assert_eq!(line_of(manifest, "bc", Normal), 5);
        assert_eq!(line_of(manifest, "b", Dev), 7);
        assert_eq!(line_of(manifest, "d", Normal), 8);
        assert_eq!(line_of(manifest, "e", Normal), 1);
    }
}
