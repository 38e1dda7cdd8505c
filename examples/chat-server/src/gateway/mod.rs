//! The Socket.IO side: letting sockets in, queueing what they ask, answering.
//!
//! ```text
//! connect  →  queue  →  dispatch  →  request/*  →  chat-core's use cases
//!    ↓                     ↓
//! sockets  ←  fanout     answer
//! ```

pub(crate) mod answer;
pub(crate) mod conn;
pub(crate) mod connect;
pub(crate) mod dispatch;
pub(crate) mod queue;
pub(crate) mod request;
pub(crate) mod session;
pub(crate) mod sockets;
pub(crate) mod status;
pub(crate) mod view;
