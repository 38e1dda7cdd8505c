//! Where it takes place on Redis: a server of its own, our ports and a raw connection.

use std::sync::Arc;

use chat_redis::{Redis, RedisConfig, RedisService};
use chat_testkit::server::Redis as Server;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Client, Pipeline};

use crate::capture::{Template, captured};
use crate::contest::{Act, Contender, Row, acting};
use crate::outcome::Outcome;
use crate::reference::Reference;
use crate::ring::Ring;

/// A server, and those who talk to it.
#[derive(Debug)]
pub struct Stage {
    /// The server: nobody else uses it.
    pub server: Server,
    /// Ours.
    pub redis: Redis,
    /// The raw driver, on one shared connection.
    pub raw: MultiplexedConnection,
    ring: Ring,
}

impl Stage {
    /// Sets the stage; says why and gives none where there is no server.
    pub fn set() -> Option<Self> {
        let server = match Server::spawn() {
            Ok(server) => server,
            Err(absent) => {
                println!("nothing is measured: {}", absent.0);
                return None;
            }
        };
        let ring = Ring::new(Some(server.process().id()), server.port());
        let (redis, raw) = ring.prepare(async {
            let config = RedisConfig::from_url(&server.url()).expect("a good URL");
            let service = RedisService::connect(&config).await.expect("a connection");
            let client = Client::open(server.url()).expect("a good URL");
            let raw = client.get_multiplexed_async_connection().await.expect("a connection");
            (Redis::new(service, &config.keys), raw)
        });
        Some(Self { server, redis, raw, ring })
    }

    /// Does something before the contest.
    pub fn prepare<T>(&self, work: impl Future<Output = T>) -> T {
        self.ring.prepare(work)
    }

    /// The commands that an operation sends, for the raw driver: see [`Template::capture`].
    pub fn templates(&self, ours: &Act) -> Vec<Template> {
        self.ring.prepare(Template::capture(&self.server, |nth| ours(0, nth)))
    }

    /// The raw driver sending these commands, in one write, and taking the answers.
    pub fn raw(&self, name: &'static str, templates: Vec<Template>) -> Contender {
        let (raw, templates) = (self.raw.clone(), Arc::new(templates));
        let act = acting(move |_, nth| {
            let (mut raw, templates) = (raw.clone(), Arc::clone(&templates));
            async move {
                if let [one] = &templates[..] {
                    raw.req_packed_command(&one.command(nth)).await.expect("an answer");
                    return;
                }
                let mut pipeline = Pipeline::with_capacity(templates.len());
                for template in templates.iter() {
                    pipeline.add_command(template.command(nth));
                }
                raw.req_packed_commands(&pipeline, 0, templates.len()).await.expect("answers");
            }
        });
        Contender { name, act }
    }

    /// The names of the commands that arrive while something is done; what scripts call is not among them.
    pub fn commands(&self, work: impl Future<Output = ()>) -> Vec<String> {
        let commands = self.ring.prepare(captured(&self.server, work));
        commands.iter().filter_map(|words| String::from_utf8(words.first()?.clone()).ok()).collect()
    }

    /// Lets the rows contend, unless the arguments ask for others, prints what comes of it, and gives it.
    pub fn contend(&self, rows: &[Row]) -> Vec<Outcome> {
        self.ring.contend(rows)
    }

    /// A row: ours, and the raw driver sending the same.
    pub fn row(&self, name: &str, ours: Act) -> Row {
        let raw = self.raw("raw driver, the same commands", self.templates(&ours));
        Row { raw: vec![raw], ..Row::new(name, ours) }
    }

    /// What `redis-benchmark` sends to do the same by one command; nothing if it cannot.
    pub fn reference(&self, name: &str, ours: &Act, pipeline: usize) -> Option<Reference> {
        let [one] = &self.templates(ours)[..] else { return None };
        Some(Reference::new(name, one.words()?, pipeline))
    }
}

impl AsRef<Ring> for Stage {
    fn as_ref(&self) -> &Ring {
        &self.ring
    }
}
