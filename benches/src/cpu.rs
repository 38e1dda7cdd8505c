//! What a process has spent.

use std::fs;

/// Nanoseconds on a processor, of all threads that live, of this process (`self`) or another one: none where the system does
/// not tell.
pub(crate) fn spent(process: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let spent = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    spent.sum()
}
