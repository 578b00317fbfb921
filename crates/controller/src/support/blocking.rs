//! Work that waits for nothing and may take long.

use tokio::{sync::Semaphore, task};

use crate::support::panics;

/// The permits: work that takes seconds and tens of MiB, which a tenant can cause, is done at most
/// twice at once, however many releases there are.
static PERMITS: Semaphore = Semaphore::const_new(2);

/// Does `work` on a thread of its own: the other threads keep the lease and watch hooks. A panic
/// continues in the caller that waits.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // Fails only if it is closed, which it never is. The work keeps its permit even if nobody waits
    // for it any more.
    let permit = PERMITS.acquire().await.ok();
    let done = task::spawn_blocking(move || {
        let done = panics::caught_now(work);
        drop(permit);
        done
    });
    match done.await {
        Ok(Ok(done)) => done,
        Ok(Err(panicked)) => panicked.resume(),
        // The process ends, and nothing continues from here.
        Err(_) => std::future::pending().await,
    }
}
