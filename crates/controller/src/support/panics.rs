//! Panics, which are faults of this program. A panic ends the work in which it happened, is counted
//! and logged with its place, and is reported on the object; the process continues for all others.

use std::{
    any::Any,
    backtrace::Backtrace,
    cell::RefCell,
    future::Future,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    pin::Pin,
    sync::LazyLock,
};

use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use lifecycle::{journal::Failure, reason::Reason};
use prometheus_client::metrics::counter::Counter;
use thiserror::Error;

use crate::support::backoff::Backoff;

/// The maximum number of our own functions that are named, the innermost first.
const MOST_FRAMES: usize = 12;

thread_local! {
    /// The last panic on this thread, for the code that catches it.
    static LAST: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

static COUNT: LazyLock<Counter> = LazyLock::new(Counter::default);

/// A panic, without data that its message may quote.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{words}, at {place}")]
pub(crate) struct Panicked {
    words: String,
    place: String,
}

impl Panicked {
    /// Returns the failure to report on the object.
    pub(crate) fn failure(&self) -> Failure {
        let message = format!(
            "this is a fault of the operator, which others do not suffer from: {self}. Report it with \
             this message, with version {} and with what the operator's log says of it. It is tried \
             again after some minutes, with back-off, and when the spec changes or something is requested",
            env!("CARGO_PKG_VERSION")
        );
        Failure::new(Reason::InternalError, message)
    }

    /// Continues the panic on another thread, without counting it again.
    pub(crate) fn resume(self) -> ! {
        panic::resume_unwind(Box::new(self))
    }
}

/// Returns the number of panics; a metric.
pub(crate) fn count() -> Counter {
    COUNT.clone()
}

/// Installs the hook: from here on each panic is counted and logged, whoever catches it.
pub(crate) fn install() {
    panic::set_hook(Box::new(|info| {
        let (panicked, functions) = note(info);
        tracing::error!(functions = functions.join(" < "), "a fault of the operator: {panicked}");
    }));
}

/// Counts the panic, and keeps its known facts; also returns our functions in which it happened.
fn note(info: &PanicHookInfo<'_>) -> (Panicked, Vec<String>) {
    COUNT.inc();
    let functions = our_functions(&Backtrace::force_capture().to_string());
    let place = info.location().map_or_else(
        || "an unknown place".to_owned(),
        |at| format!("{}:{}", short(at.file()), at.line()),
    );
    let place = match functions.first() {
        Some(function) => format!("{place} in {function}"),
        None => place,
    };
    let panicked = Panicked { words: words(info.payload()), place };
    LAST.set(Some(panicked.clone()));
    (panicked, functions)
}

/// Returns the message of a panic if it is a text of the program; other messages may contain data.
fn words(payload: &(dyn Any + Send)) -> String {
    if let Some(words) = payload.downcast_ref::<&'static str>() {
        return (*words).to_owned();
    }
    // The message contains only two numbers.
    let words = payload.downcast_ref::<String>();
    match words.filter(|words| words.starts_with("index out of bounds: ")) {
        Some(words) => words.clone(),
        None => "a panic (its words may quote data)".to_owned(),
    }
}

/// Returns the end of the path: the place of the build is private.
fn short(path: &str) -> &str {
    let parts = path.rmatch_indices('/').map(|(index, _)| index);
    let cut = if path.starts_with('/') { parts.take(4).last() } else { None };
    cut.and_then(|index| path.get(index.saturating_add(1)..)).unwrap_or(path)
}

/// Returns the functions of a backtrace that are this program's, the innermost first.
fn our_functions(backtrace: &str) -> Vec<String> {
    const OURS: [&str; 5] =
        ["releaselifecycle_controller::", "lifecycle::", "helm::", "api::", "engine::"];
    let functions = backtrace.lines().filter_map(|line| line.trim().split_once(": "));
    let functions = functions.map(|(_, function)| function);
    let functions = functions.filter(|it| {
        let name = it.trim_start_matches(['<', '&']);
        OURS.iter().any(|ours| name.starts_with(ours)) && !it.contains("::panics::")
    });
    functions.take(MOST_FRAMES).map(str::to_owned).collect()
}

/// Returns the panic of `payload`, which was caught on this thread.
fn of(payload: Box<dyn Any + Send>) -> Panicked {
    match payload.downcast::<Panicked>() {
        Ok(carried) => *carried,
        Err(payload) => LAST.take().unwrap_or_else(|| Panicked {
            words: words(&*payload),
            place: "an unknown place".to_owned(),
        }),
    }
}

/// Awaits `work`, and catches its panics. The owners of shared state leave it consistent: locks are
/// taken even if they are poisoned, and turns end when they are dropped.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(of)
}

/// Like [`caught`], for work that is not asynchronous.
pub(crate) fn caught_now<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(of)
}

/// Runs the future of `task` until it ends by itself; after a panic it is started again, with
/// back-off.
pub(crate) async fn kept<F: Future>(what: &str, mut task: impl FnMut() -> F) -> F::Output {
    let backoff = Backoff::default();
    loop {
        match caught(task()).await {
            Ok(end) => return end,
            Err(_) => pause(what, &backoff).await,
        }
    }
}

/// Returns the items of the stream from `make`; after a panic the stream is created again, with
/// back-off.
pub(crate) fn kept_stream<S: Stream>(
    what: &'static str,
    make: impl FnMut() -> S,
) -> impl Stream<Item = S::Item> {
    let first: Option<Pin<Box<S>>> = None;
    stream::unfold((first, make, Backoff::default()), move |state| async move {
        let (mut items, mut make, backoff) = state;
        loop {
            let from = items.get_or_insert_with(|| Box::pin(make()));
            if let Ok(item) = caught(from.next()).await {
                return item.map(|item| (item, (items, make, backoff)));
            }
            items = None;
            pause(what, &backoff).await;
        }
    })
}

async fn pause(what: &str, backoff: &Backoff) {
    let wait = backoff.next("", None);
    tracing::error!(again_in = ?wait, "{what} ended by a fault of the operator, and is restarted");
    tokio::time::sleep(wait).await;
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{Arc, Once},
        time::Duration,
    };

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{ResourceExt as _, core::ObjectMeta};
    use kube_runtime::{
        applier,
        controller::{self, Action},
        reflector::{self, ObjectRef},
        utils::CancelableJoinHandle,
        watcher::Event,
    };
    use serde_json::{Value, json};
    use tokio::runtime::Handle;

    use super::*;

    /// Like [`install`], and the test's own report remains.
    fn hook() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                note(info);
                before(info);
            }));
        });
    }

    /// The first panic that was reported: `data` is written by a tenant.
    fn write_into(mut data: Value) -> Value {
        data["key"] = json!("value");
        data
    }

    #[test]
    fn it_is_told_where_it_was_and_not_what_was_there() {
        hook();
        let data = || std::hint::black_box("hunter2").to_owned();
        let before = COUNT.get();
        let panicked = caught_now(|| write_into(json!("hunter2"))).unwrap_err();
        assert!(COUNT.get() > before);
        let Failure { reason, message } = panicked.failure();
        assert_eq!(reason, "InternalError");
        assert!(
            message.contains("src/value/index.rs:") && !message.contains("/serde/"),
            "{message}"
        );
        assert!(!message.contains("hunter2") && !message.contains("\"key\""), "{message}");
        assert!(message.contains(env!("CARGO_PKG_VERSION")), "{message}");
        let quoting = caught_now(|| panic!("it was {}", data())).unwrap_err();
        assert!(quoting.to_string().starts_with("a panic (its words may quote data), at "));
        assert!(
            quoting.to_string().contains("crates/controller/src/support/panics.rs:"),
            "{quoting}"
        );
        let index = std::hint::black_box(7);
        let numbers = caught_now(|| [1, 2, 3][index]).unwrap_err();
        assert!(numbers.to_string().starts_with("index out of bounds: the len is 3"), "{numbers}");
        let fixed = caught_now(|| panic!("a fixed text")).unwrap_err();
        assert!(fixed.to_string().starts_with("a fixed text, at "), "{fixed}");
    }

    #[test]
    fn only_our_own_functions_are_named() {
        let backtrace = "   0: std::panicking::begin_panic\n   1: \
                         releaselifecycle_controller::panics::note\n   2: \
                         <releaselifecycle_controller::drift::Look as x>::at\n             at \
                         ./src/drift.rs:1:2\n   3: lifecycle::plan::Plan::thaw\n   4: tokio::run";
        let found = our_functions(backtrace);
        let ours =
            ["<releaselifecycle_controller::drift::Look as x>::at", "lifecycle::plan::Plan::thaw"];
        assert_eq!(found, ours);
        assert_eq!(our_functions("   0: <unknown>\n"), [""; 0]);
        assert_eq!(short("crates/helm/src/lib.rs"), "crates/helm/src/lib.rs");
        let foreign = "/home/me/registry/src/index/serde_json-1.0.1/src/value/index.rs";
        assert_eq!(short(foreign), "serde_json-1.0.1/src/value/index.rs");
    }

    #[tokio::test]
    async fn what_panics_on_a_thread_of_its_own_goes_on_with_who_waits() {
        hook();
        let work = async || {
            let done =
                crate::support::blocking::run("a", || [1, 2, 3].get(9).copied().expect("a ninth"));
            let _: i32 = done.await;
        };
        let panicked = caught(work()).await.unwrap_err();
        assert!(
            panicked.to_string().contains("at crates/controller/src/support/panics.rs:"),
            "{panicked}"
        );
        // Its permit is free again.
        for _ in 0..3 {
            caught(work()).await.unwrap_err();
        }
        assert_eq!(crate::support::blocking::run("a", || 7).await, 7);
    }

    #[tokio::test]
    async fn a_task_and_a_stream_begin_anew() {
        let mut runs = 0;
        let task = || {
            runs += 1;
            let run = runs;
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert!(run > 1, "too early");
                run
            }
        };
        assert_eq!(kept("a task", task).await, 2);

        let mut count = 0;
        let items = || {
            count += 1;
            let first = count == 1;
            stream::iter(1..4).map(move |item| {
                assert!(!(first && item == 2), "at its second item");
                item
            })
        };
        let seen: Vec<_> = kept_stream("a stream", items).collect().await;
        assert_eq!(seen, [1, 1, 2, 3]);
    }

    #[tokio::test]
    async fn a_panic_in_one_reconciliation_leaves_the_others_going() {
        let (store, mut writer) = reflector::store::<ConfigMap>();
        let name = |name: &str| ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("ns".to_owned()),
            ..ObjectMeta::default()
        };
        let object = |of| ConfigMap { metadata: name(of), ..ConfigMap::default() };
        writer.apply_watcher_event(&Event::Init);
        for name in ["bad", "good"] {
            writer.apply_watcher_event(&Event::InitApply(object(name)));
        }
        writer.apply_watcher_event(&Event::InitDone);
        let reconcile = |object: Arc<ConfigMap>, _| async move {
            let work = async {
                tokio::task::yield_now().await;
                assert_ne!(object.name_any(), "bad", "it cannot be worked on");
                Ok::<_, Infallible>(Action::await_change())
            };
            caught(work).await.unwrap_or_else(|_| Ok(Action::requeue(Duration::from_mins(5))))
        };
        // As the `Controller` does it, which unwraps the result of the task.
        let reconcile = move |object, ctx| {
            CancelableJoinHandle::spawn(reconcile(object, ctx), &Handle::current())
        };
        let never = |_: Arc<ConfigMap>, _: &Infallible, _: Arc<()>| Action::await_change();
        let wanted = ["bad", "good", "bad", "good"];
        let wanted =
            wanted.map(|name| Ok::<_, Infallible>(ObjectRef::<ConfigMap>::new(name).within("ns")));
        let queue = stream::iter(wanted).chain(stream::pending());
        let config = controller::Config::default();
        let done = applier(reconcile, never, Arc::new(()), store, queue, config);
        let done: Vec<_> = done.take(2).map(|it| it.unwrap().0.name).collect().await;
        assert!(done.contains(&"bad".to_owned()) && done.contains(&"good".to_owned()), "{done:?}");
    }
}
