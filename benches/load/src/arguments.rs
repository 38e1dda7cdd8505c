//! What is to be done, and to whom.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};

const USAGE: &str = "\
usage: chat-load fanout|rooms|storm|idle --address HOST:PORT --pid PID, with CHAT_JWT_SECRET in the environment
  fanout  [--members 100] [--messages 2000] [--senders 1]   one room
  rooms   [--rooms 100] [--members 10] [--messages 200]     many rooms at once
  storm   [--sockets 5000] [--at-once 64]                   all connect, as fast as they are answered
  idle    [--sockets 5000] [--seconds 30]                   all connect and do nothing";

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Messages to rooms of so many members; so many at once are on their way in each.
    Rooms { rooms: usize, members: usize, messages: usize, senders: usize },
    /// So many sockets connect, and leave.
    Storm { sockets: usize, at_once: usize },
    /// So many sockets do nothing for so long.
    Idle { sockets: usize, seconds: u64 },
}

/// What is to be done, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// What.
    pub(crate) scenario: Scenario,
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// The server's process.
    pub(crate) pid: u32,
}

impl Arguments {
    /// Reads a command line.
    ///
    /// # Errors
    /// Whatever is wrong with it.
    pub(crate) fn read(words: &[String]) -> Result<Self> {
        let (name, options) = words.split_first().context(USAGE)?;
        ensure!(options.len() % 2 == 0, USAGE);
        let mut options: Vec<(&str, &str)> = options
            .chunks_exact(2)
            .filter_map(|pair| Some((pair.first()?.strip_prefix("--")?, pair.get(1)?.as_str())))
            .collect();
        let mut take = |name: &str| {
            let at = options.iter().position(|(known, _)| *known == name)?;
            Some(options.swap_remove(at).1.to_owned())
        };
        let address = take("address").context(USAGE)?.parse().context("--address is HOST:PORT")?;
        let pid = take("pid").context(USAGE)?.parse().context("--pid is a number")?;
        let mut number = |name: &str, usual: usize| match take(name) {
            Some(value) => {
                value.parse().ok().filter(|value| *value > 0).context(format!("--{name} is a number"))
            }
            None => Ok(usual),
        };
        let scenario = match name.as_str() {
            "fanout" => Scenario::Rooms {
                rooms: 1,
                members: number("members", 100)?,
                messages: number("messages", 2_000)?,
                senders: number("senders", 1)?,
            },
            "rooms" => Scenario::Rooms {
                rooms: number("rooms", 100)?,
                members: number("members", 10)?,
                messages: number("messages", 200)?,
                senders: 1,
            },
            "storm" => {
                Scenario::Storm { sockets: number("sockets", 5_000)?, at_once: number("at-once", 64)? }
            }
            "idle" => {
                Scenario::Idle { sockets: number("sockets", 5_000)?, seconds: number("seconds", 30)? as u64 }
            }
            _ => bail!(USAGE),
        };
        ensure!(options.is_empty(), USAGE);
        Ok(Self { scenario, address, pid })
    }

    /// How many sockets it takes.
    pub(crate) fn sockets(&self) -> usize {
        match self.scenario {
            Scenario::Rooms { rooms, members, .. } => rooms * members,
            Scenario::Storm { sockets, .. } | Scenario::Idle { sockets, .. } => sockets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments> {
        Arguments::read(&line.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_not_said_is_as_usual_and_what_is_not_known_is_refused() {
        let read_well = read("fanout --address 127.0.0.1:1 --members 7 --pid 2").unwrap();
        assert_eq!(read_well.scenario, Scenario::Rooms { rooms: 1, members: 7, messages: 2_000, senders: 1 });
        assert_eq!((read_well.pid, read_well.sockets()), (2, 7));
        for wrong in
            ["", "fanout", "dance --pid 1 --address 127.0.0.1:1", "idle --address 127.0.0.1:1 --pid 1 --x 1"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(read("idle --address 127.0.0.1:1 --pid 1 --sockets 0").is_err());
    }
}
