//! Work without waiting that may take long.

use tokio::{sync::Semaphore, task};

use crate::error::Error;

/// What a tenant can make take seconds and tens of MiB is done twice at once, however many releases
/// there are.
static TURNS: Semaphore = Semaphore::const_new(2);

/// Does `work` on a thread of its own: the others keep the lease and watch hooks.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    // Fails only if it is closed, which it never is. The work keeps its turn if nobody waits for it
    // any more.
    let turn = TURNS.acquire().await.ok();
    let done = task::spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    });
    match done.await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The process ends.
        Err(_) => Err(Error::Outrun),
    }
}
