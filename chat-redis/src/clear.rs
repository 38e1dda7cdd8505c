//! The end of a key space.

use chat_core::error::Result;

use crate::Redis;
use crate::connection::{Command, Operation};

impl Redis {
    /// Removes everything under this key space's prefix: for a tenant who leaves, and for tests. Profiles kept under
    /// another prefix ([`ProfileLayout::SeedHash`](crate::ProfileLayout::SeedHash)) stay. How many keys that was.
    ///
    /// It walks through all keys of all servers, in steps that hold nobody up. What is written meanwhile may stay.
    ///
    /// # Errors
    /// [`Code::Unavailable`](chat_core::error::Code::Unavailable),
    /// [`Code::Timeout`](chat_core::error::Code::Timeout).
    pub async fn clear(&self) -> Result<u64> {
        const CLEAR: Operation = Operation::write("redis.clear");
        let mut walk = self.store.scan(CLEAR, &format!("{}:", self.store.keys.prefix()), None).await?;
        let mut removed = 0;
        while let Some(keys) = walk.next().await? {
            let unlink = |key: Vec<u8>| Command::keyless("UNLINK").arg(key);
            let gone: Vec<u64> =
                self.store.call(CLEAR.bulk(), keys.into_iter().map(unlink).collect()).await?;
            removed += gone.into_iter().sum::<u64>();
        }
        Ok(removed)
    }
}
