//! Trials, and waiting: everything that must happen has a deadline, and nothing else is waited for.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use libtest_mimic::{Completion, Failed, Trial};

/// How long anything that must happen may take, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A list of trials: each is an `async fn` of the module it is written in, and is named after both.
macro_rules! trials {
    ($($name:ident,)*) => {
        /// Every trial of this topic.
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$($crate::it::support::run::trial(module_path!(), stringify!($name), $name),)*]
        }
    };
}
pub(crate) use trials;

/// One trial with a runtime of its own.
pub(crate) fn trial<F>(module: &str, name: &str, body: fn() -> F) -> Trial
where
    F: Future<Output = ()> + 'static,
{
    Trial::test(named(module, name), move || {
        on_a_runtime(body());
        Ok(())
    })
}

/// One that may find out that it cannot run here.
pub(crate) fn ignorable(
    module: &str,
    name: &str,
    body: impl FnOnce() -> Result<Completion, Failed> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(named(module, name), body)
}

fn named(module: &str, name: &str) -> String {
    let topic = module.rsplit("::").next().unwrap_or(module);
    format!("{topic}::{name}")
}

/// Runs one trial to its end.
pub(crate) fn on_a_runtime(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(body);
}

/// Waits for what must happen; fails with a name instead of hanging.
#[track_caller]
pub(crate) fn within<F: Future>(what: impl Into<String>, future: F) -> impl Future<Output = F::Output> {
    let (what, asked) = (what.into(), Location::caller());
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(outcome) => outcome,
            Err(_) => panic!("{asked}: waited {DEADLINE:?} for {what}"),
        }
    }
}

/// Whether one of these tools is named in `CHAT_TEST_REQUIRE`: then its absence is a failure.
fn is_required(tools: &str) -> bool {
    let required = std::env::var("CHAT_TEST_REQUIRE").unwrap_or_default();
    required.split(',').any(|name| tools.split(',').any(|tool| tool == name.trim()))
}

/// What to do without a tool, or without one of several.
pub(crate) fn without(tools: &str, why: &str) -> Result<Completion, Failed> {
    if is_required(tools) {
        return Err(format!("{why}, and CHAT_TEST_REQUIRE names {tools}").into());
    }
    Ok(Completion::ignored_with(why))
}
