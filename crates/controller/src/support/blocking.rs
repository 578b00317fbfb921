//! Work that waits for nothing and may take long.

use std::sync::LazyLock;

use tokio::task;

use crate::support::{panics, permits::Permits};

/// The turns: work that takes seconds and tens of MiB, which a tenant can cause, is done at most
/// twice at once, however many releases there are, and once for each namespace.
static TURNS: LazyLock<Permits> = LazyLock::new(|| Permits::new(2));

/// Does `work` of a release of the namespace on a thread of its own. A panic continues in the caller
/// that waits.
pub(crate) async fn run<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    // The work keeps its turn even if nobody waits for it any more.
    let turn = TURNS.take(namespace).await;
    let done = task::spawn_blocking(move || {
        let done = panics::caught_now(work);
        drop(turn);
        done
    });
    match done.await {
        Ok(Ok(done)) => done,
        Ok(Err(panicked)) => panicked.resume(),
        // The process ends, and nothing continues from here.
        Err(_) => std::future::pending().await,
    }
}
