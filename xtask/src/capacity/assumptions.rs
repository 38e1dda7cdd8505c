//! What is assumed of a chat: every number can be given on the command line.

use anyhow::{Context, Result, bail};

macro_rules! assumptions {
    ($(#[doc = $says:literal] $name:ident $flag:literal = $value:literal, $from:literal;)*) => {
        /// What is assumed of a chat.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(crate) struct Assumptions {
            $(#[doc = $says] pub(crate) $name: f64,)*
        }

        impl Default for Assumptions {
            fn default() -> Self {
                Self { $($name: $value,)* }
            }
        }

        impl Assumptions {
            /// Sets one by the name of its option.
            fn set(&mut self, flag: &str, value: f64) -> bool {
                match flag {
                    $($flag => self.$name = value,)*
                    _ => return false,
                }
                true
            }

            /// Every one: its option, its value, what it says and where it comes from.
            pub(crate) fn rows(&self) -> Vec<(&'static str, f64, &'static str, &'static str)> {
                vec![$(($flag, self.$name, $says, $from),)*]
            }
        }
    };
}

assumptions! {
    /// users there are
    users "users" = 1e6, "asked for";
    /// of 100 users so many are online at the peak
    online_percent "online" = 10.0, "a public chat; at work up to 50 in the morning";
    /// devices of a user who is online
    devices "devices" = 1.2, "a telephone, and now and then a desk";
    /// messages a user sends a day
    messages "messages" = 40.0, "what is published of the largest messengers: a hundred billion a day of some two billion users";
    /// times as much happens at the peak as on average over a day
    peak "peak" = 3.0, "an evening beside a night";
    /// members of the conversation a message goes to, on average over messages
    members "members" = 10.0, "most go to one, some to hundreds";
    /// conversations of a user
    rooms "rooms" = 30.0, "direct ones included";
    /// members of a conversation, on average over conversations
    room_size "room-size" = 4.0, "direct ones included";
    /// messages a reader covers with one `mark read`
    covered "covered" = 3.0, "several come before somebody looks";
    /// of 100 messages to somebody online so many are said to be delivered
    delivered_percent "delivered" = 0.0, "clients that show one tick only; 100 doubles the events";
    /// typing events for each message
    typing "typing" = 1.0, "a start for half of them, and its end";
    /// times a user comes and goes a day
    sessions "sessions" = 8.0, "a telephone that sleeps in between";
    /// bytes of text of a message
    text "text" = 120.0, "a line or two";
    /// days messages are kept
    days "days" = 365.0, "asked for";
    /// copies of what is stored on disk
    copies "copies" = 3.0, "a replica set of three";
    /// seconds between two renewals of a lease
    beat "beat" = 15.0, "`ServerOptions::heartbeat_every`";
    /// of 100 parts of a processor so many are used at the peak
    busy_percent "busy" = 60.0, "the rest is for what comes together, and for a server that is away";
    /// GB of memory of a Redis, of which 70 in 100 are used
    redis_gb "redis-gb" = 32.0, "a common machine; the rest is for a copy in the making and for fragments";
    /// cores of a node
    cores "cores" = 8.0, "a common machine";
    /// sockets of a node at most
    sockets "sockets" = 50000.0, "what one is ready to see reconnect at once";
    /// writes a second of a shard of MongoDB, on the disks of a majority
    mongo_writes "mongo-writes" = 5000.0, "NOT MEASURED here, where no `mongod` is: measure yours (`cargo xtask bench mongo_messages`)";
    /// GB of documents and indexes of a shard of MongoDB
    mongo_gb "mongo-gb" = 2000.0, "a disk that a new member copies in hours";
    /// of 100 bytes of documents so many are on disk
    packed_percent "packed" = 50.0, "snappy on text and repeated names; indexes are not counted down";
    /// bytes of an entry of an index
    entry "entry" = 30.0, "NOT MEASURED here: WiredTiger leaves out what keys have in common";
    /// MB a second of a partition of Kafka
    partition_mb "partition-mb" = 10.0, "a common rule";
    /// days Kafka keeps events
    log_days "log-days" = 7.0, "its default";
    /// Gbit/s of a network card, of which half is used
    network_gbit "network" = 10.0, "a common machine";
}

impl Assumptions {
    /// Reads options, `--users 2e6`.
    pub(crate) fn read(args: &[&str]) -> Result<Self> {
        let mut assumed = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix("--") else { bail!("{arg} is no option") };
            let value = args.next().with_context(|| format!("--{flag} wants a number"))?;
            let value: f64 = value.parse().with_context(|| format!("--{flag} wants a number"))?;
            if !(value.is_finite() && value >= 0.0) {
                bail!("--{flag} wants a number that is not negative");
            }
            if !assumed.set(flag, value) {
                let known: Vec<_> = assumed.rows().into_iter().map(|row| row.0).collect();
                bail!("--{flag} is none of --write, --check, --{}", known.join(", --"));
            }
        }
        Ok(assumed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_replace_what_is_assumed() {
        let assumed = Assumptions::read(&["--users", "2e6", "--room-size", "7"]).unwrap();
        assert_eq!((assumed.users, assumed.room_size), (2e6, 7.0));
        assert_eq!(Assumptions { users: 1e6, room_size: 4.0, ..assumed }, Assumptions::default());
        for wrong in
            [&["users"][..], &["--users"], &["--users", "many"], &["--people", "3"], &["--users", "-1"]]
        {
            assert!(Assumptions::read(wrong).is_err(), "{wrong:?}");
        }
    }
}
