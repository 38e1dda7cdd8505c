//! What the server was told: arguments first, then the environment, and every problem at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use chat_core::config::{Env, Secret};
use chat_core::error::{Code, Error, Result};
use chat_core::prewarm::{ACTIVE_WITHIN, PrewarmOptions};
use chat_core::service::ChatSettings;
use chat_mongo::MongoConfig;
use chat_redis::RedisConfig;

use crate::auth::{Auth, Realm};
use crate::options::Prewarm;
use crate::wiring::Places;

/// Where the server listens unless told otherwise.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3000);

/// The most people asked for at once.
const MAX_PREWARM_BATCH: usize = 10_000;

/// What `--help` says.
pub const HELP: &str = "\
The chat reference server: Socket.IO and a web page. Starts with nothing installed.

    chat-server [--option value | --option=value]...
    chat-server prewarm --redis URL --mongo URL [--days 7] [--most 10000] [--batch 500] [--pause-ms 1500] [--resume FILE]

    --listen ADDRESS        where to listen (127.0.0.1:3000; port 0 takes a free one)
    --jwt-secret SECRET     the secret tokens are signed with (HS256)
    --jwt-public-key KEY    the RSA public key tokens are checked with (RS256): PEM, or a file that holds it
    --jwt-issuer NAME       what `iss` must be (chat)
    --jwt-audience NAME     what `aud` must name (chat)
    --dev                   anybody signs in by name; loopback addresses only. Without a key this is on
    --redis URL             where presence, unread counts, rooms, profiles and limits live: redis://host:port/db,
                            redis+sentinel://host,host/master or redis+cluster://host,host; in memory without it
    --mongo URL             where messages, conversations, members, positions, files and users live:
                            mongodb://host:port/database of a replica set; in memory without it.
                            Any number of servers with the same --redis and --mongo are one chat
    --prewarm-days N        once it serves, bring the profiles of people in conversations with a message within N days
                            into the cache; not without it. --prewarm-most, --prewarm-batch, --prewarm-pause-ms as below
    --kafka BROKERS         not built into this version yet
    --help, --version

prewarm does that by hand, and ends: at most so many people, so many at a time, with a pause between, the most recent
conversations first. It prints what it did as JSON. With --resume it keeps in FILE how far it is, and goes on from there
after Ctrl-C, a failure or a crash; FILE is gone once nobody is left.

Each option is also an environment variable: --jwt-secret is CHAT_JWT_SECRET. An argument wins.
The rules of the chat come from the environment alone: CHAT_MAX_MEMBERS, CHAT_DELETE_WINDOW_SECONDS,
CHAT_TYPING_TIMEOUT_SECONDS, CHAT_TYPING_DEBOUNCE_SECONDS, CHAT_PRESENCE_LEASE_SECONDS,
CHAT_IDLE_AFTER_SECONDS, CHAT_ANNOUNCE_MAX. RUST_LOG sets what is logged.";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// To serve, until told to stop.
    Serve,
    /// To bring profiles into the cache, and end.
    Prewarm(ByHand),
}

/// Profiles are brought into the cache by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByHand {
    /// Whose.
    pub plan: Prewarm,
    /// Where it is kept how far it is, to go on from there.
    pub resume: Option<PathBuf>,
}

/// The options of `prewarm` that have a longer name elsewhere.
const OF_PREWARM: [&str; 5] = ["CHAT_DAYS", "CHAT_MOST", "CHAT_BATCH", "CHAT_PAUSE_MS", "CHAT_RESUME"];

/// What the server was told.
#[derive(Debug)]
pub struct Config {
    /// What is to be done.
    pub task: Task,
    /// Where to listen.
    pub listen: SocketAddr,
    /// How tokens are checked.
    pub auth: Auth,
    /// Whether anybody signs in by name.
    pub dev: bool,
    /// Whether the secret was made up, because none was given.
    pub made_up_secret: bool,
    /// The rules of the chat.
    pub settings: ChatSettings,
    /// Where backends are.
    pub places: Places,
    /// Whose profiles a server brings into the cache before anybody asks.
    pub prewarm: Option<Prewarm>,
}

impl Config {
    /// Reads arguments (without the program's name) and variables.
    ///
    /// # Errors
    /// [`Code::ConfigInvalid`] with every problem.
    pub fn read(
        arguments: impl IntoIterator<Item = String>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        // Variables of the project's own tests are nobody's mistake.
        let variables = variables.into_iter().filter(|(name, _)| !name.starts_with("CHAT_TEST_"));
        let mut arguments = arguments.into_iter().peekable();
        let is_prewarm = arguments.next_if(|first| first == "prewarm").is_some();
        let (mut arguments, stray) = pairs(arguments);
        for (name, _) in arguments.iter_mut().filter(|(name, _)| is_prewarm && OF_PREWARM.contains(&&**name))
        {
            name.insert_str("CHAT_".len(), "PREWARM_");
        }
        let mut env = Env::from_pairs("CHAT", variables.chain(arguments));
        let listen = env.get("LISTEN", DEFAULT_LISTEN);
        let settings = ChatSettings::read(&mut env);
        let places = places(&mut env);
        let (task, prewarm) = tasks(&mut env, is_prewarm, &places);
        let (auth, dev, made_up_secret) = sign_in(&mut env);
        if dev && !listen.ip().is_loopback() {
            let what =
                "anybody may sign in as anybody under --dev, so only a loopback address will do; give a key";
            env.problem("LISTEN", what);
        }
        finish(env, stray)?;
        // Without a problem there is a key.
        let auth = auth.ok_or_else(|| Error::invalid(Code::ConfigInvalid, "no key to check tokens with"))?;
        Ok(Self { task, listen, auth, dev, made_up_secret, settings, places, prewarm })
    }
}

/// Arguments as variables, and what is no argument.
fn pairs(arguments: impl IntoIterator<Item = String>) -> (Vec<(String, String)>, Vec<String>) {
    let (mut pairs, mut stray) = (Vec::new(), Vec::new());
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        let Some(option) = argument.strip_prefix("--").filter(|option| !option.is_empty()) else {
            stray.push(argument);
            continue;
        };
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            // A switch stands alone; what takes a value is followed by one.
            None => (option, arguments.next_if(|next| is_value(next)).unwrap_or_else(|| "true".to_owned())),
        };
        pairs.push((format!("CHAT_{}", name.replace('-', "_").to_uppercase()), value));
    }
    (pairs, stray)
}

/// Whether an argument is the value of the option before it. A key in PEM begins with dashes too.
fn is_value(argument: &str) -> bool {
    !argument.starts_with("--") || argument.starts_with("-----BEGIN")
}

/// What is to be done, and whose profiles a server brings into the cache.
fn tasks(env: &mut Env, is_prewarm: bool, places: &Places) -> (Task, Option<Prewarm>) {
    let usual = PrewarmOptions::default();
    let days: Option<u32> = env.optional("PREWARM_DAYS");
    let options = PrewarmOptions {
        most: env.get("PREWARM_MOST", usual.most),
        batch: env.get("PREWARM_BATCH", usual.batch),
        pause: env.optional("PREWARM_PAUSE_MS").map_or(usual.pause, Duration::from_millis),
        ..usual
    };
    let resume: Option<PathBuf> = env.optional("PREWARM_RESUME");
    if !(1..=MAX_PREWARM_BATCH).contains(&options.batch) {
        env.problem("PREWARM_BATCH", "must be 1 to 10000");
    }
    let plan = |within| Prewarm { within, options };
    let asked = days.map(|days| plan(Duration::from_secs(u64::from(days) * 24 * 60 * 60)));
    if !is_prewarm {
        if resume.is_some() {
            env.problem("PREWARM_RESUME", "only prewarm goes on where it was");
        }
        return (Task::Serve, asked);
    }
    if places.redis.is_none() {
        env.problem("REDIS", "prewarm needs it: profiles are cached there");
    }
    if places.mongo.is_none() {
        env.problem("MONGO", "prewarm needs it: conversations and profiles are there");
    }
    (Task::Prewarm(ByHand { plan: asked.unwrap_or_else(|| plan(ACTIVE_WITHIN)), resume }), None)
}

fn places(env: &mut Env) -> Places {
    if env.secret("KAFKA").is_some() {
        env.problem("KAFKA", "not built into this version yet");
    }
    Places {
        redis: place(env, "REDIS", RedisConfig::from_url),
        mongo: place(env, "MONGO", MongoConfig::from_url),
    }
}

/// What a URL says; what is wrong with it is told without it.
fn place<C>(env: &mut Env, name: &str, from_url: impl FnOnce(&str) -> Result<C>) -> Option<C> {
    match from_url(env.secret(name)?.expose()) {
        Ok(config) => Some(config),
        Err(error) => {
            env.problem(name, error.detail("reason").unwrap_or("not a URL of this backend"));
            None
        }
    }
}

/// How tokens are checked, whether anybody signs in by name, and whether the secret was made up.
fn sign_in(env: &mut Env) -> (Option<Auth>, bool, bool) {
    let realm = Realm::default();
    let realm = Realm {
        issuer: env.get("JWT_ISSUER", realm.issuer),
        audience: env.get("JWT_AUDIENCE", realm.audience),
    };
    let (secret, public, asked) =
        (env.secret("JWT_SECRET"), env.optional::<String>("JWT_PUBLIC_KEY"), env.flag("DEV"));
    match (secret, public) {
        (Some(_), Some(_)) => {
            env.problem("JWT_PUBLIC_KEY", "there is a secret too; give one of them");
            (None, asked, false)
        }
        (Some(secret), None) => (Some(Auth::hs256(&secret, realm)), asked, false),
        (None, Some(key)) => {
            if asked {
                env.problem("DEV", "signing in by name needs a secret; a public key only checks tokens");
            }
            (public_key(env, &key, realm), asked, false)
        }
        (None, None) => (Some(Auth::hs256(&made_up(), realm)), true, true),
    }
}

fn public_key(env: &mut Env, key: &str, realm: Realm) -> Option<Auth> {
    let pem = if key.contains("-----BEGIN") { Ok(key.to_owned()) } else { std::fs::read_to_string(key) };
    match pem.map(|pem| Auth::rs256(&pem, realm)) {
        Ok(Ok(auth)) => return Some(auth),
        Ok(Err(_)) => env.problem("JWT_PUBLIC_KEY", "not an RSA public key in PEM"),
        Err(error) => env.problem(
            "JWT_PUBLIC_KEY",
            &format!("neither PEM nor a file that can be read ({})", error.kind()),
        ),
    }
    None
}

fn made_up() -> Secret {
    Secret::new(rand::random::<[u64; 4]>().map(|part| format!("{part:016x}")).concat())
}

/// # Errors
/// [`Code::ConfigInvalid`] with every problem of `env` and every stray argument.
fn finish(env: Env, stray: Vec<String>) -> Result<()> {
    let found = env.finish().err();
    let known = found.as_ref().and_then(|error| error.detail("reason")).map(ToOwned::to_owned);
    // A stray argument may be a secret in the wrong place: it is not repeated.
    let stray = (!stray.is_empty())
        .then(|| format!("{} argument(s) that are neither --options nor their values", stray.len()));
    let problems: Vec<String> = known.into_iter().chain(stray).collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::invalid(Code::ConfigInvalid, problems.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Config> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::read(arguments.iter().map(|argument| (*argument).to_owned()), variables)
    }

    fn problems(arguments: &[&str], variables: &[(&str, &str)]) -> String {
        read(arguments, variables).unwrap_err().detail("reason").unwrap().to_owned()
    }

    #[test]
    fn nothing_at_all_is_dev_on_loopback_with_a_secret_of_its_own() {
        let config = read(&[], &[]).unwrap();
        assert_eq!(config.listen, DEFAULT_LISTEN);
        assert!(config.dev && config.made_up_secret && config.auth.signs());
    }

    #[test]
    fn a_key_ends_dev_and_an_argument_wins() {
        let config =
            read(&["--listen", "127.0.0.1:0", "--jwt-secret=s"], &[("CHAT_LISTEN", "127.0.0.1:1")]).unwrap();
        assert_eq!(config.listen.port(), 0);
        assert!(!config.dev && !config.made_up_secret);
        assert!(read(&["--dev", "--jwt-secret", "s"], &[]).unwrap().dev);
        assert!(read(&[], &[("CHAT_DEV", "1"), ("CHAT_JWT_SECRET", "s")]).unwrap().dev);
    }

    #[test]
    fn dev_refuses_what_others_can_reach() {
        for listen in ["0.0.0.0:3000", "192.0.2.1:80", "[::]:3000"] {
            assert!(problems(&["--listen", listen], &[]).contains("loopback"), "{listen}");
            assert!(read(&["--listen", listen, "--jwt-secret", "s"], &[]).is_ok(), "{listen}");
        }
        assert!(read(&["--listen", "[::1]:0"], &[]).is_ok());
    }

    #[test]
    fn every_problem_is_told_at_once_and_no_secret_is() {
        let told = problems(
            &[
                "--listen",
                "here",
                "--lissten=x",
                "hunter2",
                "--redis",
                "http://:hunter2@h",
                "--max-members",
                "many",
            ],
            &[
                ("CHAT_JWT_SECRET", "hunter2"),
                ("CHAT_JWT_PUBLIC_KEY", "/nowhere"),
                ("CHAT_TEST_REQUIRE", "node"),
            ],
        );
        for part in [
            "CHAT_LISTEN",
            "did you mean CHAT_LISTEN",
            "CHAT_REDIS: Redis URL: the scheme",
            "CHAT_MAX_MEMBERS",
            "one of them",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(
            told.contains("1 argument(s)") && !told.contains("hunter2") && !told.contains("CHAT_TEST"),
            "{told}"
        );
    }

    #[test]
    fn profiles_are_prewarmed_when_asked_for() {
        let places = ["--redis", "redis://localhost", "--mongo", "mongodb://localhost/chat"];
        assert_eq!(read(&places, &[]).unwrap().prewarm, None);
        let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
        let asked = read(&["--prewarm-days", "3", "--prewarm-most=9"], &[]).unwrap();
        let options = PrewarmOptions { most: 9, ..PrewarmOptions::default() };
        assert_eq!((asked.task, asked.prewarm), (Task::Serve, Some(Prewarm { within: days(3), options })));
        let by_hand = |arguments: &[&str], variables: &[(&str, &str)]| {
            let config = read(&[&["prewarm"], arguments, &places].concat(), variables).unwrap();
            assert_eq!(config.prewarm, None);
            let Task::Prewarm(by_hand) = config.task else { panic!("{:?}", config.task) };
            (by_hand.plan.within, by_hand.plan.options, by_hand.resume)
        };
        assert_eq!(by_hand(&[], &[]), (days(7), PrewarmOptions::default(), None));
        let options =
            PrewarmOptions { most: 9, batch: 4, pause: Duration::ZERO, ..PrewarmOptions::default() };
        assert_eq!(
            by_hand(
                &["--days", "2", "--most", "9", "--batch=4", "--pause-ms", "0", "--resume", "place"],
                &[("CHAT_PREWARM_DAYS", "5"), ("CHAT_JWT_SECRET", "s"), ("CHAT_LISTEN", "0.0.0.0:3000")],
            ),
            (days(2), options, Some(PathBuf::from("place")))
        );
        let told = problems(&["prewarm", "--batch", "0"], &[]);
        for part in ["CHAT_REDIS: prewarm needs it", "CHAT_MONGO: prewarm needs it", "CHAT_PREWARM_BATCH"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(problems(&["--prewarm-resume", "place"], &[]).contains("only prewarm"));
        assert!(problems(&["--days", "3"], &[]).contains("CHAT_DAYS"), "that is an option of prewarm alone");
    }

    #[test]
    fn a_public_key_is_checked() {
        assert!(problems(&["--jwt-public-key", "/nowhere"], &[]).contains("neither PEM nor a file"));
        assert!(
            problems(&["--jwt-public-key", "-----BEGIN PUBLIC KEY-----"], &[])
                .contains("not an RSA public key")
        );
        assert!(problems(&["--jwt-public-key", "/nowhere", "--dev"], &[]).contains("needs a secret"));
    }
}
