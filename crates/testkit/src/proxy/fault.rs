//! The possible faults, the requests that they meet, and the signals.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use hyper::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::ledger::Request;

/// A fault, and its time. `n` and `every` count from 1, from the moment of arming, over the
/// requests that [`Fault::counts`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Kills process `pid` at the `n`-th request, once. The request gets no answer.
    KillAt {
        /// The number of the request.
        n: usize,
        /// The process that sends the requests.
        pid: u32,
        /// Says whether the API server sees the request.
        when: When,
    },
    /// Stops process `pid` at the `n`-th request, once, and continues it after `for_`, at
    /// [`Proxy::resume`](super::Proxy::resume), or when the proxy is dropped. Counts as fired once
    /// the signal was sent.
    StopAt {
        /// The number of the request.
        n: usize,
        /// The process that sends the requests.
        pid: u32,
        /// `Before`: the request reaches the API server only after the pause, as a late one.
        /// `After`: it is carried out at once, and its answer is read after the pause.
        when: When,
        /// The time for which the process stays stopped.
        for_: Duration,
    },
    /// Holds every request back for this long, watches included.
    DelayAll(Duration),
    /// Refuses the next `count` requests, which the API server does not see.
    FailNext {
        /// The number of requests.
        count: usize,
        /// An HTTP status of 400 to 599, such as 429, 500 or 503.
        status: u16,
    },
    /// Refuses every `every`-th request, which the API server does not see.
    FailEvery {
        /// 1 = each.
        every: usize,
        /// An HTTP status of 400 to 599, such as 429, 500 or 503.
        status: u16,
    },
    /// Lets every `every`-th request be executed, then closes the connection without an answer.
    LoseAnswer {
        /// 1 = each.
        every: usize,
    },
    /// Sends every `every`-th POST twice, one after the other, and delivers the second answer.
    Duplicate {
        /// 1 = each.
        every: usize,
    },
}

/// The side of the request's execution on which a process is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The request is not forwarded.
    Before,
    /// The request was forwarded and the API server has answered, but the answer is not delivered.
    After,
}

/// The requests that a fault counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counted {
    /// All except watches: the times at which those are opened again depend on timing alone.
    #[default]
    NonWatch,
    /// Those that store something; see [`Request::is_write`].
    Writes,
    /// POSTs that store something.
    Creates,
    /// Those with this method, such as `GET`, whose path ends with this text, whatever the query.
    Of(&'static str, &'static str),
    /// All.
    All,
}

impl Counted {
    fn includes(self, request: &Request) -> bool {
        match self {
            Self::NonWatch => !request.is_watch(),
            Self::Writes => request.is_write(),
            Self::Creates => request.is_write() && request.method == Method::POST,
            Self::Of(method, end) => {
                let path = request.path.split_once('?').map_or(&*request.path, |(path, _)| path);
                request.method == method && path.ends_with(end)
            }
            Self::All => true,
        }
    }
}

impl Fault {
    /// Returns the default count of this fault: [`Counted::NonWatch`], except for `Duplicate`
    /// ([`Counted::Creates`]) and `DelayAll` ([`Counted::All`]).
    pub fn counts(self) -> Counted {
        match self {
            Self::Duplicate { .. } => Counted::Creates,
            Self::DelayAll(_) => Counted::All,
            _ => Counted::NonWatch,
        }
    }

    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::KillAt { n: count, pid, .. } | Self::StopAt { n: count, pid, .. } => {
                ensure!(count > 0, "requests are counted from 1: {self:?}");
                target(pid)?;
            }
            Self::FailNext { count, status } | Self::FailEvery { every: count, status } => {
                ensure!(count > 0, "requests are counted from 1: {self:?}");
                ensure!((400..600).contains(&status), "not an HTTP error: {self:?}");
            }
            Self::LoseAnswer { every } | Self::Duplicate { every } => {
                ensure!(every > 0, "requests are counted from 1: {self:?}");
            }
            Self::DelayAll(_) => {}
        }
        Ok(())
    }

    fn is_due(self, counted: usize) -> bool {
        match self {
            Self::KillAt { n, .. } | Self::StopAt { n, .. } => counted == n,
            Self::DelayAll(_) => true,
            Self::FailNext { count, .. } => counted <= count,
            Self::FailEvery { every, .. }
            | Self::LoseAnswer { every }
            | Self::Duplicate { every } => counted.is_multiple_of(every),
        }
    }
}

/// The fault of one arming, and its present count.
#[derive(Debug)]
pub(super) struct Armed {
    fault: Option<Fault>,
    counted: Counted,
    count: usize,
    hits: watch::Sender<usize>,
    resumed: watch::Sender<bool>,
}

impl Armed {
    pub(super) fn new(fault: Option<Fault>, counted: Counted) -> Self {
        let (hits, resumed) = (watch::Sender::new(0), watch::Sender::new(false));
        Self { fault, counted, count: 0, hits, resumed }
    }

    /// Numbers `request`, and returns the fault that it meets.
    pub(super) fn next(&mut self, request: &mut Request) -> Option<(Fault, Hit)> {
        if !self.counted.includes(request) {
            return None;
        }
        self.count += 1;
        request.counted = Some(self.count);
        let fault = self.fault.filter(|fault| fault.is_due(self.count))?;
        Some((fault, Hit { hits: self.hits.clone(), resumed: self.resumed.clone() }))
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    pub(super) fn hits(&self) -> usize {
        *self.hits.borrow()
    }

    /// Ends a pause that is under way or still to come.
    pub(super) fn resume(&self) {
        self.resumed.send_replace(true);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<usize> {
        self.hits.subscribe()
    }
}

/// Reports to the arming that the request met, even if another fault was armed since.
#[derive(Debug)]
pub(super) struct Hit {
    hits: watch::Sender<usize>,
    resumed: watch::Sender<bool>,
}

impl Hit {
    pub(super) fn fired(&self) {
        self.hits.send_modify(|hits| *hits += 1);
    }

    async fn resumed(&self) {
        // It fails only without a sender, and there is this one.
        let _ = self.resumed.subscribe().wait_for(|resumed| *resumed).await;
    }
}

/// Guards against the pids with a meaning of their own: 0 and negative numbers are groups, 1 is
/// init, and killing the test itself would look like a crash of the test.
fn target(pid: u32) -> Result<Pid> {
    let raw = i32::try_from(pid).unwrap_or_default();
    match Pid::from_raw(raw) {
        Some(target) if raw > 1 && pid != std::process::id() => Ok(target),
        _ => bail!("process {pid} must not be signalled"),
    }
}

fn signal(pid: u32, signal: Signal) -> bool {
    target(pid).is_ok_and(|pid| kill_process(pid, signal).is_ok())
}

/// Returns whether there was such a process to kill.
pub(super) fn kill(pid: u32) -> bool {
    signal(pid, Signal::KILL)
}

/// Stops the process and waits for this long or until it is resumed, if there is such a process.
pub(super) async fn pause(pid: u32, for_: Duration, hit: &Hit) -> Option<Stopped> {
    if !signal(pid, Signal::STOP) {
        return None;
    }
    let stopped = Stopped(pid);
    hit.fired();
    tokio::select! {
        () = tokio::time::sleep(for_) => {}
        () = hit.resumed() => {}
    }
    Some(stopped)
}

/// Continues the process when dropped: a test that fails leaves no stopped process behind.
#[derive(Debug)]
pub(super) struct Stopped(u32);

impl Drop for Stopped {
    fn drop(&mut self) {
        signal(self.0, Signal::CONT);
    }
}

/// Returns a Kubernetes `Status`, as clients decode it from any refusal.
pub(super) fn status_body(status: StatusCode, message: &str) -> String {
    let reason = match status {
        StatusCode::BAD_REQUEST => "BadRequest",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        StatusCode::TOO_MANY_REQUESTS => "TooManyRequests",
        StatusCode::INTERNAL_SERVER_ERROR => "InternalError",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        StatusCode::GATEWAY_TIMEOUT => "Timeout",
        _ => "",
    };
    let mut body = serde_json::json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status.as_u16(),
    });
    if status == StatusCode::TOO_MANY_REQUESTS {
        body["details"] = serde_json::json!({"retryAfterSeconds": 1});
    }
    body.to_string()
}
