//! Leader election by a Lease: of several replicas one acts, and the others stand by.
//!
//! A lease cannot stop the last request of a process that was paused; that those do no harm is the
//! business of the fences, see ARCHITECTURE.md. What reconciliations ask here is for the one kind of
//! request that has no fence: the one that makes an object which may start or stay by itself.
//!
//! - this file: who holds which lease, and what reconciliations ask
//! - `decide`: what to do next about it; pure
//! - `election`: does it

mod decide;
mod election;

use std::{
    fs, process,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kube::Config;

use crate::args::Args;

pub(crate) use election::{Election, ElectionError};

/// Its default name; that of an operator which serves one namespace ends with this namespace.
const NAME: &str = "releaselifecycle-controller";
/// Tells that the operator runs in a Pod as this Pod's ServiceAccount.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Whether this process leads, as far as it can know by itself.
pub(crate) struct Lease {
    tenure: Mutex<Tenure>,
}

#[derive(Clone, Copy)]
struct Tenure {
    held: Held,
    epoch: i32,
}

#[derive(Clone, Copy)]
enum Held {
    No,
    /// By the monotonic clock, which runs on while the process is stopped.
    Until(Instant),
    /// There is no election.
    Always,
}

impl Lease {
    /// One that is yet to be acquired.
    pub(crate) fn new() -> Self {
        Self::with(Held::No)
    }

    /// The lease of a process that has been told to be the only one.
    pub(crate) fn always() -> Self {
        Self::with(Held::Always)
    }

    fn with(held: Held) -> Self {
        Self { tenure: Mutex::new(Tenure { held, epoch: 0 }) }
    }

    /// Whether no other replica can have taken over yet.
    pub(crate) fn is_held(&self) -> bool {
        match self.tenure().held {
            Held::No => false,
            Held::Until(end) => Instant::now() < end,
            Held::Always => true,
        }
    }

    /// Counts the leaders: another process has another one. It is the Lease's `leaseTransitions`.
    pub(crate) fn epoch(&self) -> i32 {
        self.tenure().epoch
    }

    /// It was acquired or renewed, and is held until then.
    fn renewed(&self, end: Instant, epoch: i32) {
        *self.tenure() = Tenure { held: Held::Until(end), epoch };
    }

    /// It was lost, or is about to be released.
    fn end(&self) {
        self.tenure().held = Held::No;
    }

    fn tenure(&self) -> MutexGuard<'_, Tenure> {
        self.tenure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long things take; in seconds, 15, 10, 2 and 4 by default.
#[derive(Clone, Copy)]
struct Timing {
    /// The lease is held for so long after a renewal, unless it is released.
    duration: Duration,
    /// A leader that could not renew for so long gives up: before another one may take over.
    renew_deadline: Duration,
    /// Between one renewal, or one failed attempt, and the next.
    retry: Duration,
    /// So long one request may take, so that there is time for a second one before the deadline.
    request: Duration,
}

impl Timing {
    fn new(duration: Duration) -> Self {
        let parts = |fifteenths| duration * fifteenths / 15;
        // SIGTERM waits for one, too.
        let request = parts(4).min(Duration::from_secs(10));
        Self { duration, renew_deadline: parts(10), retry: parts(2), request }
    }
}

/// Which lease, by whom it is held, and for how long.
pub(crate) struct Candidacy {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) identity: String,
    timing: Timing,
}

impl Candidacy {
    /// As the flags say, or as fits the place where the operator runs.
    pub(crate) fn new(args: &Args, config: &Config) -> Self {
        let served = args.namespace.as_deref();
        let in_pod = config.auth_info.token_file.as_deref() == Some(POD_TOKEN);
        let namespace = match (&args.lease_namespace, served) {
            (Some(namespace), _) => namespace,
            (None, _) if in_pod => &config.default_namespace,
            (None, Some(served)) => served,
            (None, None) => "default",
        };
        // Operators of several namespaces may run in the same one.
        let name = || served.map_or_else(|| NAME.to_owned(), |served| format!("{NAME}-{served}"));
        Self {
            namespace: namespace.to_owned(),
            name: args.lease_name.clone().unwrap_or_else(name),
            identity: args.identity.clone().unwrap_or_else(identity),
            timing: Timing::new(Duration::from_secs(args.lease_seconds.into())),
        }
    }
}

/// The same again for a container that was restarted in its Pod, which need not wait for the end of
/// its own lease.
fn identity() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok());
    let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
    // Without a name, one that nobody else has.
    let host = host.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
    format!("{host}_{}", process::id())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn candidacy(flags: &[&str], token_file: Option<&str>) -> Candidacy {
        let args = Args::parse_from(["controller", "--identity=me"].iter().chain(flags));
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.default_namespace = "of-the-pod".to_owned();
        config.auth_info.token_file = token_file.map(str::to_owned);
        Candidacy::new(&args, &config)
    }

    #[test]
    fn the_lease_is_where_every_replica_looks_for_it() {
        let served = "releaselifecycle-controller-shop";
        for (flags, token_file, namespace, name) in [
            (&[][..], None, "default", NAME),
            (&[], Some("/a/token"), "default", NAME),
            (&[], Some(POD_TOKEN), "of-the-pod", NAME),
            (&["--namespace=shop"], None, "shop", served),
            (&["--namespace=shop"], Some(POD_TOKEN), "of-the-pod", served),
            (&["--lease-namespace=ops"], Some(POD_TOKEN), "ops", NAME),
            (&["--lease-name=own", "--namespace=shop"], None, "shop", "own"),
        ] {
            let found = candidacy(flags, token_file);
            assert_eq!((&*found.namespace, &*found.name), (namespace, name), "{flags:?}");
            assert_eq!(found.identity, "me");
        }
    }

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
}
