//! What scripts and native commands answer, taken apart.

use std::time::Duration;

use chat_core::event::{Envelope, Event, Undecodable, wire};
use redis::{FromRedisValue, ParsingError, Value};

use crate::monitor::GroupReport;
use crate::position::EntryId;

type Parsed<T> = Result<T, ParsingError>;

fn bytes(value: Value) -> Parsed<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        _ => Err("no text".into()),
    }
}

fn text(value: Value) -> Parsed<String> {
    String::from_utf8(bytes(value)?).map_err(|_| "text that is not UTF-8".into())
}

fn number<N: TryFrom<i64>>(value: Value) -> Parsed<N> {
    let wide: i64 = redis::from_redis_value(value)?;
    N::try_from(wide).map_err(|_| "a number out of range".into())
}

fn entry_id(value: Value) -> Parsed<EntryId> {
    text(value)?.parse().map_err(|_| "no entry id".into())
}

/// The items of a list, one after the other.
struct Items(std::vec::IntoIter<Value>);

impl Items {
    fn of(value: Value) -> Parsed<Self> {
        match value {
            Value::Array(items) => Ok(Self(items.into_iter())),
            _ => Err("no list".into()),
        }
    }

    fn next(&mut self) -> Parsed<Value> {
        self.0.next().ok_or_else(|| "a list that is too short".into())
    }

    fn maybe(&mut self) -> Option<Value> {
        self.0.next().filter(|value| *value != Value::Nil)
    }
}

/// What `publish.lua` answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) life: String,
    /// How many more entries there may be; none when it is full.
    pub(crate) room: Option<u64>,
    /// Where each event stands, and whether this call put it there.
    pub(crate) entries: Vec<(EntryId, bool)>,
}

impl FromRedisValue for Appended {
    fn from_redis_value(value: Value) -> Parsed<Self> {
        let mut items = Items::of(value)?;
        let (life, room) = (text(items.next()?)?, number::<i64>(items.next()?)?);
        let entry = |value| {
            let place = text(value)?;
            let (id, is_new) = place.strip_prefix('=').map_or((place.as_str(), true), |id| (id, false));
            Ok((id.parse().map_err(|_| ParsingError::from("no entry id"))?, is_new))
        };
        let entries = items.0.map(entry).collect::<Parsed<_>>()?;
        Ok(Self { life, room: u64::try_from(room).ok(), entries })
    }
}

/// What `ends.lua` answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) life: String,
    pub(crate) newest: EntryId,
}

impl FromRedisValue for End {
    fn from_redis_value(value: Value) -> Parsed<Self> {
        let mut items = Items::of(value)?;
        Ok(Self { life: text(items.next()?)?, newest: entry_id(items.next()?)? })
    }
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Its fields, in order.
    Fields(Vec<(String, Vec<u8>)>),
    /// The envelope alone; the entry may have had other fields beside it.
    Payload(Vec<u8>),
    /// Nothing any more: it was trimmed by somebody else.
    Gone,
}

impl FromRedisValue for Content {
    fn from_redis_value(value: Value) -> Parsed<Self> {
        match value {
            Value::Nil => Ok(Self::Gone),
            Value::BulkString(payload) => Ok(Self::Payload(payload)),
            list => {
                let (mut items, mut fields) = (Items::of(list)?, Vec::new());
                while let Some(name) = items.0.next() {
                    // A name that is not UTF-8 is no name of ours; what is left of it keeps it apart from those.
                    let name = String::from_utf8(bytes(name)?)
                        .unwrap_or_else(|odd| String::from_utf8_lossy(odd.as_bytes()).into_owned());
                    fields.push((name, bytes(items.next()?)?));
                }
                Ok(Self::Fields(fields))
            }
        }
    }
}

impl Content {
    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&[u8]> {
        let Self::Fields(fields) = self else { return None };
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// The event, or why it cannot be read.
    pub(crate) fn decode(&self, stream: &str, id: EntryId) -> Result<Envelope, Undecodable> {
        let entry = id.to_string();
        let origin = wire::Origin { stream, entry: &entry };
        match self {
            Self::Fields(fields) => wire::decode(fields, origin),
            Self::Payload(payload) => wire::decode_payload(payload, origin),
            Self::Gone => {
                Err(Undecodable::new("it was trimmed by somebody before the group was done with it"))
            }
        }
    }

    /// Whether more of the entry is needed: an unknown event keeps its entry, to be written again as it was read.
    pub(crate) fn is_part(&self, event: &Result<Envelope, Undecodable>) -> bool {
        let unknown = matches!(event, Ok(Envelope { event: Event::Unknown(_), .. }));
        unknown && matches!(self, Self::Payload(_))
    }
}

/// An entry, as native commands answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    pub(crate) content: Content,
}

impl FromRedisValue for Entry {
    fn from_redis_value(value: Value) -> Parsed<Self> {
        let mut items = Items::of(value)?;
        Ok(Self { id: entry_id(items.next()?)?, content: Content::from_redis_value(items.next()?)? })
    }
}

/// What `look.lua` knows about a place in a stream.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) life: String,
    /// The newest entry there ever was.
    pub(crate) newest: EntryId,
    /// How many there ever were.
    pub(crate) added: u64,
    /// How many there are.
    pub(crate) length: u64,
    /// The newest that was deleted one by one.
    pub(crate) deleted: EntryId,
    /// The oldest there is.
    pub(crate) oldest: Option<EntryId>,
    /// The entries from the place on.
    pub(crate) entries: Vec<Entry>,
}

impl FromRedisValue for Look {
    fn from_redis_value(value: Value) -> Parsed<Self> {
        let mut items = Items::of(value)?;
        Ok(Self {
            life: text(items.next()?)?,
            newest: entry_id(items.next()?)?,
            added: number(items.next()?)?,
            length: number(items.next()?)?,
            deleted: entry_id(items.next()?)?,
            oldest: Some(items.next()?).filter(|id| *id != Value::Nil).map(entry_id).transpose()?,
            entries: Vec::from_redis_value(items.next()?)?,
        })
    }
}

/// What `fetch.lua` and `reclaim.lua` answer.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) life: String,
    /// Whether there may be more at once.
    pub(crate) more: bool,
    pub(crate) entries: Vec<(EntryId, u32, Content)>,
    /// When there was nothing or a spell begins: behind which entries of the stream and of the wake stream something will be.
    pub(crate) behind: Option<(String, String)>,
    /// The name of the spell that begins, in which the member reads natively.
    pub(crate) spell: Option<String>,
}

impl FromRedisValue for Given {
    fn from_redis_value(value: Value) -> Parsed<Self> {
        let mut items = Items::of(value)?;
        let (life, more) = (text(items.next()?)?, number::<i64>(items.next()?)? != 0);
        let entry = |value| {
            let mut items = Items::of(value)?;
            let (id, attempt) = (entry_id(items.next()?)?, number(items.next()?)?);
            Ok((id, attempt, Content::from_redis_value(items.maybe().unwrap_or(Value::Nil))?))
        };
        let entries = Items::of(items.next()?)?.0.map(entry).collect::<Parsed<_>>()?;
        let behind = match (items.maybe(), items.maybe()) {
            (Some(stream), Some(wake)) => Some((text(stream)?, text(wake)?)),
            _ => None,
        };
        let spell = items.maybe().map(text).transpose()?;
        Ok(Self { life, more, entries, behind, spell })
    }
}

/// What one question or acknowledgement is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It was done.
    Done,
    /// By `fetch.lua` and `reclaim.lua`.
    Given(Given),
    /// By a native read of one stream that has something, or of none that has.
    Read(Vec<Entry>),
}

impl FromRedisValue for Answer {
    fn from_redis_value(value: Value) -> Parsed<Self> {
        let streams = match value {
            Value::Int(_) => return Ok(Self::Done),
            Value::Nil => return Ok(Self::Read(Vec::new())),
            Value::Array(items) if !matches!(items.first(), Some(Value::Array(_))) => {
                return Given::from_redis_value(Value::Array(items)).map(Self::Given);
            }
            Value::Array(streams) => streams,
            Value::Map(streams) => {
                streams.into_iter().map(|(name, entries)| Value::Array(vec![name, entries])).collect()
            }
            _ => return Err("no answer to a question".into()),
        };
        let mut found = Vec::new();
        for stream in streams {
            let mut items = Items::of(stream)?;
            items.next()?;
            for entry in Items::of(items.next()?)?.0 {
                found.push(Entry::from_redis_value(entry)?);
            }
        }
        Ok(Self::Read(found))
    }
}

/// What `report.lua` answers.
#[derive(Debug)]
pub(crate) struct Counted {
    /// Entries kept.
    pub(crate) length: u64,
    /// What they take, about.
    pub(crate) bytes: u64,
    /// Dead letters.
    pub(crate) letters: u64,
    pub(crate) groups: Vec<GroupReport>,
}

impl FromRedisValue for Counted {
    fn from_redis_value(value: Value) -> Parsed<Self> {
        let mut items = Items::of(value)?;
        let (length, size, letters) =
            (number(items.next()?)?, number(items.next()?)?, number(items.next()?)?);
        let group = |value| {
            let mut items = Items::of(value)?;
            Ok(GroupReport {
                name: String::from_utf8_lossy(&bytes(items.next()?)?).into_owned(),
                members: number(items.next()?)?,
                pending: number(items.next()?)?,
                oldest: u64::try_from(number::<i64>(items.next()?)?).ok().map(Duration::from_millis),
                unread: items.maybe().map(number).transpose()?,
            })
        };
        let groups = Items::of(items.next()?)?.0.map(group).collect::<Parsed<_>>()?;
        Ok(Self { length, bytes: size, letters, groups })
    }
}
