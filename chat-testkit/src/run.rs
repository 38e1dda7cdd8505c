//! The runner: one named trial per promise.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::offer::{Absent, Offer};

/// What takes longer than this has lost its way.
const PATIENCE: Duration = Duration::from_secs(600);

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

/// Declares the checks of a port: `checks! { "presence" needs [presence]: first_promise, an_outage + outage, }`. Each
/// is an `async fn(Offer)` in scope; what follows a `+` is needed by that check alone.
macro_rules! checks {
    ($port:literal needs $needs:tt: $($check:ident $(+ $more:ident)*,)*) => {
        /// Every promise checked here.
        pub const CHECKS: &[crate::Check] = &[
            $(crate::Check {
                name: concat!($port, "::", stringify!($check)),
                needs: crate::run::checks!(@needs $needs $($more)*),
                run: |offer| Box::pin($check(offer)),
            },)*
        ];
    };
    (@needs [$($need:ident),*] $($more:ident)*) => {
        &[$(stringify!($need),)* $(stringify!($more),)*]
    };
}
pub(crate) use checks;

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The promise holds.
    Kept,
    /// It could not be checked, and why.
    Ignored(String),
    /// The promise is broken, and how.
    Broken(String),
}

/// Checks one promise of a backend, on a runtime of its own. `offer` makes fresh ports, once for the check and again
/// for every random history it plays.
pub fn prove<F, O>(check: &Check, offer: F) -> Verdict
where
    F: Fn(Namespace) -> O + Send + Sync + 'static,
    O: Future<Output = Result<Offer, Absent>> + Send + 'static,
{
    prove_required(check, &Arc::new(offer), false)
}

fn prove_required<F, O>(check: &Check, offer: &Arc<F>, required: bool) -> Verdict
where
    F: Fn(Namespace) -> O + Send + Sync + 'static,
    O: Future<Output = Result<Offer, Absent>> + Send + 'static,
{
    let again = Arc::clone(offer);
    let trial = async {
        let offer = match offer(Namespace::fresh()).await {
            Ok(offer) => offer.made_by(move || again(Namespace::fresh()).boxed()),
            Err(Absent(why)) if required => return Verdict::Broken(why),
            Err(Absent(why)) => return Verdict::Ignored(why),
        };
        let offered = offer.ports();
        if let Some(missing) = check.needs.iter().find(|need| !offered.contains(need)) {
            return Verdict::Ignored(format!("no {missing} offered"));
        }
        let run = AssertUnwindSafe((check.run)(offer)).catch_unwind();
        match tokio::time::timeout(PATIENCE, run).await {
            Ok(Ok(())) => Verdict::Kept,
            Ok(Err(panic)) => Verdict::Broken(words(&*panic)),
            Err(_) => Verdict::Broken(format!("no end after {PATIENCE:?}")),
        }
    };
    runtime().block_on(trial)
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// One trial per promise of a backend: `offer` makes fresh ports for every trial, and for every random history. So it
/// should keep its server outside and only give out a new namespace.
///
/// `CHAT_TEST_REQUIRE` is a comma separated list of backends that may not be absent; `redis` stands for
/// `redis-cluster`, too.
pub fn promises<F, O>(backend: &str, offer: F) -> Vec<Trial>
where
    F: Fn(Namespace) -> O + Send + Sync + 'static,
    O: Future<Output = Result<Offer, Absent>> + Send + 'static,
{
    let required = is_required(backend);
    let offer = Arc::new(offer);
    let promise = |check: Check| {
        let offer = Arc::clone(&offer);
        Trial::ignorable_test(format!("{backend}::{}", check.name), move || {
            match prove_required(&check, &offer, required) {
                Verdict::Kept => Ok(Completion::Completed),
                Verdict::Ignored(why) => Ok(Completion::ignored_with(why)),
                Verdict::Broken(how) => Err(Failed::from(how)),
            }
        })
    };
    crate::checks::all().map(promise).collect()
}

/// Checks one backend: a whole test binary around its [`promises`].
pub fn run<F, O>(backend: &str, offer: F) -> ExitCode
where
    F: Fn(Namespace) -> O + Send + Sync + 'static,
    O: Future<Output = Result<Offer, Absent>> + Send + 'static,
{
    run_trials(promises(backend, offer))
}

/// One trial of something that needs a server, on a runtime of its own. It fails by panicking. A server that is
/// `Absent` makes it ignored with the reason, or a failure if `CHAT_TEST_REQUIRE` names what it `needs`.
///
/// [`trials!`](crate::trials) makes a list of them.
pub fn trial<F>(
    name: impl Into<String>,
    needs: &'static str,
    body: impl FnOnce() -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = Result<(), Absent>>,
{
    Trial::ignorable_test(name, move || match runtime().block_on(body()) {
        Ok(()) => Ok(Completion::Completed),
        Err(Absent(why)) if is_required(needs) => {
            Err(Failed::from(format!("{why}, and CHAT_TEST_REQUIRE names {needs}")))
        }
        Err(Absent(why)) => Ok(Completion::ignored_with(why)),
    })
}

/// Declares `trials()`, a list of [`trial`](crate::trial)s named after the module and the function:
/// `trials! { needs "redis": a_lost_reply_is_not_repeated, … }`. Each is an `async fn() -> Result<(), Absent>` in scope.
#[macro_export]
macro_rules! trials {
    (needs $needs:literal: $($name:ident),* $(,)?) => {
        /// Every trial of this topic.
        pub(crate) fn trials() -> Vec<$crate::Trial> {
            let topic = module_path!().rsplit("::").next().unwrap_or_default();
            vec![$($crate::trial(format!("{topic}::{}", stringify!($name)), $needs, $name),)*]
        }
    };
}

/// Runs trials as a test binary does: takes its arguments (`--list`, a filter, `--nocapture`). They wait for servers more
/// than they work, so there are twice as many at a time as processors.
pub fn run_trials(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    arguments.test_threads.get_or_insert(2 * processors);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn is_required(backend: &str) -> bool {
    let required = std::env::var("CHAT_TEST_REQUIRE").unwrap_or_default();
    let family = backend.split('-').next().unwrap_or_default();
    required.split(',').map(str::trim).any(|name| name == backend || name == family)
}
