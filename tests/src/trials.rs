//! Test programs with a test for each line of a table.

use std::{process::ExitCode, sync::LazyLock};

use anyhow::Result;
use libtest_mimic::{Arguments, Conclusion, Trial, run};
use tokio::runtime::{Builder, Runtime};

/// The runtime. It is never dropped, so that no thread of it ends before the controllers that it
/// started.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let runtime = Builder::new_multi_thread().worker_threads(16).enable_all().build();
    runtime.expect("a runtime starts anywhere")
});

/// Returns one test, with the future that `body` makes.
pub fn trial<F>(name: impl Into<String>, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Result<()>>,
{
    Trial::test(name, move || {
        RUNTIME.block_on(async { body().await }).map_err(|error| format!("{error:#}").into())
    })
}

/// Runs those that the command line asks for, `threads` at a time by default, in their order.
pub fn run_all(trials: Vec<Trial>, threads: usize) -> Conclusion {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(threads);
    run(&args, trials)
}

/// Returns the exit code of a test program.
pub fn exit_code(conclusion: &Conclusion) -> ExitCode {
    if conclusion.has_failed() { ExitCode::from(101) } else { ExitCode::SUCCESS }
}
