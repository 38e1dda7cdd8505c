//! The environment: seed 001's variables.

use std::path::PathBuf;
use std::time::Duration;

use chat_core::config::Env;
use chat_core::error::{Error, Result};

use super::{Family, Node, RedisConfig, Tls, Topology};
use crate::keys::KeySpace;

pub(super) fn read(mut env: Env) -> Result<RedisConfig> {
    let mut config = address(&mut env);
    config.username = env.optional("USERNAME").or(config.username);
    config.password = env.secret("PASSWORD").or(config.password);
    config.sentinel_username = env.optional("SENTINEL_USERNAME").or(config.sentinel_username);
    config.sentinel_password = env.secret("SENTINEL_PASSWORD").or(config.sentinel_password);
    config.db = env.get("DB", config.db);
    config.family = family(&mut env).or(config.family);
    config.tls = tls(&mut env, config.tls);
    let mut millis = |name: &str, default: Duration| match env.optional::<u64>(name) {
        Some(0) => {
            env.problem(name, "zero");
            default
        }
        millis => millis.map_or(default, Duration::from_millis),
    };
    config.timing.connect = millis("CONNECTION_TIMEOUT", config.timing.connect);
    config.timing.operation = millis("OPERATION_TIMEOUT", config.timing.operation);
    config.timing.response = millis("RESPONSE_TIMEOUT", config.timing.response);
    config.keep_alive = keep_alive(&mut env, config.keep_alive);
    config.connect_attempts = env.optional("MAX_RETRY_ATTEMPTS").or(config.connect_attempts);
    if config.connect_attempts == Some(0) {
        env.problem("MAX_RETRY_ATTEMPTS", "at least one attempt is made");
    }
    if let Some(prefix) = env.optional::<String>("PREFIX") {
        match KeySpace::new(&prefix) {
            Ok(keys) => config.keys = keys,
            Err(error) => env.problem("PREFIX", reason(&error)),
        }
    }
    env.finish().map(|()| config)
}

fn address(env: &mut Env) -> RedisConfig {
    let url = env.secret("URL");
    let (host, port) = (env.optional::<String>("HOST"), env.optional::<u16>("PORT"));
    let Some(url) = url else {
        let host = host.unwrap_or_else(|| "localhost".to_owned());
        let node = Node { host, port: port.unwrap_or(6379) };
        return RedisConfig { topology: Topology::Single(node), ..RedisConfig::default() };
    };
    for (name, given) in [("HOST", host.is_some()), ("PORT", port.is_some())] {
        if given {
            env.problem(name, "the URL says where already");
        }
    }
    RedisConfig::from_url(url.expose()).unwrap_or_else(|error| {
        env.problem("URL", reason(&error));
        RedisConfig::default()
    })
}

fn family(env: &mut Env) -> Option<Family> {
    match env.optional::<u8>("FAMILY") {
        Some(4) => Some(Family::V4),
        Some(6) => Some(Family::V6),
        None | Some(0) => None,
        Some(_) => {
            env.problem("FAMILY", "4 or 6");
            None
        }
    }
}

fn tls(env: &mut Env, of_url: Option<Tls>) -> Option<Tls> {
    let on = env.flag("TLS") || of_url.is_some();
    let of_url = of_url.unwrap_or_default();
    let ca = env.optional::<PathBuf>("TLS_CA").or(of_url.ca);
    let own = (env.optional::<PathBuf>("TLS_CERT"), env.optional::<PathBuf>("TLS_KEY"));
    let identity = match own {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => of_url.identity,
        _ => {
            env.problem("TLS_CERT", "goes with TLS_KEY");
            None
        }
    };
    if !on && (ca.is_some() || identity.is_some()) {
        env.problem("TLS", "is not on, and its files are given");
    }
    on.then_some(Tls { ca, identity })
}

/// `true`, `false`, or milliseconds.
fn keep_alive(env: &mut Env, default: Option<Duration>) -> Option<Duration> {
    let Some(text) = env.optional::<String>("KEEP_ALIVE") else { return default };
    match text.trim() {
        "true" | "yes" | "on" => default,
        "false" | "no" | "off" | "0" => None,
        text => match text.parse() {
            Ok(millis) => Some(Duration::from_millis(millis)),
            Err(_) => {
                env.problem("KEEP_ALIVE", "true, false or milliseconds");
                default
            }
        },
    }
}

fn reason(error: &Error) -> &str {
    error.detail("reason").unwrap_or("not valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<RedisConfig> {
        RedisConfig::from_variables(Env::from_pairs("REDIS", pairs.iter().copied()))
    }

    #[test]
    fn nothing_is_the_default() {
        assert!(of(&[]).unwrap() == RedisConfig::default());
    }

    #[test]
    fn every_variable_of_the_seed_does_what_it_says() {
        let config = of(&[
            ("REDIS_HOST", "redis.internal"),
            ("REDIS_PORT", "6380"),
            ("REDIS_PASSWORD", "s3cret"),
            ("REDIS_DB", "2"),
            ("REDIS_FAMILY", "4"),
            ("REDIS_CONNECTION_TIMEOUT", "1500"),
            ("REDIS_MAX_RETRY_ATTEMPTS", "3"),
            ("REDIS_KEEP_ALIVE", "30000"),
        ])
        .unwrap();
        assert_eq!(config.topology.to_string(), "redis.internal:6380");
        assert_eq!((config.password.as_ref().unwrap().expose(), config.db), ("s3cret", 2));
        assert_eq!((config.family, config.connect_attempts), (Some(Family::V4), Some(3)));
        assert_eq!(config.timing.connect, Duration::from_millis(1500));
        assert_eq!(config.keep_alive, Some(Duration::from_secs(30)));
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn keep_alive_is_a_switch_too() {
        let keep_alive = |text| of(&[("REDIS_KEEP_ALIVE", text)]).unwrap().keep_alive;
        assert_eq!(keep_alive("true"), RedisConfig::default().keep_alive);
        assert_eq!(keep_alive("false"), None);
    }

    #[test]
    fn a_url_and_what_refines_it() {
        let config = of(&[
            ("REDIS_URL", "rediss+sentinel://:u@a,b/main?tls_ca=/ca.pem"),
            ("REDIS_PASSWORD", "p"),
            ("REDIS_SENTINEL_PASSWORD", "q"),
            ("REDIS_TLS_CERT", "/cert.pem"),
            ("REDIS_TLS_KEY", "/key.pem"),
            ("REDIS_PREFIX", "acme"),
        ])
        .unwrap();
        assert_eq!(config.topology.to_string(), "sentinel:a:26379,b:26379/main");
        let exposed = |secret: Option<chat_core::config::Secret>| secret.unwrap().expose().to_owned();
        assert_eq!((exposed(config.password), exposed(config.sentinel_password)), ("p".into(), "q".into()));
        let identity = Some((PathBuf::from("/cert.pem"), PathBuf::from("/key.pem")));
        assert_eq!(config.tls, Some(Tls { ca: Some(PathBuf::from("/ca.pem")), identity }));
        assert_eq!(config.keys.prefix(), "acme");
    }

    #[test]
    fn every_problem_is_reported_and_no_secret() {
        let error = of(&[
            ("REDIS_URL", "redis://:s3cret@"),
            ("REDIS_HOST", "elsewhere"),
            ("REDIS_DB", "s3cret"),
            ("REDIS_FAMILY", "5"),
            ("REDIS_RESPONSE_TIMEOUT", "0"),
            ("REDIS_MAX_RETRY_ATTEMPTS", "0"),
            ("REDIS_KEEP_ALIVE", "s3cret"),
            ("REDIS_TLS_CA", "/ca.pem"),
            ("REDIS_TLS_KEY", "/key.pem"),
            ("REDIS_PREFIX", "a:b"),
            ("REDIS_PASWORD", "s3cret"),
        ])
        .unwrap_err();
        let shown = error.detail("reason").unwrap();
        for problem in [
            "REDIS_URL: Redis URL: a host is missing",
            "REDIS_HOST: the URL says where already",
            "REDIS_DB: not a valid value",
            "REDIS_FAMILY: 4 or 6",
            "REDIS_RESPONSE_TIMEOUT: zero",
            "REDIS_MAX_RETRY_ATTEMPTS: at least one",
            "REDIS_KEEP_ALIVE: true, false or milliseconds",
            "REDIS_TLS: is not on",
            "REDIS_TLS_CERT: goes with TLS_KEY",
            "REDIS_PREFIX: a key prefix is",
            "REDIS_PASWORD: unknown, did you mean REDIS_PASSWORD?",
        ] {
            assert!(shown.contains(problem), "{problem:?} is not in {shown}");
        }
        assert!(!format!("{error:?}{error}").contains("s3cret"));
    }
}
