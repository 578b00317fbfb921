use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use kube::Client;
use lifecycle::{observation::Evidence, plan::Plan};
use live::observe::pods::Culprit;

use crate::support::sync::lock;
use crate::{
    args::Args,
    cluster::{discovery::Kinds, metrics::Metrics},
    desired::{charts::Charts, renderers::Engines},
    lease::Lease,
    operation::unready::Explanations,
    reconcile::{dependencies::Dependents, sweep::Held},
    release::events::Reporter,
    support::backoff::Backoff,
    watches::{records::HelmWatch, sources::References, triggers::Triggers},
};

/// What every reconciliation shares. Nothing here is lost with the process but back-off counters
/// and caches.
pub(crate) struct Context {
    pub(crate) operator: Client,
    pub(crate) kinds: Kinds,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reporter: Reporter,
    pub(crate) backoff: Backoff,
    /// Of what this program could not work on, by a fault of its own.
    pub(crate) faults: Backoff,
    pub(crate) tenancy: Tenancy,
    pub(crate) running: Running,
    pub(crate) held: Held,
    /// The only namespace whose hooks are watched; `None`: all are.
    pub(crate) watched: Option<String>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) triggers: Triggers,
    pub(crate) references: References,
    pub(crate) helm_watch: HelmWatch,
    pub(crate) dependents: Dependents,
    pub(crate) engines: Engines,
    pub(crate) charts: Charts,
    /// How long another client that writes nothing is respected.
    pub(crate) takeover_after: Duration,
}

impl Context {
    pub(crate) fn new(
        operator: Client,
        metrics: Arc<Metrics>,
        reporter: Reporter,
        tenancy: Tenancy,
        lease: Arc<Lease>,
        charts: Charts,
        args: &Args,
    ) -> Self {
        Self {
            operator,
            kinds: Kinds::default(),
            metrics,
            reporter,
            backoff: Backoff::default(),
            faults: Backoff::after_panics(),
            tenancy,
            running: Running::default(),
            held: Held::default(),
            lease,
            watched: args.namespace.clone(),
            triggers: Triggers::default(),
            references: References::new(args.source_watches),
            helm_watch: HelmWatch::new(args.record_watches),
            dependents: Dependents::default(),
            engines: Engines::new(args.engine.settings()),
            charts,
            takeover_after: Duration::from_secs(args.takeover_seconds.into()),
        }
    }

    /// The custom resource of this key is gone.
    pub(crate) fn forget(&self, key: &str) {
        self.helm_watch.forget(key);
        self.references.forget(key);
        self.charts.forget(key);
        self.backoff.forget(key);
        self.faults.forget(key);
    }

    /// The custom resource of this key refers to nothing.
    pub(crate) fn forget_source(&self, key: &str) {
        self.references.follow_none(key);
        self.charts.forget(key);
    }
}

/// As whom a release is worked on that names no ServiceAccount.
#[derive(Clone, Debug)]
pub(crate) enum Tenancy {
    /// Refused: it has to name one.
    Named,
    /// As this ServiceAccount of its namespace.
    Default(String),
    /// As the operator.
    Single,
}

/// Caches of running operations, by the UID of their object.
#[derive(Default)]
pub(crate) struct Running {
    /// The plan and its digest, by which it is known to be the right one.
    plans: Mutex<HashMap<String, (String, Arc<Plan>)>>,
    /// The evidence that was taken last, and of what.
    evidence: Mutex<HashMap<String, (Culprit, Evidence)>>,
    /// Why objects are not ready.
    explanations: Mutex<HashMap<String, Explanations>>,
}

impl Running {
    pub(crate) fn plan(&self, uid: &str, digest: &str) -> Option<Arc<Plan>> {
        let plans = lock(&self.plans);
        plans.get(uid).filter(|(known, _)| known == digest).map(|(_, plan)| Arc::clone(plan))
    }

    pub(crate) fn keep_plan(&self, uid: &str, digest: &str, plan: &Arc<Plan>) {
        lock(&self.plans).insert(uid.to_owned(), (digest.to_owned(), Arc::clone(plan)));
    }

    pub(crate) fn evidence(&self, uid: &str, culprit: &Culprit) -> Option<Evidence> {
        let evidence = lock(&self.evidence);
        evidence.get(uid).filter(|(known, _)| known == culprit).map(|(_, found)| found.clone())
    }

    pub(crate) fn keep_evidence(&self, uid: &str, culprit: Culprit, evidence: Evidence) {
        lock(&self.evidence).insert(uid.to_owned(), (culprit, evidence));
    }

    /// One reconciliation of an object runs at a time: until they are kept again, nobody misses them.
    pub(crate) fn take_explanations(&self, uid: &str) -> Explanations {
        lock(&self.explanations).remove(uid).unwrap_or_default()
    }

    pub(crate) fn keep_explanations(&self, uid: &str, explanations: Explanations) {
        lock(&self.explanations).insert(uid.to_owned(), explanations);
    }

    /// The operation has ended.
    pub(crate) fn forget(&self, uid: &str) {
        lock(&self.plans).remove(uid);
        lock(&self.evidence).remove(uid);
        lock(&self.explanations).remove(uid);
    }
}
