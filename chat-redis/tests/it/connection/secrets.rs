//! No password is ever shown: not in what is printed, not in errors, not in logs.

use std::sync::{Arc, Mutex};

use chat_redis::{RedisConfig, RedisService};
use chat_testkit::server::{Redis, RedisOptions};
use chat_testkit::{Absent, trials};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::{ask, config, ms};

trials! { needs "redis":
    a_password_is_never_shown,
}

const SECRET: &str = "s3cret-never-shown";

/// Everything anybody logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        *self.0.lock().unwrap() += &format!("{field}={value:?} ");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

async fn a_password_is_never_shown() -> Result<(), Absent> {
    let server = Redis::spawn_with(&RedisOptions::default().password(SECRET))?;
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    let mut shown = String::new();

    let mut config = config(&server);
    assert_eq!(config.password.as_ref().unwrap().expose(), SECRET);
    config.timing.connect = ms(300);
    config.timing.operation = ms(300);
    let service = RedisService::connect(&config).await.unwrap();
    shown += &format!("{config:?} {service:?} {:?}", service.client(chat_redis::connection::Role::Main));
    shown += &format!("{:?}", service.dedicated().await.unwrap());
    ask::<i64>(&service, &["INCR", "n"]).await.unwrap();

    server.kill();
    for _ in 0..3 {
        let error = ask::<i64>(&service, &["INCR", "n"]).await.unwrap_err();
        shown += &format!("{error} {error:?} {service:?}");
    }
    let error = RedisService::connect(&config).await.unwrap_err();
    shown += &format!("{error} {error:?}");

    server.restart();
    let wrong = RedisConfig { password: Some(format!("{SECRET}-wrong").into()), ..config.clone() };
    let error = RedisService::connect(&wrong).await.unwrap_err();
    shown += &format!("{error} {error:?}");
    // A reply that is no number is not shown either.
    let service = RedisService::connect(&config).await.unwrap();
    ask::<String>(&service, &["SET", "k", SECRET]).await.unwrap();
    let error = ask::<i64>(&service, &["GET", "k"]).await.unwrap_err();
    shown += &format!("{error} {error:?}");

    shown += &log.0.lock().unwrap();
    assert!(shown.contains("redis.query"), "something was logged: {shown}");
    assert!(!shown.contains(SECRET), "{shown}");
    Ok(())
}
