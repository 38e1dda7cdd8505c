//! Work whose reply is lost after it was done.

use std::future::Future;

use chat_testkit::proxy::{Proxy, Request};
use chat_testkit::walk::eventually;

/// Loses the reply to the next script, which was executed.
pub(crate) async fn losing<T>(proxy: &Proxy, work: impl Future<Output = T>) -> T {
    proxy.losing(Request::with("EVALSHA"), work).await
}

/// Runs `work`, whose first reply does not come, and `between` once it is executed, before it is asked again.
pub(crate) async fn between<T>(
    proxy: &Proxy,
    work: impl Future<Output = T>,
    executed: impl AsyncFn() -> bool,
    between: impl Future<Output = ()>,
) -> T {
    proxy.hang_after(Request::with("EVALSHA"));
    let meanwhile = async {
        eventually("the script is executed", || executed()).await;
        between.await;
    };
    let (answer, ()) = futures::join!(work, meanwhile);
    answer
}
