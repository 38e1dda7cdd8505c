//! Where MongoDB is, and how to talk to it: by URL, by environment, or field by field.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chat_core::clock::Clock;
use chat_core::config::{Env, Secret};
use chat_core::error::{Code, Error, Result};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, ReadConcernLevel, WriteConcern};

/// The database unless the URL or the environment names another.
pub const DEFAULT_DATABASE: &str = "chat";

/// Where MongoDB is and how to talk to it.
///
/// What is acknowledged is on disk on a majority of the members of the replica set, unless the URL says otherwise.
///
/// ```
/// use chat_mongo::MongoConfig;
///
/// let config = MongoConfig::from_url("mongodb://chat:s3cret@db1,db2/talk?replicaSet=rs0").unwrap();
/// assert_eq!(config.database, "talk");
/// assert!(!format!("{config:?}").contains("s3cret"));
/// ```
#[derive(Clone)]
pub struct MongoConfig {
    /// The connection string.
    pub url: Secret,
    /// The database everything is in.
    pub database: String,
    /// How long an operation may take from beginning to end, repeats included.
    pub operation: Duration,
    /// How long a usable server is looked for, a new primary included.
    pub selection: Duration,
    /// How long making a connection may take.
    pub connect: Duration,
    /// The most connections to one server.
    pub max_pool_size: u32,
    /// What overrides the server's time: for tests.
    pub clock: Option<Arc<dyn Clock>>,
    on_command: Option<EventHandler<CommandEvent>>,
}

impl fmt::Debug for MongoConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoConfig")
            .field("url", &self.url)
            .field("database", &self.database)
            .field("operation", &self.operation)
            .field("selection", &self.selection)
            .field("connect", &self.connect)
            .field("max_pool_size", &self.max_pool_size)
            .finish_non_exhaustive()
    }
}

impl Default for MongoConfig {
    /// A server on this machine.
    fn default() -> Self {
        Self {
            url: Secret::new("mongodb://localhost:27017"),
            database: DEFAULT_DATABASE.to_owned(),
            operation: Duration::from_secs(10),
            selection: Duration::from_secs(5),
            connect: Duration::from_secs(5),
            max_pool_size: 64,
            clock: None,
            on_command: None,
        }
    }
}

impl MongoConfig {
    /// A connection string: `mongodb://user:password@host:port,…/database?replicaSet=…`, or `mongodb+srv://` with the
    /// feature `srv`. A database in it is the one everything is in; pool size, timeouts, read and write concern in it hold.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`], without the string.
    pub fn from_url(url: &str) -> Result<Self> {
        let mut config = Self { url: Secret::new(url), ..Self::default() };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("no scheme"))?;
        let is_srv = match scheme {
            "mongodb" => false,
            "mongodb+srv" if cfg!(feature = "srv") => true,
            "mongodb+srv" => return Err(invalid("mongodb+srv needs the feature `srv`")),
            _ => return Err(invalid("the scheme is not mongodb")),
        };
        if !is_srv {
            mongodb::options::ConnectionString::parse(url).map_err(|_| invalid("not a connection string"))?;
        }
        let path = rest.split('?').next().unwrap_or_default();
        if let Some((_, database)) = path.split_once('/')
            && !database.is_empty()
        {
            config = config.with_database(database)?;
        }
        Ok(config)
    }

    /// The variables `MONGODB_URI`, `MONGODB_DATABASE`, `MONGODB_MAX_POOL_SIZE`, and in milliseconds
    /// `MONGODB_OPERATION_TIMEOUT`, `MONGODB_SELECTION_TIMEOUT`, `MONGODB_CONNECTION_TIMEOUT`.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with everything that is wrong.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(Env::from_process("MONGODB"))
    }

    /// [`from_env`](Self::from_env), of these variables.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with everything that is wrong.
    pub fn from_variables(mut env: Env) -> Result<Self> {
        let mut config = match env.secret("URI").map(|url| Self::from_url(url.expose())) {
            None => Self::default(),
            Some(Ok(config)) => config,
            Some(Err(error)) => {
                env.problem("URI", error.detail("reason").unwrap_or("not valid"));
                Self::default()
            }
        };
        if let Some(database) = env.optional::<String>("DATABASE") {
            match config.clone().with_database(&database) {
                Ok(named) => config = named,
                Err(error) => env.problem("DATABASE", error.detail("reason").unwrap_or("not valid")),
            }
        }
        config.max_pool_size = env.get("MAX_POOL_SIZE", config.max_pool_size);
        if config.max_pool_size == 0 {
            env.problem("MAX_POOL_SIZE", "zero");
        }
        let mut millis = |name: &str, default: Duration| match env.optional::<u64>(name) {
            Some(0) => {
                env.problem(name, "zero");
                default
            }
            millis => millis.map_or(default, Duration::from_millis),
        };
        config.operation = millis("OPERATION_TIMEOUT", config.operation);
        config.selection = millis("SELECTION_TIMEOUT", config.selection);
        config.connect = millis("CONNECTION_TIMEOUT", config.connect);
        env.finish().map(|()| config)
    }

    /// In another database.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] for a name MongoDB does not take: 1 to 63 bytes without `/\. "$*<>:|?` and control
    /// characters.
    pub fn with_database(mut self, name: &str) -> Result<Self> {
        let is_bad = |c: char| r#"/\. "$*<>:|?"#.contains(c) || c.is_control();
        if name.is_empty() || name.len() > 63 || name.contains(is_bad) {
            return Err(invalid("the name of a database has 1 to 63 bytes, and none of /\\. \"$*<>:|?"));
        }
        name.clone_into(&mut self.database);
        Ok(self)
    }

    /// With another clock than the server's: for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Tells `handler` of every command: for tests and for hosts that watch the driver.
    #[must_use]
    pub fn on_command(mut self, handler: EventHandler<CommandEvent>) -> Self {
        self.on_command = Some(handler);
        self
    }

    /// What the driver is told. What the URL says holds; majority is what it does not say.
    pub(crate) async fn options(&self) -> Result<ClientOptions> {
        let options = ClientOptions::parse(self.url.expose()).await;
        let mut options = options.map_err(|_| invalid("not a connection string"))?;
        options.app_name.get_or_insert_with(|| "chat-mongo".to_owned());
        options.max_pool_size.get_or_insert(self.max_pool_size);
        options.server_selection_timeout.get_or_insert(self.selection);
        options.connect_timeout.get_or_insert(self.connect);
        options.retry_writes.get_or_insert(true);
        options.retry_reads.get_or_insert(true);
        options
            .write_concern
            .get_or_insert_with(|| WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        options.read_concern.get_or_insert_with(|| ReadConcern::from(ReadConcernLevel::Majority));
        options.command_event_handler.clone_from(&self.on_command);
        Ok(options)
    }
}

fn invalid(reason: &'static str) -> Error {
    Error::invalid(Code::ConfigInvalid, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<MongoConfig> {
        MongoConfig::from_variables(Env::from_pairs("MONGODB", pairs.iter().copied()))
    }

    #[test]
    fn a_url_and_what_refines_it() {
        let config = of(&[
            ("MONGODB_URI", "mongodb://u:s3cret@a:1,b:2/talk?w=1"),
            ("MONGODB_DATABASE", "other"),
            ("MONGODB_MAX_POOL_SIZE", "7"),
            ("MONGODB_OPERATION_TIMEOUT", "1500"),
        ])
        .unwrap();
        assert_eq!((config.database.as_str(), config.max_pool_size), ("other", 7));
        assert_eq!(config.operation, Duration::from_millis(1_500));
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn every_problem_is_reported_and_no_secret() {
        let error = of(&[
            ("MONGODB_URI", "redis://u:s3cret@a"),
            ("MONGODB_DATABASE", "a.b"),
            ("MONGODB_MAX_POOL_SIZE", "0"),
            ("MONGODB_SELECTION_TIMEOUT", "0"),
            ("MONGODB_DATABSE", "s3cret"),
        ])
        .unwrap_err();
        let shown = error.detail("reason").unwrap();
        for problem in [
            "MONGODB_URI: the scheme is not mongodb",
            "MONGODB_DATABASE: the name of a database",
            "MONGODB_MAX_POOL_SIZE: zero",
            "MONGODB_SELECTION_TIMEOUT: zero",
            "MONGODB_DATABSE: unknown, did you mean MONGODB_DATABASE?",
        ] {
            assert!(shown.contains(problem), "{problem:?} is not in {shown}");
        }
        assert!(!format!("{error:?}{error}").contains("s3cret"));
    }

    #[tokio::test]
    async fn a_majority_acknowledges_unless_told_otherwise() {
        let majority = MongoConfig::default().options().await.unwrap().write_concern.unwrap();
        assert_eq!((majority.w, majority.journal), (Some(Acknowledgment::Majority), Some(true)));
        let one = MongoConfig::from_url("mongodb://localhost/?w=1").unwrap().options().await.unwrap();
        assert_eq!(one.write_concern.unwrap().w, Some(Acknowledgment::Nodes(1)));
    }
}
