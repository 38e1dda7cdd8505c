//! What stands in a stream after publishing, and what is told about it.

use chat_core::domain::EventId;
use chat_core::event::Envelope;
use chat_core::event::wire::{self, Origin};
use chat_core::store::EventPublisher;
use chat_core::store::events::Published;
use chat_testkit::{Absent, trials};

use super::log::{Log, STREAM, notice};

trials! { needs "redis":
    events_of_any_fields_stand_as_they_are_written,
    an_id_written_in_another_way_is_another_id,
}

/// An event of another service, with these fields.
fn odd(nth: usize, fields: &[(&'static str, &str)]) -> Envelope {
    let name = [("event", "notification.odd")];
    let fields: Vec<_> = name.iter().chain(fields).copied().collect();
    wire::decode(&fields, Origin { stream: "elsewhere", entry: &format!("1-{nth}") }).unwrap()
}

/// The fields of every entry of the stream.
fn written(log: &Log) -> Vec<Vec<(String, String)>> {
    let entries = log.server.command(&["XRANGE", STREAM, "-", "+"]);
    let texts = |fields: &[chat_testkit::server::Reply]| {
        fields.chunks(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
    };
    entries.list().iter().map(|entry| texts(entry.list()[1].list())).collect()
}

async fn events_of_any_fields_stand_as_they_are_written() -> Result<(), Absent> {
    let log = Log::new().await?;
    let many: Vec<(&'static str, &str)> = vec![("again", "1"); 40];
    let events = [
        notice("a1"),
        notice("b1"),
        odd(1, &[("x", "1"), ("y", ""), ("z", "3")]),
        odd(2, &[("x", "4"), ("y", "5"), ("z", "6")]),
        odd(3, &[("z", "7"), ("y", "8"), ("x", "9")]),
        odd(4, &[("x", "10")]),
        odd(5, &many),
        notice("a2"),
        odd(6, &[("x", "12")]),
    ];
    let fields = |nth: &usize| {
        let fields = wire::encode_flat(&events[*nth]).into_iter();
        fields.map(|(name, value)| (name.into_owned(), value)).collect::<Vec<_>>()
    };
    // Some were there before: one at the beginning of a run of the same fields, one in it, one that is all of it.
    let before = [0, 3, 5];
    let first: Vec<_> = before.iter().map(|nth| events[*nth].clone()).collect();
    log.streams.publisher().publish_many(&first).await.unwrap();
    let answers = log.streams.publisher().publish_many(&events).await.unwrap();
    let is_repeat = |nth: usize| matches!(answers[nth], Published::Suppressed(_));
    assert!((0..events.len()).all(|nth| is_repeat(nth) == before.contains(&nth)), "{answers:?}");
    let expected: Vec<_> = before.iter().chain(&[1, 2, 4, 6, 7, 8]).map(fields).collect();
    assert_eq!(written(&log), expected);
    Ok(())
}

async fn an_id_written_in_another_way_is_another_id() -> Result<(), Absent> {
    let log = Log::new().await?;
    let uuid = notice("a1").id.to_string();
    let plain = uuid.replace('-', "");
    let forms = [uuid.clone(), uuid.to_uppercase(), plain, format!("{{{uuid}}}"), format!("urn:uuid:{uuid}")];
    let named = |id: &String| Envelope { id: EventId::new(id.as_str()).unwrap(), ..notice("a1") };
    let events: Vec<_> = forms.iter().map(named).collect();
    let first = log.streams.publisher().publish_many(&events).await.unwrap();
    let stands: Vec<_> = first
        .into_iter()
        .map(|answer| match answer {
            Published::Durable(at) => Published::Suppressed(at),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(log.streams.publisher().publish_many(&events).await.unwrap(), stands, "each by its own");
    Ok(())
}
