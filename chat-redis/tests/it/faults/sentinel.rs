//! Under Sentinel the master changes, and the service follows.

use chat_redis::connection::Timing;
use chat_testkit::server::RedisSentinel;
use chat_testkit::{Absent, trials};

use super::load::{Client, Load, brisk};

trials! { needs "redis":
    it_follows_a_failover_under_load_and_stays_there,
    a_hung_sentinel_keeps_nobody_from_the_master,
}

fn client(group: &RedisSentinel, timing: Timing) -> Client {
    let sentinels: Vec<&str> = group.sentinels().iter().map(|sentinel| sentinel.address()).collect();
    Client::lazy(&format!("redis+sentinel://{}/{}", sentinels.join(","), group.name()), timing)
}

async fn it_follows_a_failover_under_load_and_stays_there() -> Result<(), Absent> {
    let group = RedisSentinel::spawn()?;
    let client = client(&group, brisk());
    let load = Load::begin(&client, 4);
    load.successes(100).await;
    group.master().kill();
    client.loss().await;
    client.refused_at_last("refused").await;
    let master = group.wait_for_new_master();
    load.successes(100).await;
    assert!(client.service.is_available());
    let before = master.commandstats()["evalsha"];
    load.successes(100).await;
    assert!(master.commandstats()["evalsha"] >= before + 100);

    // The old master comes back believing to be one, and the service is not led astray.
    let connected = client.service.stats().connected;
    group.revive();
    load.successes(100).await;
    group.rejoin();
    load.successes(100).await;
    assert_eq!(client.service.stats().connected, connected);
    // What a replica had not got yet is lost with its master: no recount, but every answer was an honest one.
    load.end().await;
    assert_eq!(client.charge_at_last("after", "1").await, 1);
    Ok(())
}

async fn a_hung_sentinel_keeps_nobody_from_the_master() -> Result<(), Absent> {
    let group = RedisSentinel::spawn()?;
    group.sentinels()[0].hang();
    let client = client(&group, brisk());
    assert_eq!(client.charge_at_last("ada", "1").await, 1);
    group.master().command(&["CLIENT", "KILL", "TYPE", "normal"]);
    assert_eq!(client.charge_at_last("ada", "2").await, 2);
    Ok(())
}
