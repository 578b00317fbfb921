//! Work without waiting that may take long.

use tokio::{sync::Semaphore, task};

use crate::{error::Error, panics};

/// What a tenant can make take seconds and tens of MiB is done twice at once, however many releases
/// there are.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Does `work` on a thread of its own: the others keep the lease and watch hooks. A panic goes on
/// with whoever waits.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    // Fails only if it is closed, which it never is. The work keeps its turn if nobody waits for it
    // any more.
    let turn = TURNS.acquire().await.ok();
    let done = task::spawn_blocking(move || {
        let done = panics::caught_now(work);
        drop(turn);
        done
    });
    match done.await {
        Ok(Ok(done)) => done,
        Ok(Err(panicked)) => panicked.resume(),
        // The process ends.
        Err(_) => Err(Error::Outrun),
    }
}
