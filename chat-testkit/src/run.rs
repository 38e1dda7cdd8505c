//! The runner: one named trial per promise.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::offer::{Absent, Offer};

/// A name no other trial uses, for keys and databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace(pub String);

impl Namespace {
    fn fresh() -> Self {
        Self(format!("t{:016x}", rand::random::<u64>()))
    }
}

/// One promise, and how it is checked.
#[derive(Clone, Copy)]
pub struct Check {
    /// `port::promise`.
    pub name: &'static str,
    /// The ports it needs.
    pub needs: &'static [&'static str],
    /// Panics when the promise is broken.
    pub run: fn(Offer) -> BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Declares the checks of a port: `checks! { "presence" needs [presence]: first_promise, second_promise, }`. Each is an
/// `async fn(Offer)` in the same file.
macro_rules! checks {
    ($port:literal needs [$($need:ident),*]: $($check:ident,)*) => {
        /// Every promise checked here.
        pub const CHECKS: &[crate::Check] = &[
            $(crate::Check {
                name: concat!($port, "::", stringify!($check)),
                needs: &[$(stringify!($need)),*],
                run: |offer| Box::pin($check(offer)),
            },)*
        ];
    };
}
pub(crate) use checks;

/// Runs `work` to its end on a runtime of its own.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

/// Checks a backend: `offer` makes fresh ports for every trial.
///
/// Takes the arguments of any test binary (`--list`, a filter, `--nocapture`). `CHAT_TEST_REQUIRE` is a comma separated
/// list of backends that may not be absent.
pub fn run<F, O>(backend: &str, offer: F) -> ExitCode
where
    F: Fn(Namespace) -> O + Send + Sync + 'static,
    O: Future<Output = Result<Offer, Absent>> + Send + 'static,
{
    let arguments = Arguments::from_args();
    let required = is_required(backend);
    let offer = Arc::new(offer);
    let trials = crate::checks::all()
        .map(|check| {
            let offer = Arc::clone(&offer);
            Trial::ignorable_test(format!("{backend}::{}", check.name), move || {
                block_on(async move {
                    let offer = match offer(Namespace::fresh()).await {
                        Ok(offer) => offer,
                        Err(Absent(why)) if required => return Err(Failed::from(why)),
                        Err(Absent(why)) => return Ok(Completion::ignored_with(why)),
                    };
                    let offered = offer.ports();
                    match check.needs.iter().find(|need| !offered.contains(need)) {
                        Some(missing) => Ok(Completion::ignored_with(format!("no {missing} offered"))),
                        None => {
                            (check.run)(offer).await;
                            Ok(Completion::Completed)
                        }
                    }
                })
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn is_required(backend: &str) -> bool {
    let required = std::env::var("CHAT_TEST_REQUIRE").unwrap_or_default();
    required.split(',').any(|name| name.trim() == backend)
}
