//! Work without waiting that may take long.

use tokio::{sync::Semaphore, task};

use crate::support::panics;

/// What a tenant can make take seconds and tens of MiB is done twice at once, however many releases
/// there are.
static PERMITS: Semaphore = Semaphore::const_new(2);

/// Does `work` on a thread of its own: the others keep the lease and watch hooks. A panic goes on
/// with whoever waits.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // Fails only if it is closed, which it never is. The work keeps its permit if nobody waits for it
    // any more.
    let permit = PERMITS.acquire().await.ok();
    let done = task::spawn_blocking(move || {
        let done = panics::caught_now(work);
        drop(permit);
        done
    });
    match done.await {
        Ok(Ok(done)) => done,
        Ok(Err(panicked)) => panicked.resume(),
        // The process ends, and nobody goes on from here.
        Err(_) => std::future::pending().await,
    }
}
