//! For the family's own crates that keep something on Redis beside this one: how an operation is sent.
//!
//! Not for hosts: what is here may change with any version.
//!
//! A script is declared once and sent by [`Store::script`], whose first argument is the time; [`PRELUDE`] makes that the
//! local `now`, in milliseconds. Every command touches one slot. An operation is repeated when a reply was lost, so every
//! write has to repeat harmlessly. [`Store::transaction`] sends several commands that happen at once.
//!
//! ```
//! use chat_core::error::Result;
//! use chat_redis::driver::{Key, Operation, PRELUDE, Script, Store};
//!
//! /// Counts a visit. KEYS: the visitor. Answers when it was, in milliseconds.
//! static VISIT: Script = Script::joined(&[PRELUDE, "redis.call('SET', KEYS[1], now) return now"]);
//!
//! async fn visit(store: &Store, visitor: &str) -> Result<u64> {
//!     const VISITED: Operation = Operation::write("visits.record");
//!     let key = Key::foreign(format!("visit:{{{visitor}}}"));
//!     store.call_one(VISITED, store.script(&VISIT, &[key])).await
//! }
//! ```

pub use crate::connection::command::{Command, Operation};
pub use crate::keys::Key;
pub use crate::once::OperationId;
pub use crate::script::{PRELUDE, Script};
pub use crate::store::Store;
pub use chat_core::clock::Stopwatch;
