//! URLs. No reason given here holds any part of what was read: it may be a piece of a password.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chat_core::config::Secret;
use percent_encoding::percent_decode_str;
use url::Url;

use super::{Family, Node, RedisConfig, Tls, Topology};
use crate::keys::KeySpace;

type Parsed<T> = Result<T, &'static str>;

const SCHEMES: &str = "the scheme is redis or rediss, alone or with +unix, +sentinel or +cluster";

pub(super) fn parse(text: &str) -> Parsed<RedisConfig> {
    let (scheme, rest) = text.split_once("://").ok_or("no scheme")?;
    let (base, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match base {
        "redis" => false,
        "rediss" => true,
        _ => return Err(SCHEMES),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or("not a URL")?;
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    // A URL has one host, so the hosts are read one by one.
    let url =
        Url::parse(&format!("redis://{user}@host{path}")).map_err(|_| "user and password are not a URL's")?;
    if url.fragment().is_some() {
        return Err("a # stands percent-encoded in a password");
    }
    let mut parameters = Parameters::of(&url)?;
    let mut place = Place::of(&url)?;
    let topology = match kind {
        "" => match <[Node; 1]>::try_from(nodes(hosts, 6379)?) {
            Ok([node]) => Topology::Single(node),
            Err(_) => return Err("several hosts need +sentinel or +cluster"),
        },
        "unix" if !hosts.is_empty() => return Err("a socket has a path and no host"),
        "unix" => Topology::Unix(place.socket()?),
        "sentinel" => Topology::Sentinel {
            sentinels: nodes(hosts, 26379)?,
            master: place.next().ok_or("the path names the master")?,
        },
        "cluster" => Topology::Cluster(nodes(hosts, 6379)?),
        _ => return Err(SCHEMES),
    };
    let db = match (kind, place.next()) {
        ("unix", None) => parameters.take("db"),
        (_, db) => db,
    };
    let config = RedisConfig {
        topology,
        tls: parameters.tls(tls)?,
        username: decoded(url.username())?,
        password: decoded(url.password().unwrap_or_default())?.map(Secret::new),
        sentinel_username: parameters.take("sentinel_username"),
        sentinel_password: parameters.take("sentinel_password").map(Secret::new),
        db: db.map_or(Ok(0), |db| db.parse()).map_err(|_| "the database is a number")?,
        family: parameters.family()?,
        keys: parameters.keys()?,
        ..RedisConfig::default()
    };
    place.end()?;
    parameters.end()?;
    Ok(config)
}

/// The parts of the path.
struct Place(std::vec::IntoIter<String>);

impl Place {
    fn of(url: &Url) -> Parsed<Self> {
        let parts = url.path_segments().into_iter().flatten().filter(|part| !part.is_empty());
        let parts: Vec<_> = parts.filter_map(|part| decoded(part).transpose()).collect::<Parsed<_>>()?;
        Ok(Self(parts.into_iter()))
    }

    fn next(&mut self) -> Option<String> {
        self.0.next()
    }

    fn socket(&mut self) -> Parsed<PathBuf> {
        let parts: Vec<_> = self.0.by_ref().collect();
        if parts.is_empty() {
            Err("the path is that of the socket")
        } else {
            Ok(PathBuf::from(format!("/{}", parts.join("/"))))
        }
    }

    fn end(&mut self) -> Parsed<()> {
        self.next().map_or(Ok(()), |_| Err("the path has too many parts"))
    }
}

struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn of(url: &Url) -> Parsed<Self> {
        let mut parameters = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            if parameters.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err("a parameter is given twice");
            }
        }
        Ok(Self(parameters))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn tls(&mut self, on: bool) -> Parsed<Option<Tls>> {
        let mut file = |name| self.take(name).map(PathBuf::from);
        let (ca, cert, key) = (file("tls_ca"), file("tls_cert"), file("tls_key"));
        let identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err("tls_cert and tls_key belong together"),
        };
        match (on, ca.is_some() || identity.is_some()) {
            (true, _) => Ok(Some(Tls { ca, identity })),
            (false, false) => Ok(None),
            (false, true) => Err("TLS parameters need rediss"),
        }
    }

    fn family(&mut self) -> Parsed<Option<Family>> {
        match self.take("family").as_deref() {
            None => Ok(None),
            Some("4") => Ok(Some(Family::V4)),
            Some("6") => Ok(Some(Family::V6)),
            Some(_) => Err("the family is 4 or 6"),
        }
    }

    fn keys(&mut self) -> Parsed<KeySpace> {
        let Some(prefix) = self.take("prefix") else { return Ok(KeySpace::default()) };
        KeySpace::new(&prefix).map_err(|_| "a key prefix is 1 to 64 of a-z, A-Z, 0-9, _, -, .")
    }

    fn end(self) -> Parsed<()> {
        if self.0.is_empty() { Ok(()) } else { Err("a parameter is unknown") }
    }
}

fn nodes(hosts: &str, port: u16) -> Parsed<Vec<Node>> {
    hosts.split(',').map(|host| node(host, port)).collect()
}

fn node(text: &str, default: u16) -> Parsed<Node> {
    if text.is_empty() {
        return Err("a host is missing");
    }
    let url = Url::parse(&format!("redis://{text}")).map_err(|_| "a host or port is not valid")?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("a host is missing")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Node { host, port: url.port().unwrap_or(default) })
}

/// What stands percent-encoded in a URL; nothing when it is empty.
fn decoded(text: &str) -> Parsed<Option<String>> {
    let plain = percent_decode_str(text).decode_utf8().map_err(|_| "what is percent-encoded is not UTF-8")?;
    Ok((!plain.is_empty()).then(|| plain.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        Node { host: host.to_owned(), port }
    }

    #[test]
    fn one_server() {
        let config = parse("redis://ada:l%40ve%2Flace@redis.internal:6380/3?prefix=acme").unwrap();
        assert_eq!(config.topology, Topology::Single(node("redis.internal", 6380)));
        assert_eq!((config.username.as_deref(), config.db), (Some("ada"), 3));
        assert_eq!(config.password.unwrap().expose(), "l@ve/lace");
        assert_eq!((config.keys.prefix(), config.tls), ("acme", None));

        let bare = parse("redis://localhost").unwrap();
        assert_eq!((bare.topology.to_string(), bare.db), ("localhost:6379".to_owned(), 0));
        assert_eq!(bare.password, None);
        assert_eq!(parse("redis://[::1]:7000/").unwrap().topology.to_string(), "[::1]:7000");
        assert_eq!(parse("redis://host?family=6").unwrap().family, Some(Family::V6));
    }

    #[test]
    fn passwords_of_every_kind() {
        for password in ["p", "a:b", "é ü", "100%", "a@b", "a?b#c/d", "{}[]\\|^`\"<>'"] {
            let encoded = percent_encoding::utf8_percent_encode(password, percent_encoding::NON_ALPHANUMERIC);
            let config = parse(&format!("redis://:{encoded}@host/1")).unwrap();
            assert_eq!(config.password.unwrap().expose(), password);
            assert_eq!(config.username, None);
        }
        // An @ is understood as it stands, too.
        assert_eq!(parse("redis://:a@b@host").unwrap().password.unwrap().expose(), "a@b");
    }

    #[test]
    fn a_socket() {
        let config = parse("redis+unix:///run/re%20dis/redis.sock?db=2").unwrap();
        assert_eq!(config.topology, Topology::Unix(PathBuf::from("/run/re dis/redis.sock")));
        assert_eq!(config.db, 2);
        let config = parse("redis+unix://:secret@/redis.sock").unwrap();
        assert_eq!((config.password.unwrap().expose(), config.db), ("secret", 0));
    }

    #[test]
    fn sentinels() {
        let url = "rediss+sentinel://u:p@a,b:1,[::2]/main/4?sentinel_username=s&sentinel_password=t%26&tls_ca=/ca.pem";
        let config = parse(url).unwrap();
        let sentinels = vec![node("a", 26379), node("b", 1), node("::2", 26379)];
        assert_eq!(config.topology, Topology::Sentinel { sentinels, master: "main".to_owned() });
        assert_eq!((config.db, config.sentinel_username.as_deref()), (4, Some("s")));
        assert_eq!(config.sentinel_password.unwrap().expose(), "t&");
        assert_eq!(config.tls.unwrap().ca, Some(PathBuf::from("/ca.pem")));
    }

    #[test]
    fn a_cluster() {
        let config = parse("redis+cluster://a:1,b:2").unwrap();
        assert_eq!(config.topology, Topology::Cluster(vec![node("a", 1), node("b", 2)]));
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_of_it_shown() {
        for (url, reason) in [
            ("localhost:6379", "no scheme"),
            ("http://secret", SCHEMES),
            ("redis+secret://host", SCHEMES),
            ("redis://", "a host is missing"),
            ("redis://:secret@", "a host is missing"),
            ("redis://host:secret", "a host or port is not valid"),
            ("redis://host:70000", "a host or port is not valid"),
            ("redis://a,b", "several hosts need +sentinel or +cluster"),
            ("redis://a,,b", "a host is missing"),
            ("redis://host/secret", "the database is a number"),
            ("redis://host/-1", "the database is a number"),
            ("redis://host/0/secret", "the path has too many parts"),
            ("redis://host?secret=1", "a parameter is unknown"),
            ("redis://host?db=1", "a parameter is unknown"),
            ("redis://host?prefix=a&prefix=secret", "a parameter is given twice"),
            ("redis://host?prefix=se%3Acret", "a key prefix is 1 to 64 of a-z, A-Z, 0-9, _, -, ."),
            ("redis://host?family=secret", "the family is 4 or 6"),
            ("redis://:sec?ret@host", "a host or port is not valid"),
            ("redis://:sec#ret@host", "a # stands percent-encoded in a password"),
            ("redis://:sec/ret@host", "a host or port is not valid"),
            ("redis://host#secret", "a # stands percent-encoded in a password"),
            ("redis://:%ff@host", "what is percent-encoded is not UTF-8"),
            ("redis://host?tls_ca=/secret", "TLS parameters need rediss"),
            ("rediss://host?tls_cert=/secret", "tls_cert and tls_key belong together"),
            ("redis+sentinel://host", "the path names the master"),
            ("redis+unix://host/secret", "a socket has a path and no host"),
            ("redis+unix://", "the path is that of the socket"),
        ] {
            assert_eq!(parse(url).unwrap_err(), reason, "{url}");
            let shown = format!("{:?}", RedisConfig::from_url(url).unwrap_err());
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
