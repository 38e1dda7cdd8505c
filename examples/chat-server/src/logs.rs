//! What is written to the log: no tokens, no texts.

use tracing_subscriber::EnvFilter;

/// What is logged unless `RUST_LOG` says otherwise. The Socket.IO libraries are built without their own logging, which
/// would show tokens and messages; this holds should a host build them with it.
const DEFAULT: &str = "info,socketioxide=warn,engineioxide=warn";

/// Logs to standard error.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
