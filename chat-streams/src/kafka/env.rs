//! The variables of the environment.

use std::time::Duration;

use chat_core::config::Env;
use chat_core::error::{Error, Result};
use chat_core::event::EventKind;

use super::config::KafkaConfig;
use super::routes::KafkaRoutes;

pub(super) fn read(mut env: Env) -> Result<KafkaConfig> {
    let brokers: Option<String> = env.optional("BROKERS");
    let bootstrap = env.optional("BOOTSTRAP_SERVERS");
    if brokers.is_some() && bootstrap.is_some() {
        env.problem("BOOTSTRAP_SERVERS", "KAFKA_BROKERS says where already");
    }
    let brokers = brokers.or(bootstrap).unwrap_or_else(|| "localhost:9092".to_owned());
    let mut config = KafkaConfig::new(brokers, routes(&mut env));
    config.client_id = env.get("CLIENT_ID", config.client_id);
    config.group = env.get("GROUP_ID", config.group);
    match env.optional::<u64>("DELIVERY_TIMEOUT") {
        Some(0) => env.problem("DELIVERY_TIMEOUT", "zero"),
        millis => config.delivery_timeout = millis.map_or(config.delivery_timeout, Duration::from_millis),
    }
    for (name, property) in [
        ("SECURITY_PROTOCOL", "security.protocol"),
        ("SASL_MECHANISM", "sasl.mechanism"),
        ("SASL_USERNAME", "sasl.username"),
        ("SASL_PASSWORD", "sasl.password"),
        ("SSL_CA", "ssl.ca.location"),
    ] {
        if let Some(value) = env.secret(name) {
            config = config.set(property, value.expose())?;
        }
    }
    if let Err(error) = config.routes.check() {
        env.problem("RECEIVE", reason(&error));
    }
    env.finish().map(|()| config)
}

fn routes(env: &mut Env) -> KafkaRoutes {
    let log: Option<String> = env.optional("LOG");
    let (send, receive) = (env.optional::<String>("SEND"), env.optional::<String>("RECEIVE"));
    if log.is_none() && receive.is_some() {
        env.problem("LOG", "has to be given where anything is received");
    }
    let log = log.unwrap_or_else(|| "chat".to_owned());
    let mut routes = match send.as_deref() {
        None => KafkaRoutes::seed(log),
        Some(_) => KafkaRoutes::new(log),
    };
    for (kind, topic) in pairs(send.as_deref().filter(|send| *send != "none")) {
        match EventKind::from_wire(kind) {
            Some(kind) if !topic.is_empty() => routes = routes.send([kind], topic),
            _ => env.problem("SEND", "not kind=topic, or no kind of event"),
        }
    }
    for (topic, kinds) in pairs(receive.as_deref()) {
        if kinds == "*" {
            routes = routes.receive_all(topic);
            continue;
        }
        for kind in kinds.split('+').map(str::trim) {
            match EventKind::from_wire(kind) {
                Some(kind) => routes = routes.receive([kind], topic),
                None => env.problem("RECEIVE", "not topic=kind+kind, or no kind of event"),
            }
        }
    }
    routes
}

/// `name=value, name=value`; what has no `=` has no value.
fn pairs(list: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    let parts = list.unwrap_or_default().split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').map_or((part, ""), |(name, value)| (name.trim(), value.trim())))
}

fn reason(error: &Error) -> &str {
    error.detail("reason").unwrap_or("not valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<KafkaConfig> {
        KafkaConfig::from_variables(Env::from_pairs("KAFKA", pairs.iter().copied()))
    }

    #[test]
    fn nothing_is_what_the_seed_does() {
        assert!(of(&[]).unwrap() == KafkaConfig::new("localhost:9092", KafkaRoutes::seed("chat")));
    }

    #[test]
    fn every_variable_does_what_it_says() {
        let config = of(&[
            ("KAFKA_BOOTSTRAP_SERVERS", "one:9092,two:9092"),
            ("KAFKA_CLIENT_ID", "me"),
            ("KAFKA_GROUP_ID", "us"),
            ("KAFKA_LOG", "blue"),
            ("KAFKA_SEND", "message.sent=texts, file.deleted=files"),
            ("KAFKA_RECEIVE", "users=user.profile.updated+user.profile.deleted"),
            ("KAFKA_DELIVERY_TIMEOUT", "2000"),
            ("KAFKA_SASL_PASSWORD", "s3cret"),
        ])
        .unwrap();
        let routes = KafkaRoutes::new("blue")
            .send([EventKind::MessageSent], "texts")
            .send([EventKind::FileDeleted], "files")
            .receive([EventKind::UserProfileUpdated, EventKind::UserProfileDeleted], "users");
        assert_eq!(config.routes, routes);
        let told = (config.brokers.as_str(), config.client_id.as_str(), config.group.as_str());
        assert_eq!(told, ("one:9092,two:9092", "me", "us"));
        assert_eq!(config.delivery_timeout, Duration::from_secs(2));
        assert!(config.tells_a_secret("s3cret"));
    }

    #[test]
    fn a_log_that_only_receives() {
        let config = of(&[("KAFKA_LOG", "b"), ("KAFKA_SEND", "none"), ("KAFKA_RECEIVE", "all=*")]).unwrap();
        assert_eq!(config.routes, KafkaRoutes::new("b").receive_all("all"));
    }

    #[test]
    fn every_problem_is_reported_and_no_secret() {
        let error = of(&[
            ("KAFKA_BROKERS", "a"),
            ("KAFKA_BOOTSTRAP_SERVERS", "b"),
            ("KAFKA_SEND", "unheard.of=s3cret,message.sent"),
            ("KAFKA_RECEIVE", "t=unheard.of"),
            ("KAFKA_DELIVERY_TIMEOUT", "0"),
            ("KAFKA_SASL_PASWORD", "s3cret"),
        ])
        .unwrap_err();
        let shown = error.detail("reason").unwrap();
        for problem in [
            "KAFKA_BOOTSTRAP_SERVERS: KAFKA_BROKERS says",
            "KAFKA_LOG: has to be given",
            "KAFKA_SEND: not kind=topic",
            "KAFKA_RECEIVE: not topic=kind+kind",
            "KAFKA_DELIVERY_TIMEOUT: zero",
            "KAFKA_SASL_PASWORD: unknown, did you mean KAFKA_SASL_PASSWORD?",
        ] {
            assert!(shown.contains(problem), "{problem:?} is not in {shown}");
        }
        assert!(!format!("{error:?}").contains("s3cret"));
    }

    #[test]
    fn a_circle_is_a_problem() {
        let error = of(&[("KAFKA_LOG", "b"), ("KAFKA_RECEIVE", "t=file.uploaded")]).unwrap_err();
        assert!(error.detail("reason").unwrap().contains("for ever"));
    }
}
