//! What many tasks publish at a time goes out together, and each is answered for its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use chat_core::error::{Code, Effect, Error};
use chat_core::event::Envelope;
use chat_core::store::EventPublisher;
use chat_core::store::events::Published;
use chat_redis::driver::Stopwatch;
use chat_redis::{RedisConfig, RedisService};
use chat_streams::{StreamPublisher, Streams, StreamsOptions};
use chat_testkit::proxy::{Protocol, Proxy, Request};
use chat_testkit::wait::eventually;
use chat_testkit::{Absent, sample, trials};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::log::{Log, STREAM, TOPIC, notice};

trials! { needs "redis":
    events_of_many_tasks_share_scripts_and_keep_their_order,
    when_too_many_wait_others_are_refused,
    one_event_from_two_tasks_is_there_once,
    who_is_dropped_costs_the_others_nothing,
    who_does_not_fit_is_refused_alone,
    a_lost_answer_of_many_is_asked_for_again,
    a_failure_reaches_all_of_them,
    nobody_waits_for_more_than_two_operations,
    a_runtime_that_ends_takes_no_publisher_with_it,
}

type Answer = Result<Vec<Published>, Error>;

/// A publisher seen through a proxy.
struct Held {
    log: Log,
    proxy: Proxy,
    publisher: Arc<StreamPublisher>,
}

impl Held {
    async fn new() -> Result<Self, Absent> {
        Self::with(StreamsOptions::default(), Duration::from_secs(30)).await
    }

    /// With the script loaded.
    async fn with(options: StreamsOptions, operation: Duration) -> Result<Self, Absent> {
        let log = Log::with(options.clone()).await?;
        let proxy = Proxy::start(log.server.address(), Protocol::Redis).await;
        let mut config = RedisConfig::from_url(&log.server.url_at(proxy.address())).unwrap();
        (config.timing.operation, config.timing.response) = (operation, operation / 2);
        let service = RedisService::connect(&config).await.unwrap();
        let publisher = Arc::new(Streams::new(&service, options).unwrap().publisher());
        publisher.publish_many(&[notice("warm1")]).await.unwrap();
        Ok(Self { log, proxy, publisher })
    }

    async fn publish(&self, events: Vec<Envelope>) -> JoinHandle<Answer> {
        publish(&self.publisher, events).await
    }

    async fn names(&self, names: &[&str]) -> JoinHandle<Answer> {
        self.publish(names.iter().map(|name| notice(name)).collect()).await
    }

    /// Stops the server with two scripts under way, so that what comes now waits, and goes together.
    async fn busy(&self) -> [JoinHandle<Answer>; 2] {
        let before = self.proxy.counts().requests;
        let sent = async |count: u64| {
            let sent = async || (self.proxy.counts().requests == before + count).then_some(());
            eventually("it to be sent", sent).await;
        };
        self.log.server.hang();
        let alone = self.names(&["alone1"]).await;
        sent(1).await;
        let drained = self.names(&["drained1"]).await;
        sent(2).await;
        [alone, drained]
    }

    /// How many scripts `work` takes.
    async fn scripts<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let (answer, calls) = self.log.server.counting(work).await;
        (answer, calls.get("evalsha").copied().unwrap_or_default())
    }

    /// The ids of the entries.
    fn stream(&self) -> Vec<String> {
        let entries = self.log.server.command(&["XRANGE", STREAM, "-", "+"]);
        entries.list().iter().map(|entry| entry.list()[0].text()).collect()
    }
}

/// Publishes from a task of its own, which has asked when this returns.
async fn publish(publisher: &Arc<StreamPublisher>, events: Vec<Envelope>) -> JoinHandle<Answer> {
    let (publisher, (told, asked)) = (Arc::clone(publisher), oneshot::channel());
    let task = tokio::spawn(async move {
        let mut publishing = publisher.publish_many(&events);
        if let Poll::Ready(answer) = futures::poll!(&mut publishing) {
            return answer;
        }
        told.send(()).unwrap();
        publishing.await
    });
    let _ = asked.await;
    task
}

/// The entries of what was appended.
fn entries(answers: &[Published]) -> Vec<String> {
    let entry = |answer: &Published| match answer {
        Published::Durable(at) => at.0.split_once('-').unwrap().1.to_owned(),
        other => panic!("{other:?}"),
    };
    answers.iter().map(entry).collect()
}

async fn done(tasks: impl IntoIterator<Item = JoinHandle<Answer>>) -> Vec<Vec<Published>> {
    let each = tasks.into_iter().map(async |task| task.await.unwrap().unwrap());
    futures::future::join_all(each).await
}

async fn failed(task: JoinHandle<Answer>) -> (Code, Effect) {
    let error = task.await.unwrap().unwrap_err();
    (error.code(), error.effect())
}

async fn events_of_many_tasks_share_scripts_and_keep_their_order() -> Result<(), Absent> {
    const TASKS: usize = 64;
    const EACH: usize = 20;
    let held = Held::new().await?;
    held.proxy.delay(Duration::from_millis(3));
    let tasks = (0..TASKS).map(|task| {
        let publisher = Arc::clone(&held.publisher);
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for nth in 0..EACH {
                let event = [sample::notice(&format!("task {task} "), nth)];
                answers.extend(publisher.publish_many(&event).await?);
            }
            Ok(answers)
        })
    });
    let (answers, scripts) = held.scripts(done(tasks)).await;
    assert!(scripts * 10 <= (TASKS * EACH) as u64, "{scripts} scripts for {} events", TASKS * EACH);
    let stream = held.stream();
    let places: BTreeMap<&str, usize> =
        stream.iter().enumerate().map(|(nth, id)| (id.as_str(), nth)).collect();
    for (task, answers) in answers.iter().enumerate() {
        let own: Vec<_> = entries(answers).iter().map(|id| places[id.as_str()]).collect();
        assert!(own.is_sorted() && own.len() == EACH, "task {task}: {own:?}");
    }
    assert_eq!(stream.len(), TASKS * EACH + 1);
    Ok(())
}

async fn when_too_many_wait_others_are_refused() -> Result<(), Absent> {
    let options = StreamsOptions { lengths: BTreeMap::from([(TOPIC, 50_000)]), ..StreamsOptions::default() };
    let held = Held::with(options, Duration::from_secs(60)).await?;
    let before = held.busy().await;
    let many = |key: &str| (0..256).map(|nth| sample::notice(key, nth)).collect::<Vec<_>>();
    let mut waiting = Vec::new();
    for nth in 0..128 {
        waiting.push(held.publish(many(&format!("{nth} "))).await);
    }
    let refused = held.publisher.publish_many(&many("x")).await.unwrap_err();
    assert_eq!((refused.code(), refused.effect()), (Code::QueueFull, Effect::None));
    held.log.server.resume();
    done(before).await;
    let answers = done(waiting).await;
    assert_eq!(answers.iter().map(|answer| entries(answer).len()).sum::<usize>(), 128 * 256);
    held.publisher.publish_many(&many("x")).await.unwrap();
    Ok(())
}

async fn one_event_from_two_tasks_is_there_once() -> Result<(), Absent> {
    let held = Held::new().await?;
    let work = async {
        let before = held.busy().await;
        let (one, two) = (held.names(&["b1", "c1"]).await, held.names(&["c1", "b1", "d1"]).await);
        held.log.server.resume();
        done(before.into_iter().chain([one, two])).await
    };
    let (answers, scripts) = held.scripts(work).await;
    assert_eq!(scripts, 3, "what waited went together");
    let [.., one, two] = answers.as_slice() else { panic!() };
    assert_eq!(entries(one).len(), 2);
    let (Published::Durable(b1), Published::Durable(c1)) = (&one[0], &one[1]) else { panic!("{one:?}") };
    assert_eq!(two[..2], [c1, b1].map(|at| Published::Suppressed(at.clone())));
    assert_eq!(held.stream()[3..], [entries(one), entries(&two[2..])].concat());
    Ok(())
}

async fn who_is_dropped_costs_the_others_nothing() -> Result<(), Absent> {
    let held = Held::new().await?;
    let [alone, drained] = held.busy().await;
    let (before, gone, after) =
        (held.names(&["b1"]).await, held.names(&["c1"]).await, held.names(&["d1"]).await);
    for dropped in [alone, gone] {
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled());
    }
    held.log.server.resume();
    let answers = done([drained, before, after]).await;
    let there: Vec<_> = answers.iter().flat_map(|answer| entries(answer)).collect();
    assert_eq!(held.stream()[2..], there, "what was dropped before it was sent is not there");

    // Now of those who were sent together one is dropped.
    let first = held.busy().await;
    let (gone, stays) = (held.names(&["e1"]).await, held.names(&["f1"]).await);
    held.proxy.hang_after(Request::with("Notice 1 for f"));
    held.log.server.resume();
    eventually("its answer to be lost", async || (held.proxy.counts().faults == 1).then_some(())).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    held.proxy.cut().await;
    let stays = done([stays]).await;
    assert_eq!(held.stream()[6..], entries(&stays[0]));
    for repeat in first {
        assert!(matches!(repeat.await.unwrap().unwrap()[..], [Published::Suppressed(_)]));
    }
    Ok(())
}

async fn who_does_not_fit_is_refused_alone() -> Result<(), Absent> {
    let lengths = BTreeMap::from([(TOPIC, 100)]);
    let options = StreamsOptions { lengths, stretch: 2, ..StreamsOptions::default() };
    let held = Held::with(options, Duration::from_secs(30)).await?;
    let _slow = held.log.member("slow").await;
    let many = |key: &str, count| (0..count).map(|nth| sample::notice(key, nth)).collect::<Vec<_>>();
    held.publisher.publish_many(&many("fill", 189)).await.unwrap();
    let before = held.busy().await;
    let (fits, too_many, fits_too) = (
        held.publish(many("b", 5)).await,
        held.publish(many("c", 5)).await,
        held.publish(many("d", 1)).await,
    );
    held.log.server.resume();
    let answers = done(before.into_iter().chain([fits, fits_too])).await;
    assert_eq!(failed(too_many).await, (Code::QueueFull, Effect::None));
    let there: Vec<_> = answers.iter().flat_map(|answer| entries(answer)).collect();
    assert_eq!(held.stream()[190..], there);
    Ok(())
}

async fn a_lost_answer_of_many_is_asked_for_again() -> Result<(), Absent> {
    let held = Held::new().await?;
    let before = held.busy().await;
    let (one, two) = (held.names(&["b1"]).await, held.names(&["c1", "b1"]).await);
    held.proxy.cut_after(Request::with("Notice 1 for c"));
    held.log.server.resume();
    let answers = done(before.into_iter().chain([one, two])).await;
    assert_eq!(held.proxy.counts().faults, 1);
    let (b1, c1) = (entries(&answers[2]), entries(&answers[3][..1]));
    assert_eq!(held.stream()[3..], [b1, c1].concat(), "each once");
    assert!(matches!(answers[3][1], Published::Suppressed(_)));
    Ok(())
}

async fn a_failure_reaches_all_of_them() -> Result<(), Absent> {
    let held = Held::with(StreamsOptions::default(), Duration::from_secs(4)).await?;
    let before = held.busy().await;
    let (one, two) = (held.names(&["b1"]).await, held.names(&["c1"]).await);
    held.proxy.hang_after(Request::with("Notice 1 for c"));
    held.log.server.resume();
    done(before).await;
    eventually("its answer to be lost", async || (held.proxy.counts().faults == 1).then_some(())).await;
    held.proxy.hang();
    for task in [one, two] {
        assert_eq!(failed(task).await, (Code::Timeout, Effect::Unknown));
    }
    // One that the server refuses has no effect for anybody.
    held.proxy.pass().await;
    let again = async || held.publisher.publish_many(&[notice("warm1")]).await.ok();
    eventually("the server to be found again", again).await;
    held.log.server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let before = held.busy().await;
    let (one, two) = (held.names(&["d1"]).await, held.names(&["e1"]).await);
    held.log.server.resume();
    done(before).await;
    for task in [one, two] {
        assert_eq!(failed(task).await, (Code::Unavailable, Effect::None));
    }
    held.log.server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    held.publisher.publish_many(&[notice("d1")]).await.unwrap();
    Ok(())
}

async fn nobody_waits_for_more_than_two_operations() -> Result<(), Absent> {
    const OPERATION: Duration = Duration::from_millis(800);
    let held = Held::with(StreamsOptions::default(), OPERATION).await?;
    let before = held.busy().await;
    let many = |key: &str| (0..200).map(|nth| sample::notice(key, nth)).collect::<Vec<_>>();
    let (next, others) =
        (held.publish(many("b")).await, [held.publish(many("c")).await, held.publish(many("d")).await]);
    let began = Stopwatch::start();
    for task in before.into_iter().chain([next]) {
        assert!(task.await.unwrap().is_err());
    }
    for task in others {
        assert_eq!(failed(task).await, (Code::Unavailable, Effect::None), "they were never sent");
    }
    assert!(began.elapsed() < OPERATION * 3, "{:?}", began.elapsed());
    held.log.server.resume();
    let again = async || held.publisher.publish_many(&[notice("e1")]).await.ok();
    eventually("the server to be found again", again).await;
    Ok(())
}

async fn a_runtime_that_ends_takes_no_publisher_with_it() -> Result<(), Absent> {
    let held = Held::new().await?;
    let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let before = held.proxy.counts().requests;
    held.log.server.hang();
    for count in 1..=2 {
        let publisher = Arc::clone(&held.publisher);
        other.spawn(async move { publisher.publish_many(&[notice(&format!("a{count}"))]).await });
        let sent = async || (held.proxy.counts().requests == before + count).then_some(());
        eventually("it to be sent", sent).await;
    }
    let waits = held.names(&["b1"]).await;
    other.shutdown_background();
    assert_eq!(failed(waits).await, (Code::Timeout, Effect::Unknown));
    held.log.server.resume();
    held.publisher.publish_many(&[notice("c1")]).await.unwrap();
    Ok(())
}
