//! Leader election by a Kubernetes `Lease`: of several replicas one acts, and the others stand by.
//!
//! - **Compare-and-swap.** Every write is a replace of the version that was read, or a create of a
//!   Lease that did not exist. If several replicas want the lease at once, one wins.
//! - **No wall clock.** A lease has expired once this process has observed it unchanged for its
//!   whole duration, by its own monotonic clock. `renewTime` is written for people, and never read.
//! - **The leader gives up first.** It stops after two thirds of the duration without a renewal, so
//!   that it has ended before another process may lead. [`Lease::is_held`] turns false by itself.
//! - **Each leader has an [epoch](Lease::epoch)**, the Lease's `leaseTransitions`. It never repeats
//!   as long as the object, or any process that has observed it, exists.
//!
//! A lease cannot stop the last request of a process that was paused. A request that must be safe
//! from that needs a fence of its own, such as a resourceVersion. [`Lease::is_held`] is for
//! requests that can have none: call it immediately before the request.
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//!
//! use election::{Candidacy, Election, Lease};
//!
//! # async fn work(lease: Arc<Lease>) {}
//! # async fn run(client: kube::Client) -> Result<(), election::Error> {
//! let candidacy = Candidacy {
//!     namespace: "default".to_owned(),
//!     name: "my-controller".to_owned(),
//!     identity: election::identity(),
//!     field_manager: "my-controller".to_owned(),
//!     duration: Duration::from_secs(15),
//! };
//! let lease = Arc::new(Lease::new());
//! let mut election = Election::new(client, candidacy, Arc::clone(&lease));
//! election.acquire(|| println!("standing by")).await?;
//! tokio::select! {
//!     lost = election.keep() => return Err(lost),
//!     () = work(lease) => {}
//! }
//! election.release().await;
//! # Ok(())
//! # }
//! ```
//!
//! The process needs the verbs get, list, watch, create and update on `leases.coordination.k8s.io` in
//! the namespace.
//!
//! - `decide`: decides what to do next about the lease; pure
//! - `election`: does it
//! - `request`: requests, and how they fail

mod decide;
mod election;
mod request;

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher as _, Hasher as _},
    process,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub use self::{
    decide::Loss,
    election::{Election, Error},
    request::RequestError,
};

/// The lease, from the view of this process: it tells whether the process leads. Shared with
/// everything that asks.
#[derive(Debug)]
pub struct Lease {
    tenure: Mutex<Tenure>,
    /// The number of its shard, if other processes act by leases of their own.
    shard: Option<i32>,
}

#[derive(Clone, Copy, Debug)]
struct Tenure {
    held: Held,
    epoch: i32,
}

#[derive(Clone, Copy, Debug)]
enum Held {
    No,
    /// Held until then, by the monotonic clock, which also runs while the process is stopped.
    Until(Instant),
    /// There is no election.
    Always,
}

impl Default for Lease {
    fn default() -> Self {
        Self::new()
    }
}

impl Lease {
    /// Returns a lease that is not acquired yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Held::No)
    }

    /// Returns the lease of a process that runs without an election, as the only one.
    #[must_use]
    pub fn always() -> Self {
        Self::with(Held::Always)
    }

    /// Returns this lease as one of several, by each of which another process acts. What is handled by
    /// this one now may be handled by another one at any time. The number tells its leaders from
    /// theirs.
    #[must_use]
    pub fn of_shard(self, number: i32) -> Self {
        Self { shard: Some(number), ..self }
    }

    fn with(held: Held) -> Self {
        Self { tenure: Mutex::new(Tenure { held, epoch: 0 }), shard: None }
    }

    /// Returns whether the lease is held, so that no other replica can have taken over yet.
    pub fn is_held(&self) -> bool {
        match self.tenure().held {
            Held::No => false,
            Held::Always => true,
            Held::Until(end) => Instant::now() < end,
        }
    }

    /// Returns whether no other process can have begun to act: the lease is held, there is an
    /// election, and it is the only one.
    pub fn excludes_others(&self) -> bool {
        let is_elected = matches!(self.tenure().held, Held::Until(_));
        is_elected && self.shard.is_none() && self.is_held()
    }

    /// Returns the number of the leader: another process has another one. It is the Lease's
    /// `leaseTransitions`, and with shards the number of the shard is added.
    pub fn epoch(&self) -> i32 {
        self.tenure().epoch.wrapping_add(self.shard.unwrap_or_default())
    }

    /// Records that it was acquired or renewed, and is held until `end`.
    fn renewed(&self, end: Instant, epoch: i32) {
        *self.tenure() = Tenure { held: Held::Until(end), epoch };
    }

    /// Records that it was lost, or is about to be released.
    fn end(&self) {
        self.tenure().held = Held::No;
    }

    fn tenure(&self) -> MutexGuard<'_, Tenure> {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The durations; in seconds, 15, 10, 2 and 4 by default.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// The time for which the lease is held after a renewal, unless it is released.
    duration: Duration,
    /// The time after which a leader that could not renew gives up: before another one may take
    /// over.
    renew_deadline: Duration,
    /// The time between one renewal, or one failed attempt, and the next.
    retry: Duration,
    /// The maximum time of one request, so that there is time for a second one before the deadline.
    request: Duration,
}

impl Timing {
    fn new(duration: Duration) -> Self {
        let parts = |fifteenths| duration * fifteenths / 15;
        // The end of the process waits for one, too.
        let request = parts(4).min(Duration::from_secs(10));
        Self { duration, renew_deadline: parts(10), retry: parts(2), request }
    }
}

/// The lease, its holder, and its duration.
#[derive(Clone, Debug)]
pub struct Candidacy {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The identity of the holder, never the same for two processes at once; see [`identity`].
    pub identity: String,
    /// The field manager of its writes.
    pub field_manager: String,
    /// The time for which the lease is held after a renewal; there are several renewals in that
    /// time.
    pub duration: Duration,
}

/// Returns the identity of this process: `<hostname>_<process id>`. It is the same again for a
/// container that was restarted in its Pod, which need not wait for the end of its own lease.
#[must_use]
pub fn identity() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    // Without a host name, a random name that nobody else has.
    let host = host.unwrap_or_else(|| format!("{:016x}{:016x}", random(), random()));
    format!("{host}_{}", process::id())
}

/// Returns the randomness of the standard library's maps: not secret, but not the same for two
/// processes.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Returns a factor between 0.75 and 1.25.
fn jitter() -> f64 {
    let [first, ..] = random().to_le_bytes();
    0.75 + f64::from(first) / 510.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_time_for_a_second_attempt_and_then_to_end() {
        for seconds in [5, 15, 16, 3600] {
            let Timing { duration, renew_deadline, retry, request } =
                Timing::new(Duration::from_secs(seconds));
            assert!(retry.mul_f64(1.25) + request + request / 2 < renew_deadline);
            assert!(renew_deadline + request < duration);
        }
        let timing = Timing::new(Duration::from_secs(15));
        assert_eq!(timing.renew_deadline, Duration::from_secs(10));
        assert_eq!(timing.retry, Duration::from_secs(2));
    }

    #[test]
    fn an_identity_names_the_process() {
        assert_eq!(identity(), identity());
        assert!(identity().ends_with(&format!("_{}", process::id())));
        assert!(!identity().starts_with('_'));
    }

    #[test]
    fn it_is_held_until_its_end_is_there() {
        let lease = Lease::new();
        assert!(!lease.is_held());
        lease.renewed(Instant::now() + Duration::from_secs(15), 7);
        assert!(lease.is_held());
        assert_eq!(lease.epoch(), 7);
        lease.end();
        assert!(!lease.is_held());
        lease.renewed(Instant::now(), 7);
        assert!(!lease.is_held());
        assert!(Lease::always().is_held());
    }

    #[test]
    fn the_leader_of_a_shard_is_not_alone() {
        let (one, other) = (Lease::new(), Lease::new().of_shard(1_000));
        for lease in [&one, &other] {
            lease.renewed(Instant::now() + Duration::from_secs(15), 7);
            assert!(lease.is_held());
        }
        assert!(one.excludes_others() && !other.excludes_others());
        assert_eq!((one.epoch(), other.epoch()), (7, 1_007));
    }

    #[test]
    fn two_replicas_do_not_try_at_the_same_moments() {
        let tries: Vec<_> = std::iter::repeat_with(jitter).take(100).collect();
        assert!(tries.iter().all(|it| (0.75..=1.25).contains(it)), "{tries:?}");
        assert!(tries.iter().any(|it| *it < 1.0) && tries.iter().any(|it| *it > 1.0), "{tries:?}");
    }
}
