//! Every metric the server may export, its own and those of the crates it is made of: what it says, and its labels.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, until the process starts anew.
    Counter,
    /// As it is now.
    Gauge,
    /// How many took how long, in seconds.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// The labels it may have.
    pub labels: &'static [&'static str],
    /// What it says.
    pub says: &'static str,
}

macro_rules! metrics {
    ($($kind:ident $name:literal [$($label:literal)*] $says:literal;)*) => {
        /// Every metric there may be.
        pub const ALL: &[Metric] =
            &[$(Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], says: $says },)*];
    };
}

metrics! {
    // The server.
    Gauge "chat_sockets" [] "Sockets connected to this process.";
    Gauge "chat_users_online" [] "Users online, on all processes.";
    Gauge "chat_nodes" [] "Servers that are one chat, as this process knows.";
    Counter "chat_messages_sent_total" [] "Messages accepted from sockets of this process.";
    Counter "chat_events_total" ["event" "code"] "Events handled, by what was answered.";
    Histogram "chat_event_seconds" ["event"] "From taking an event out of its queue to answering it.";
    Counter "chat_connects_refused_total" ["code"] "Sockets refused, by code.";
    Counter "chat_sockets_cut_total" ["cause"] "Sockets ended by the server, by cause: overflow, expired, gap.";
    Counter "chat_fanout_events_total" [] "Events that reached this process through the log.";
    Gauge "chat_health" ["check"] "How each check of /health is: 0 well, 1 degraded, 2 down.";
    Gauge "chat_outbox_pending" [] "Events the truth has written and nobody has published yet, on all processes.";
    Gauge "chat_uptime_seconds" [] "Since when this process serves.";
    // The core.
    Histogram "chat_operation_seconds" ["backend" "operation" "outcome"]
        "How long an operation of a backend took, and how it ended: ok, or an error's code.";
    Histogram "chat_call_seconds" ["backend" "operation" "outcome"]
        "How long whoever called a guarded port waited, all attempts together, and how it ended: ok, a code, cancelled.";
    Counter "chat_retries_total" ["backend" "operation"] "Calls made again after a passing failure.";
    Counter "chat_retries_denied_total" ["backend"] "Calls not made again, since too many were.";
    Counter "chat_profile_hits_total" [] "Profiles found in the cache.";
    Counter "chat_profile_misses_total" [] "Profiles the cache did not have.";
    Counter "chat_prewarmed_total" [] "Profiles put into the cache before anybody asked.";
    Counter "chat_relay_failures_total" [] "Rounds of the relay, from outbox to log, that failed and are repeated.";
    Counter "chat_announcements_lost_total" ["event"] "Events of volatile state (typing, presence) that nobody heard of.";
    Counter "chat_derived_failures_total" ["what"] "Updates of derived state that failed; the derive worker repeats them.";
    Gauge "chat_breaker_open" ["breaker"] "1 while a breaker is open: its backend is not asked.";
    Counter "chat_breaker_refused_total" ["breaker"] "Calls an open breaker refused.";
    Gauge "chat_limits_degraded" [] "1 while rate limits are this process's own, for want of the shared store.";
    Counter "chat_limits_own_total" [] "Attempts decided by this process alone, for want of the shared store.";
    Counter "chat_near_keys_total" ["outcome"] "Keys looked up in a cache of two tiers: hit, miss, or bypassed: the near one is not trusted.";
    Counter "chat_near_refused_total" [] "Answers of a far cache that were not kept near: they had changed meanwhile.";
    Gauge "chat_recovery_state" [] "After Redis was away: 0 whole, 1 it does not answer, 2 what it may have lost is compared.";
    Counter "chat_recoveries_total" [] "Times all that Redis may have lost was brought back.";
    Counter "chat_recovery_repaired_total" [] "What differed from the truth after Redis was away, and was repaired.";
    // Redis.
    Gauge "chat_redis_connected" ["service"] "Connections to Redis that are up.";
    Counter "chat_redis_dials_total" ["service"] "Attempts to connect to Redis.";
    Counter "chat_redis_connections_total" ["service"] "Connections made to Redis.";
    Counter "chat_redis_reconnections_total" ["service"] "Connections made to Redis after one was lost.";
    Counter "chat_redis_lost_total" ["service"] "Connections to Redis that broke.";
    Counter "chat_redis_errors_total" ["service"] "Operations on Redis that failed.";
    Counter "chat_redis_repeats_total" ["service"] "Operations on Redis that were sent again, since no reply came.";
    // MongoDB.
    Counter "chat_mongo_wake_failures_total" [] "Times the change stream that wakes the relay had to begin anew.";
    // The event log and what follows it.
    Gauge "chat_stream_length" ["topic"] "Events a topic holds.";
    Gauge "chat_stream_bytes" ["topic"] "About how many bytes the events of a topic take.";
    Gauge "chat_dead_letters" ["topic"] "Events of a topic that were given up.";
    Gauge "chat_stream_unread" ["topic" "group"] "Events a group has not read yet.";
    Gauge "chat_stream_pending" ["topic" "group"] "Events a group has read and not acknowledged.";
    Gauge "chat_stream_oldest_seconds" ["topic" "group"] "Age of the oldest event a group has not acknowledged.";
    Counter "chat_events_buffered_total" [] "Events kept aside, to be published once the log is back.";
    Counter "chat_worker_attempts_total" ["worker" "outcome"] "Events handled by a worker, by how that ended.";
    Counter "chat_worker_buried_total" ["worker"] "Events a worker gave up.";
    Counter "chat_worker_reclaimed_total" ["worker"] "Events a worker took over from a member that was gone.";
    Counter "chat_worker_log_failures_total" ["worker"] "Times the log did not answer a worker.";
    Gauge "chat_worker_held" ["worker"] "Events a worker has in hand.";
    Gauge "chat_worker_waiting" ["worker"] "Events nobody of a worker's group has read.";
    Gauge "chat_worker_pending" ["worker"] "Events a worker's group has read and not acknowledged.";
    Counter "chat_user_events_total" ["outcome"] "Events about profiles, by what became of them.";
    Counter "chat_user_source_total" ["operation" "outcome"] "Questions to the service that knows the users.";
    Counter "chat_kafka_sent_total" ["topic" "outcome"] "Events sent to Kafka.";
    Counter "chat_kafka_received_total" ["topic" "outcome"] "Records taken from Kafka, by what became of them.";
    Counter "chat_kafka_failures_total" ["client"] "Failures Kafka's client told of.";
}

/// Tells the recorder of this process what each metric says. A host with a recorder of its own may call it once.
pub fn describe() {
    for Metric { name, kind, says, .. } in ALL {
        match kind {
            Kind::Counter => describe_counter!(*name, *says),
            Kind::Gauge => describe_gauge!(*name, *says),
            Kind::Histogram => describe_histogram!(*name, *says),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    fn below(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect()
    }

    /// Whatever is written as a metric's name in the sources of the libraries and of this server.
    fn written() -> BTreeSet<String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let crates = std::fs::read_dir(here.join("../..")).unwrap().map(|entry| entry.unwrap().path());
        let libraries = crates
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("chat-")));
        let folders = libraries.map(|path| path.join("src")).chain([here.join("src")]);
        let files = folders.filter(|folder| folder.is_dir()).flat_map(|folder| below(&folder));
        let texts = files.filter(|file| !file.ends_with("metrics/table.rs")).map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned()
        });
        let is_name = |text: &str| {
            text.starts_with("chat_") && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        texts
            .flat_map(|text| {
                text.split('"').filter(|text| is_name(text)).map(ToOwned::to_owned).collect::<Vec<_>>()
            })
            .filter(|name| !name.starts_with("chat_core") && !name.starts_with("chat_testkit"))
            .collect()
    }

    #[test]
    fn every_metric_of_the_sources_is_described_and_no_other() {
        let described: BTreeSet<String> = ALL.iter().map(|metric| metric.name.to_owned()).collect();
        assert_eq!(described.len(), ALL.len(), "one twice");
        assert_eq!(written(), described);
    }

    #[test]
    fn names_tell_the_kind() {
        for Metric { name, kind, says, .. } in ALL {
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(says.ends_with('.') && !says.contains('\n'), "{name}: {says}");
        }
    }
}
