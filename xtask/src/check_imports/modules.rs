//! The modules of chat-core: `domain ◄ event ◄ store ◄ {memory, layer, service, …}`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Violation;
use super::tokens::{Token, tokens, without_tests};

const SRC: &str = "chat-core/src";

/// Everything may use these, and these may use each other.
const BASE: &[&str] = &["error", "clock", "config", "codec", "observe"];

/// What each other module may use besides itself and the base.
const EDGES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("event", &["domain"]),
    ("store", &["domain", "event"]),
    ("memory", &["domain", "event", "store"]),
    ("layer", &["domain", "event", "store"]),
    ("service", &["domain", "event", "store", "moderation", "sync"]),
    ("moderation", &["domain", "event", "store"]),
    ("sync", &["domain", "event", "store"]),
    ("prewarm", &["domain", "event", "store"]),
];

/// What a single file may use besides: the composition roots.
const FILE_EDGES: &[(&str, &str)] = &[("service/builder.rs", "memory")];

/// Every use in chat-core's sources which the tables do not allow. `lib.rs` is free.
pub(super) fn check() -> Result<Vec<Violation>> {
    let mut files = Vec::new();
    rust_files(Path::new(SRC), &mut files)?;
    files.sort();
    let lib = fs::read_to_string(Path::new(SRC).join("lib.rs")).context("cannot read chat-core's lib.rs")?;
    let exports = exports(&lib);
    let found = files.iter().filter(|file| *file != "lib.rs").map(|file| {
        let path = format!("{SRC}/{file}");
        let source = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Ok(violations(file, &source, &exports))
    });
    Ok(found.collect::<Result<Vec<_>>>()?.concat())
}

/// The `.rs` files under a folder, as paths from chat-core's `src`.
fn rust_files(folder: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.strip_prefix(SRC)?.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

/// The names that `lib.rs` exports from its modules, so that `crate::Error` counts as `error`.
fn exports(lib: &str) -> HashMap<&str, &str> {
    let tokens = tokens(lib);
    let statements = tokens.split(|token| token.text == ";");
    statements
        .filter_map(|statement| {
            let at = statement.iter().rposition(|token| token.text == "use")?;
            let mut path = statement.get(at + 1..)?.iter().map(|token| token.text);
            let module =
                path.find(|text| is_word(text) && !matches!(*text, "crate" | "chat_core" | "self"))?;
            Some(path.filter(|text| is_word(text)).map(move |name| (name, module)))
        })
        .flatten()
        .collect()
}

/// The violations of one file, whose first path segment is its module.
fn violations(file: &str, source: &str, exports: &HashMap<&str, &str>) -> Vec<Violation> {
    let violation = |line, rule| Violation { file: format!("{SRC}/{file}"), line, rule };
    let path: Vec<&str> = file.trim_end_matches(".rs").split('/').filter(|name| *name != "mod").collect();
    let Some(&module) = path.first() else { return Vec::new() };
    if path.last() == Some(&"tests") {
        return Vec::new();
    }
    let Some(allowed) = allowed(module) else {
        return vec![violation(1, format!("`{module}` is not in the table of modules of check-imports"))];
    };
    let tokens = tokens(source);
    let uses = root_uses(&without_tests(&tokens), path.len());
    let forbidden = uses.into_iter().filter_map(|Token { text: name, line }| {
        let Some(used) = module_of(name, exports) else {
            return Some(violation(line, format!("`crate::{name}` does not tell its module: name it")));
        };
        let is_free = used == module || BASE.contains(&used) || allowed.contains(&used);
        let is_free = is_free || FILE_EDGES.contains(&(file, used));
        (!is_free)
            .then(|| violation(line, format!("{module} must not use {used}; {}", may_use(module, allowed))))
    });
    forbidden.collect()
}

fn allowed(module: &str) -> Option<&'static [&'static str]> {
    if BASE.contains(&module) {
        return Some(&[]);
    }
    EDGES.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed)
}

fn module_of<'a>(name: &'a str, exports: &HashMap<&str, &'a str>) -> Option<&'a str> {
    if allowed(name).is_some() { Some(name) } else { exports.get(name).copied() }
}

fn may_use(module: &str, allowed: &[&str]) -> String {
    let base =
        if BASE.contains(&module) { BASE.join(", ") } else { format!("the base ({})", BASE.join(", ")) };
    let all: Vec<&str> = std::iter::once(base.as_str()).chain(allowed.iter().copied()).collect();
    format!("it may use {}", all.join(", "))
}

/// The first segment of every path which starts at the crate's root, with its line: of `crate::a::b`,
/// of each branch of `crate::{a, b::c}`, the same under the crate's own name, and of a chain of `super` that leads as far up.
/// `depth` is how deep in the crate the file's own module is.
fn root_uses<'a>(tokens: &[Token<'a>], depth: usize) -> Vec<Token<'a>> {
    let mut found = Vec::new();
    let mut rest = tokens;
    let (mut braces, mut supers) = (0_usize, 0_usize);
    let mut inline_modules = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let is_path = after.first().is_some_and(|token| token.text == "::");
        let before = supers;
        supers = 0;
        match first.text {
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                inline_modules.pop_if(|opened| *opened == braces);
            }
            "mod" if after.get(1).is_some_and(|token| token.text == "{") => inline_modules.push(braces),
            "::" => supers = before,
            "super" if is_path => supers = before + 1,
            _ => {}
        }
        let at_root = matches!(first.text, "crate" | "chat_core")
            || supers > 0 && supers == depth + inline_modules.len();
        if at_root && is_path && first.text != "::" {
            found.extend(branches(after.get(1..).unwrap_or_default()));
        }
    }
    found
}

/// The first words of a path's continuation: one, or one for each branch of a group.
fn branches<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let Some((first, inside)) = tokens.split_first() else { return Vec::new() };
    if first.text != "{" {
        return vec![*first];
    }
    let (mut depth, mut is_start, mut found) = (1_usize, true, Vec::new());
    for token in inside {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," => is_start = depth == 1,
            "self" => is_start = false,
            _ if is_start => {
                found.push(*token);
                is_start = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];
    const LIB: &str = "//! Docs.\npub mod error;\npub use error::{Error, Result as CoreResult};\n\
                       pub use crate::service::chat::Chat;\nuse std::fmt;";

    fn uses(source: &str, depth: usize) -> String {
        let tokens = tokens(source);
        root_uses(&tokens, depth).iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
    }

    fn lines(file: &str, source: &str) -> Vec<usize> {
        violations(file, source, &exports(LIB)).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn paths_from_the_root_are_found() {
        assert_eq!(uses("use crate::domain::id::UserId;", 2), "domain");
        assert_eq!(
            uses("pub(crate) use crate::{error, domain::{id, page::{Page, Paged}}, store::Cache};", 2),
            "error domain store"
        );
        assert_eq!(uses("fn f() -> crate::error::Result<crate::domain::Page> {}", 2), "error domain");
        assert_eq!(uses("pub(crate) fn crate_name(x: super::Thing) {}", 2), "");
        assert_eq!(uses("macro_rules! m { () => { $crate::store::Cache } }", 1), "store");
        assert_eq!(uses("use crate::*; use chat_core::event::Kind;", 2), "* event");
    }

    #[test]
    fn super_counts_when_it_leads_to_the_root() {
        assert_eq!(uses("use super::service::Send;", 1), "service");
        assert_eq!(uses("use super::service::Send;", 2), "");
        assert_eq!(uses("use super::super::{service, store::Cache};", 2), "service store");
        assert_eq!(uses("use self::super::super::layer::Retry;", 2), "layer");
        assert_eq!(uses("mod a { use super::super::layer; } use super::store;", 1), "layer store");
        assert_eq!(uses("mod a { mod b {} use super::layer; } fn f() { super::store::g() }", 1), "store");
    }

    #[test]
    fn names_exported_by_lib_belong_to_their_module() {
        let exports = exports(LIB);
        let of = |name| module_of(name, &exports);
        assert_eq!(of("store"), Some("store"));
        assert_eq!((of("Error"), of("CoreResult")), (Some("error"), Some("error")));
        assert_eq!(of("Chat"), Some("service"));
        assert_eq!(of("Unknown"), None);
        assert_eq!(lines("store/cache.rs", "use crate::{Error, Chat};\nuse crate::Unknown;"), [1, 2]);
    }

    #[test]
    fn the_direction_is_enforced() {
        assert_eq!(lines("domain/id.rs", "use crate::error::Error;\nuse crate::event::Kind;"), [2]);
        assert_eq!(lines("event/kind.rs", "use crate::domain::id;\nuse crate::store::Cache;"), [2]);
        assert_eq!(lines("store/mod.rs", "use crate::{event, domain};\n\nuse crate::memory;"), [3]);
        assert_eq!(lines("layer/retry.rs", "use crate::store::Cache;\nuse crate::service;"), [2]);
        assert_eq!(lines("clock.rs", "use crate::error::Error;\nuse crate::domain::id;"), [2]);
        assert_eq!(lines("prewarm.rs", "use super::memory::Cache;"), [1]);
        assert_eq!(lines("service/send.rs", "use crate::moderation;\nuse crate::memory;"), [2]);
        assert_eq!(lines("service/builder.rs", "use crate::memory;"), NONE);
        assert_eq!(lines("unheard_of.rs", ""), [1]);
    }

    #[test]
    fn comments_strings_and_tests_are_free() {
        let source = "//! crate::service::Send\n/* crate::service */ const S: &str = \"crate::service::x\";\n\
                      #[cfg(test)]\nmod tests { use crate::memory::Cache; }";
        assert_eq!(lines("store/cache.rs", source), NONE);
        assert_eq!(lines("store/cache/tests.rs", "use crate::memory::Cache;"), NONE);
    }

    #[test]
    fn a_violation_tells_file_line_and_rule() {
        let found = violations("event/kind.rs", "\nuse crate::store::Cache;", &HashMap::new());
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["chat-core/src/event/kind.rs:2: event must not use store; \
              it may use the base (error, clock, config, codec, observe), domain"]
        );
    }
}
