//! [`Source`]: a consumer, and what some logs can do better.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chat_core::error::Result;
use chat_core::memory::MemoryConsumer;
use chat_core::store::EventConsumer;
use chat_core::store::events::{Delivery, Receipt};

use crate::consumer::StreamConsumer;

/// A consumer a worker works on. Any will do: what is provided follows from the port.
#[async_trait]
pub trait Source: EventConsumer {
    /// Acknowledges entries, then fetches others; in one round trip where the log can.
    ///
    /// # Errors
    /// Those of [`EventConsumer::ack`] and [`EventConsumer::fetch`]; either may have happened then.
    async fn ack_and_fetch(&self, receipts: &[Receipt], max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        if !receipts.is_empty() {
            self.ack(receipts).await?;
        }
        self.fetch(max, wait).await
    }

    /// Says that entries are being worked on, so that nobody takes them over; `false` where the log cannot be told.
    ///
    /// # Errors
    /// Those of the log.
    async fn renew(&self, receipts: &[Receipt]) -> Result<bool> {
        let _ = receipts;
        Ok(false)
    }
}

impl Source for Arc<dyn EventConsumer> {}

impl Source for MemoryConsumer {}

#[async_trait]
impl Source for StreamConsumer {
    async fn ack_and_fetch(&self, receipts: &[Receipt], max: usize, wait: Duration) -> Result<Vec<Delivery>> {
        let found = StreamConsumer::ack_and_fetch(self, receipts, max).await?;
        if found.is_empty() && !wait.is_zero() { self.fetch(max, wait).await } else { Ok(found) }
    }

    async fn renew(&self, receipts: &[Receipt]) -> Result<bool> {
        StreamConsumer::renew(self, receipts).await.map(|()| true)
    }
}
