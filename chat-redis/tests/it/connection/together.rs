//! What many ask for at the same time goes in one write, and nobody loses an answer by it.

use std::future::Future;
use std::pin::pin;

use chat_testkit::server::Redis;
use chat_testkit::{Absent, trials};
use futures::future::join_all;
use futures::poll;

use super::{ask, connect};

trials! { needs "redis":
    everybody_has_its_own_answer,
    who_gives_up_while_it_collects_takes_nobody_along,
    who_gives_up_before_it_is_sent_is_not_sent,
    an_error_is_that_of_its_own_command,
    who_loses_the_connection_together_asks_again,
}

/// The first asks at once; of those after it, one collects.
async fn begin(asked: impl Future) {
    let asked = pin!(asked);
    assert!(poll!(asked).is_pending());
}

async fn everybody_has_its_own_answer() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = &connect(&server).await;
    let (answers, calls) = server
        .counting(join_all((0..100).map(|nth| async move {
            let text = format!("answer {nth}");
            ask::<String>(service, &["ECHO", &text]).await.unwrap() == text
        })))
        .await;
    assert_eq!(answers, [true; 100]);
    assert_eq!(calls, [("echo".to_owned(), 100)].into());
    Ok(())
}

async fn who_gives_up_while_it_collects_takes_nobody_along() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = &connect(&server).await;
    server.hang();
    let mut alone = pin!(ask::<i64>(service, &["INCR", "n"]));
    assert!(poll!(&mut alone).is_pending());
    let mut collects = Box::pin(ask::<i64>(service, &["INCR", "n"]));
    assert!(poll!(&mut collects).is_pending());
    let mut along = pin!(ask::<i64>(service, &["INCR", "n"]));
    assert!(poll!(&mut along).is_pending());
    drop(collects);
    server.resume();
    assert_eq!((alone.await.unwrap(), along.await.unwrap()), (1, 2));
    assert_eq!(ask::<i64>(service, &["INCR", "n"]).await.unwrap(), 3, "the one that gave up was not sent");
    Ok(())
}

async fn who_gives_up_before_it_is_sent_is_not_sent() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = &connect(&server).await;
    server.hang();
    let mut alone = pin!(ask::<i64>(service, &["INCR", "n"]));
    assert!(poll!(&mut alone).is_pending());
    let mut collects = pin!(ask::<i64>(service, &["INCR", "n"]));
    assert!(poll!(&mut collects).is_pending());
    begin(ask::<i64>(service, &["INCR", "n"])).await;
    server.resume();
    assert_eq!((alone.await.unwrap(), collects.await.unwrap()), (1, 2));
    assert_eq!(ask::<i64>(service, &["INCR", "n"]).await.unwrap(), 3);
    Ok(())
}

async fn an_error_is_that_of_its_own_command() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = &connect(&server).await;
    ask::<()>(service, &["SET", "text", "no number"]).await.unwrap();
    let keys = (0..50).map(|nth| if nth % 2 == 0 { "text" } else { "n" });
    let answers =
        join_all(keys.map(|key| async move { ask::<i64>(service, &["INCRBY", key, "0"]).await.is_ok() }));
    let answers = answers.await;
    assert!(answers.iter().enumerate().all(|(nth, is_ok)| *is_ok == (nth % 2 == 1)), "{answers:?}");
    Ok(())
}

async fn who_loses_the_connection_together_asks_again() -> Result<(), Absent> {
    let server = Redis::spawn()?;
    let service = &connect(&server).await;
    server.hang();
    let asked = join_all((0..50).map(|_| ask::<String>(service, &["ECHO", "here"])));
    let back = async {
        tokio::task::yield_now().await;
        server.kill();
        server.restart();
    };
    let (answers, ()) = futures::join!(asked, back);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    Ok(())
}
