//! Configuration from the environment: every problem reported at once, secrets never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Code, Error, Result};

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

/// Reads `PREFIX_NAME` variables and collects everything that is wrong with them.
///
/// ```
/// use chat_core::config::Env;
///
/// let mut env = Env::from_pairs("CHAT", [("CHAT_LIMIT", "many"), ("CHAT_LIMTI", "3")]);
/// let limit: u32 = env.get("LIMIT", 10);
/// let error = env.finish().unwrap_err();
/// assert_eq!(limit, 10);
/// assert_eq!(
///     error.detail("reason"),
///     Some("CHAT_LIMIT: not a valid value; CHAT_LIMTI: unknown, did you mean CHAT_LIMIT?"),
/// );
/// ```
#[derive(Debug)]
pub struct Env {
    prefix: String,
    values: BTreeMap<String, Secret>,
    known: BTreeSet<String>,
    problems: Vec<String>,
}

impl Env {
    /// The variables of this process that begin with `prefix` and an underscore.
    pub fn from_process(prefix: &str) -> Self {
        let pairs = std::env::vars_os();
        Self::from_pairs(
            prefix,
            pairs.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// These variables.
    pub fn from_pairs(
        prefix: &str,
        pairs: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        let prefix = format!("{prefix}_");
        let ours = |(name, value): (String, String)| {
            name.strip_prefix(&prefix).map(|name| (name.to_owned(), Secret(value)))
        };
        let values =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).filter_map(ours).collect();
        Self { prefix, values, known: BTreeSet::new(), problems: Vec::new() }
    }

    fn raw(&mut self, name: &str) -> Option<String> {
        self.known.insert(name.to_owned());
        self.values.get(name).map(|value| value.0.clone()).filter(|value| !value.is_empty())
    }

    /// A value, if set.
    pub fn optional<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let raw = self.raw(name)?;
        let parsed = raw.trim().parse().ok();
        if parsed.is_none() {
            self.problem(name, "not a valid value");
        }
        parsed
    }

    /// A value, or its default.
    pub fn get<T: FromStr>(&mut self, name: &str, default: T) -> T {
        self.optional(name).unwrap_or(default)
    }

    /// A switch: `1`, `true`, `yes`, `on`, or the opposite; off by default.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.raw(name).as_deref().map(str::trim) {
            None | Some("0" | "false" | "no" | "off") => false,
            Some("1" | "true" | "yes" | "on") => true,
            Some(_) => {
                self.problem(name, "neither true nor false");
                false
            }
        }
    }

    /// A duration in whole seconds, or its default.
    pub fn seconds(&mut self, name: &str, default: Duration) -> Duration {
        self.optional::<u64>(name).map_or(default, Duration::from_secs)
    }

    /// A secret, if set. It is taken as it stands, blanks included.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        self.raw(name).map(Secret)
    }

    /// Adds a problem with a variable.
    pub fn problem(&mut self, name: &str, what: &str) {
        self.problems.push(format!("{}{name}: {what}", self.prefix));
    }

    /// # Errors
    /// [`Code::ConfigInvalid`] with every problem, unknown variables included.
    pub fn finish(mut self) -> Result<()> {
        let unknown: Vec<String> =
            self.values.keys().filter(|name| !self.known.contains(*name)).cloned().collect();
        for name in unknown {
            let near = self.known.iter().map(|known| (distance(known, &name), known)).min();
            let hint = match near {
                Some((distance, known)) if distance <= 2 => {
                    format!("unknown, did you mean {}{known}?", self.prefix)
                }
                _ => "unknown".to_owned(),
            };
            self.problem(&name, &hint);
        }
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Error::invalid(Code::ConfigInvalid, self.problems.join("; ")))
        }
    }
}

/// How many letters have to be put in, left out or replaced to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (b, above) in other.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(a != *b)).min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_shown() {
        let env = Env::from_pairs("CHAT", [("CHAT_JWT_SECRET", "hunter2"), ("OTHER", "x")]);
        assert!(!format!("{env:?}").contains("hunter2"));
    }

    #[test]
    fn a_good_environment_has_no_problems() {
        let mut env = Env::from_pairs("CHAT", [("CHAT_A", "7"), ("CHAT_B", "on"), ("CHAT_C", "")]);
        assert_eq!((env.get("A", 0), env.flag("B"), env.optional::<u8>("C")), (7, true, None));
        assert!(env.finish().is_ok());
    }

    #[test]
    fn distances() {
        assert_eq!(distance("LIMIT", "LIMTI"), 2);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("same", "same"), 0);
    }
}
