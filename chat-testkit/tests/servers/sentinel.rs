//! A failover is a real one: the Sentinels decide.

use chat_testkit::server::{RedisOptions, RedisSentinel};
use chat_testkit::{Absent, trials};

trials! { needs "redis":
    a_replica_takes_over_from_a_killed_master,
    a_group_with_a_password_fails_over_too,
}

async fn a_replica_takes_over_from_a_killed_master() -> Result<(), Absent> {
    let group = RedisSentinel::spawn()?;
    let first = group.master().address().to_owned();
    group.master().command(&["SET", "key", "value"]);
    group.master().command(&["WAIT", "1", "10000"]);
    let refused = group.other().try_command(&["SET", "key", "other"]).unwrap();
    assert!(refused.to_string().starts_with("READONLY"), "{refused}");

    let master = group.failover();
    assert_ne!(master.address(), first);
    assert_eq!(master.command(&["GET", "key"]).text(), "value");
    master.command(&["SET", "key", "newer"]);

    group.revive();
    assert_eq!(group.other().address(), first);
    assert_eq!(group.other().command(&["ROLE"]).list()[0].text(), "master", "it was told nothing yet");
    group.rejoin();
    assert_eq!(group.other().command(&["GET", "key"]).text(), "newer");
    Ok(())
}

async fn a_group_with_a_password_fails_over_too() -> Result<(), Absent> {
    let group = RedisSentinel::spawn_with(&RedisOptions::default().password("secret"))?;
    let first = group.master().address().to_owned();
    assert_ne!(group.failover().address(), first);
    Ok(())
}
