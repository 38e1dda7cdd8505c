//! Naming a call, so that a script which has answered it already gives the same answer again.
//!
//! An operation is sent again when its reply was lost, and the first one may still arrive after the second. What is
//! handed out once, such as an edge, must then neither get lost nor be handed out twice. So the caller names the call
//! once, all its repetitions carry that name, and the script remembers its answer under it for a while.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::{RedisWrite, ToRedisArgs};

/// The name of one call: no other call of any process has it within the time an answer is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationId(u64);

impl OperationId {
    /// A name for a call that begins.
    #[expect(clippy::new_without_default, reason = "there is no usual name: each is another one")]
    pub fn new() -> Self {
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self(SECRET.hash_one(COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The name of the nth part of this call: eight bytes which are not all zero.
    pub(crate) fn part(self, nth: usize) -> [u8; 8] {
        self.0.wrapping_add(nth as u64).max(1).to_be_bytes()
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl ToRedisArgs for OperationId {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg_fmt(self);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_calls_have_the_same_name() {
        let names: HashSet<_> = (0..100_000).map(|_| OperationId::new()).collect();
        assert_eq!(names.len(), 100_000);
    }

    #[test]
    fn parts_of_a_call_have_names_of_their_own() {
        let call = OperationId(u64::MAX);
        assert_ne!(call.part(0), call.part(1));
        assert_ne!(call.part(1), [0; 8]);
    }
}
