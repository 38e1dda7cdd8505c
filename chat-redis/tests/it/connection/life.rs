//! Making connections, losing them, and making them again.

use chat_core::error::{Code, Effect};
use chat_redis::connection::{Health, Role};
use chat_redis::driver::Stopwatch;
use chat_redis::{RedisConfig, RedisService};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::server::{Redis, RedisOptions, free_port};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, trials};

use tokio::sync::oneshot;

use super::{ask, command, config, connect, ms};

trials! { needs "redis":
    it_signs_in,
    connecting_reports_after_the_attempts_it_was_given,
    it_starts_without_a_server_and_finds_it_later,
    a_server_that_returns_is_found_within_half_a_second,
    a_server_that_hangs_holds_nobody_beyond_the_deadline,
    an_attempt_that_hangs_does_not_hide_that_the_server_is_back,
    a_dead_connection_is_found_without_traffic,
    what_may_have_happened_is_not_sent_twice_unless_it_repeats_harmlessly,
    a_script_that_was_forgotten_is_sent_along,
    a_server_that_is_loading_is_waited_for,
    a_full_server_refuses_at_once,
    a_script_that_fails_half_way_may_have_happened,
    a_runtime_that_ends_takes_no_service_with_it,
    an_operation_in_a_runtime_that_is_ending_ends,
    the_last_clone_ends_the_connections,
    a_closed_service_refuses,
    long_replies_hold_nobody_up,
    only_addresses_of_the_family_are_used,
}

async fn it_signs_in() -> Result<(), Absent> {
    let server = Redis::spawn_with(&RedisOptions::default().password("s3cret"))?;
    let service = connect(&server).await;
    assert!(service.is_available());
    assert_eq!(service.stats().connected, 1);

    for password in [None, Some("wrong".to_owned().into())] {
        let began = Stopwatch::start();
        let refused = RedisService::connect(&RedisConfig { password, ..config(&server) }).await.unwrap_err();
        assert_eq!(refused.code(), Code::ConfigInvalid);
        assert!(began.elapsed() < ms(2_000), "a wrong password does not become right by waiting");
    }
    let elsewhere = RedisConfig { username: Some("nobody".to_owned()), ..config(&server) };
    assert_eq!(RedisService::connect(&elsewhere).await.unwrap_err().code(), Code::ConfigInvalid);
    Ok(())
}

async fn connecting_reports_after_the_attempts_it_was_given() -> Result<(), Absent> {
    let mut config = RedisConfig::from_url(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
    config.connect_attempts = Some(3);
    let service = RedisService::lazy(&config).unwrap();
    let began = Stopwatch::start();
    let error = service.ready().await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Unavailable, Effect::None));
    assert!(began.elapsed() < config.timing.connect);
    assert_eq!(service.stats().dialled, 3);
    assert!(service.stats().last_error_at.is_some());

    config.connect_attempts = None;
    config.timing.connect = ms(300);
    let began = Stopwatch::start();
    assert_eq!(RedisService::connect(&config).await.unwrap_err().code(), Code::Unavailable);
    assert!((ms(250)..ms(2_000)).contains(&began.elapsed()), "{:?}", began.elapsed());
    Ok(())
}

async fn it_starts_without_a_server_and_finds_it_later() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    server.kill();
    let service = RedisService::lazy(&config(&server)).unwrap();
    assert_eq!(service.health().await, Health::Disconnected);
    assert!(!service.is_available());
    server.restart();
    eventually("the service to find its server", async || {
        (service.health().await == Health::Ok).then_some(())
    })
    .await;
    Ok(())
}

async fn a_server_that_returns_is_found_within_half_a_second() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    for down in [ms(50), ms(3_000)] {
        server.kill();
        let began = Stopwatch::start();
        while began.elapsed() < down {
            let asked = Stopwatch::start();
            let error = ask::<i64>(&service, &["INCR", "n"]).await.unwrap_err();
            assert!(
                asked.elapsed() < ms(2_300),
                "no call takes longer than its deadline: {:?}",
                asked.elapsed()
            );
            assert!(matches!(error.code(), Code::Unavailable | Code::Timeout), "{error}");
        }
        server.restart();
        let back = Stopwatch::start();
        eventually("a success", async || ask::<i64>(&service, &["INCR", "n"]).await.ok()).await;
        assert!(back.elapsed() < ms(500), "{:?}", back.elapsed());
    }
    let stats = service.stats();
    assert_eq!((stats.reconnected, stats.lost, stats.connected), (2, 2, 3));
    Ok(())
}

async fn a_server_that_hangs_holds_nobody_beyond_the_deadline() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    server.hang();
    let began = Stopwatch::start();
    let calls = (0..50).map(|_| ask::<String>(&service, &["GET", "k"]));
    for answer in futures::future::join_all(calls).await {
        assert!(matches!(answer.unwrap_err().code(), Code::Timeout | Code::Unavailable));
    }
    assert!(began.elapsed() < ms(2_500), "{:?}", began.elapsed());
    server.resume();
    let back = Stopwatch::start();
    eventually("a success", async || ask::<i64>(&service, &["INCR", "n"]).await.ok()).await;
    assert!(back.elapsed() < ms(500), "{:?}", back.elapsed());
    Ok(())
}

async fn an_attempt_that_hangs_does_not_hide_that_the_server_is_back() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    server.kill();
    // Somebody takes connections, and never says anything on them.
    let dumb = tokio::net::TcpListener::bind(server.address()).await.unwrap();
    let taking = tokio::spawn(async move {
        for _ in 0..3 {
            std::mem::forget(dumb.accept().await.unwrap());
        }
    });
    assert_eq!(ask::<i64>(&service, &["INCR", "n"]).await.unwrap_err().code(), Code::Timeout);
    taking.await.unwrap();
    server.restart();
    let back = Stopwatch::start();
    eventually("a success", async || ask::<i64>(&service, &["INCR", "n"]).await.ok()).await;
    assert!(back.elapsed() < ms(500), "{:?}", back.elapsed());
    Ok(())
}

async fn a_dead_connection_is_found_without_traffic() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let mut config = config(&server);
    config.timing.idle = ms(50);
    let service = RedisService::connect(&config).await.unwrap();
    server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    eventually("a new connection", async || (service.stats().reconnected == 1).then_some(())).await;
    assert_eq!(service.stats().lost, 1);
    Ok(())
}

async fn what_may_have_happened_is_not_sent_twice_unless_it_repeats_harmlessly() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    let config = RedisConfig::from_url(&server.url_at(proxy.address())).unwrap();
    let service = RedisService::connect(&config).await.unwrap();
    let client = service.client(Role::Main);

    for lose in [Proxy::cut_after, Proxy::hang_after] {
        server.command(&["SET", "n", "0"]);
        lose(&proxy, Request::with("INCR"));
        let error = client.query::<i64>(command(&["INCR", "n"])).await.unwrap_err();
        assert_eq!((error.code(), error.effect()), (Code::Timeout, Effect::Unknown));
        assert_eq!(server.command(&["GET", "n"]).text(), "1");

        lose(&proxy, Request::with("INCR"));
        assert_eq!(client.repeat::<i64>(command(&["INCR", "n"])).await.unwrap(), 3);
    }
    proxy.cut_before(Request::with("GET"));
    assert_eq!(client.repeat::<i64>(command(&["GET", "n"])).await.unwrap(), 3);
    assert!(service.stats().repeated >= 3);
    Ok(())
}

async fn a_script_that_was_forgotten_is_sent_along() -> Result<(), Absent> {
    use chat_redis::driver::{Key, Operation, PRELUDE, Script, Store};

    static VISIT: Script = Script::joined(&[PRELUDE, "return redis.call('INCRBY', KEYS[1], ARGV[2])"]);
    let server = Redis::spawn()?;
    let config = config(&server);
    let store = Store::new(RedisService::connect(&config).await.unwrap(), config.keys.clone());
    let visit = || store.script(&VISIT, &[Key::foreign("v".to_owned())]).arg(2);
    let ((), calls) = server
        .counting(async {
            for expected in [2, 4] {
                let visits: i64 = store.call_one(Operation::write("t"), visit()).await.unwrap();
                assert_eq!(visits, expected);
            }
            server.command(&["SCRIPT", "FLUSH"]);
            let both: Vec<i64> = store.call(Operation::write("t"), vec![visit(), visit()]).await.unwrap();
            assert_eq!(both, [6, 8]);
        })
        .await;
    assert_eq!((calls["evalsha"], calls["eval"], calls["incrby"]), (4, 3, 4));
    Ok(())
}

async fn a_server_that_is_loading_is_waited_for() -> Result<(), Absent> {
    let slow = RedisOptions::default().append_only().set("key-load-delay", "100");
    let slow = slow.set("loading-process-events-interval-bytes", "1024");
    let server = Redis::spawn_with(&slow)?;
    let service = connect(&server).await;
    for key in 0..4_000 {
        ask::<String>(&service, &["SET", &format!("k{key}"), "1"]).await.unwrap();
    }
    server.process().restart();
    eventually("the server to be loading", async || {
        server.try_command(&["GET", "k0"]).is_ok_and(|reply| reply.is_error()).then_some(())
    })
    .await;
    assert_eq!(ask::<String>(&service, &["GET", "k0"]).await.unwrap(), "1");
    Ok(())
}

async fn a_full_server_refuses_at_once() -> Result<(), Absent> {
    let server = Redis::spawn_with(&RedisOptions::default().max_memory(1))?;
    let service = connect(&server).await;
    let began = Stopwatch::start();
    let error = ask::<String>(&service, &["SET", "k", "v"]).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::Unavailable, Effect::None));
    assert_eq!(error.detail("redis"), Some("OOM"));
    assert!(began.elapsed() < ms(1_000));
    assert_eq!(ask::<Option<String>>(&service, &["GET", "k"]).await.unwrap(), None);
    Ok(())
}

async fn a_script_that_fails_half_way_may_have_happened() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    server.command(&["SET", "text", "x"]);
    let half = "redis.call('INCR', KEYS[1]) return redis.call('LPUSH', KEYS[2], 1)";
    let error = ask::<i64>(&service, &["EVAL", half, "2", "n", "text"]).await.unwrap_err();
    assert_eq!((error.code(), error.effect()), (Code::DataCorrupt, Effect::Unknown));
    assert_eq!(server.command(&["GET", "n"]).text(), "1");
    let whole = ask::<i64>(&service, &["LPUSH", "text", "1"]).await.unwrap_err();
    assert_eq!((whole.code(), whole.effect()), (Code::DataCorrupt, Effect::None));
    Ok(())
}

async fn a_runtime_that_ends_takes_no_service_with_it() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = RedisService::lazy(&config(&server)).unwrap();
    let on_its_own_runtime = |service: RedisService| {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { ask::<i64>(&service, &["INCR", "n"]).await.unwrap() })
        })
        .join()
        .unwrap()
    };
    for expected in 1..=3 {
        assert_eq!(on_its_own_runtime(service.clone()), expected);
    }

    // Also when it ends in the middle of connecting.
    server.hang();
    let lost = service.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let _ = tokio::time::timeout(ms(100), ask::<i64>(&lost, &["INCR", "n"])).await;
        });
    })
    .join()
    .unwrap();
    server.resume();
    assert!(ask::<i64>(&service, &["INCR", "n"]).await.is_ok());
    Ok(())
}

async fn an_operation_in_a_runtime_that_is_ending_ends() -> Result<(), Absent> {
    let server = Redis::find_or_spawn()?;
    let service = RedisService::lazy(&config(&server)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (ending, is_ending) = oneshot::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let (told, answer) = oneshot::channel();
    // It is dropped, and `ending` with it, when the runtime has begun to end.
    runtime.spawn(async move {
        std::future::pending::<()>().await;
        drop(ending);
    });
    runtime.spawn(async move {
        begun.send(()).unwrap();
        let ended = tokio::task::block_in_place(|| is_ending.blocking_recv());
        assert!(ended.is_err(), "nothing is ever sent");
        let _ = told.send(ask::<String>(&service, &["PING"]).await);
    });
    has_begun.await.unwrap();
    runtime.shutdown_background();
    let answer = tokio::time::timeout(ms(10_000), answer).await.expect("it does not ask for ever");
    assert_eq!(answer.expect("it is told").unwrap_err().code(), Code::Unavailable);
    Ok(())
}

async fn the_last_clone_ends_the_connections() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let clients = || server.info("connected_clients").unwrap();
    let before = clients();
    let service = connect(&server).await;
    let clone = service.clone();
    ask::<i64>(&service, &["INCR", "n"]).await.unwrap();
    service.client(Role::Bulk).query::<i64>(command(&["INCR", "n"])).await.unwrap();
    drop(service);
    assert_eq!(ask::<i64>(&clone, &["INCR", "n"]).await.unwrap(), 3);
    assert_ne!(clients(), before);
    drop(clone);
    eventually("the connections to end", async || (clients() == before).then_some(())).await;

    // Also one that still tries.
    let proxy = Proxy::start(server.address(), Protocol::Redis).await;
    proxy.refuse().await;
    let trying =
        RedisService::lazy(&RedisConfig::from_url(&server.url_at(proxy.address())).unwrap()).unwrap();
    assert!(ask::<i64>(&trying, &["INCR", "n"]).await.is_err());
    drop(trying);
    proxy.pass().await;
    let taken = proxy.counts().connections;
    tokio::time::sleep(ms(600)).await;
    assert_eq!(proxy.counts().connections, taken);
    Ok(())
}

async fn a_closed_service_refuses() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let clients = || server.info("connected_clients").unwrap();
    let before = clients();
    let service = connect(&server).await;
    let clone = service.clone();
    service.close();
    let began = Stopwatch::start();
    for service in [&service, &clone] {
        let error = ask::<i64>(service, &["INCR", "n"]).await.unwrap_err();
        assert_eq!((error.code(), error.detail("redis")), (Code::Unavailable, Some("closed")));
        assert_eq!(service.health().await, Health::Disconnected);
        assert!(service.dedicated().await.is_err());
        assert!(service.subscribe(["c"]).await.is_err());
    }
    assert!(began.elapsed() < ms(1_000), "nothing is waited for");
    eventually("the connections to end", async || (clients() == before).then_some(())).await;
    Ok(())
}

async fn long_replies_hold_nobody_up() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = connect(&server).await;
    let before = service.stats().connected;
    service.client(Role::Stream).query::<i64>(command(&["INCR", "n"])).await.unwrap();
    service.client(Role::Bulk).query::<i64>(command(&["INCR", "n"])).await.unwrap();
    assert_eq!(service.stats().connected, before + 1);
    for role in [Role::Main, Role::Pub, Role::Sub, Role::Cache] {
        service.client(role).query::<i64>(command(&["INCR", "n"])).await.unwrap();
    }
    assert_eq!(service.stats().connected, before + 1);
    Ok(())
}

async fn only_addresses_of_the_family_are_used() -> Result<(), Absent> {
    use chat_redis::config::{Family, Node, Topology};

    let server = Redis::spawn()?;
    let named = Topology::Single(Node { host: "localhost".to_owned(), port: server.port() });
    let mut config = RedisConfig { topology: named, family: Some(Family::V4), ..config(&server) };
    let service = RedisService::connect(&config).await.unwrap();
    let mut dedicated = service.dedicated().await.unwrap();
    dedicated.query::<i64>(&command(&["INCR", "n"]), ms(0)).await.unwrap();
    // The server listens on IPv4 only.
    config.family = Some(Family::V6);
    config.timing.connect = ms(200);
    assert_eq!(RedisService::connect(&config).await.unwrap_err().code(), Code::Unavailable);
    Ok(())
}
