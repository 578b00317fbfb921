//! The checks: facts in, findings out. Pure.

use std::collections::BTreeMap;

use api::ReleaseLifecycle;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{apps::v1::Deployment, coordination::v1::Lease},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::ResourceExt as _;
use lifecycle::conditions;

use crate::{cluster::Asked, installed, state::State};

/// The difference of clocks from which on deadlines and drift are judged wrongly.
const SKEW: SignedDuration = SignedDuration::from_secs(5);
const LEASE: &str = "releaselifecycle-controller";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckResult {
    Ok,
    Warning,
    Failed,
    Unchecked,
}

pub(super) fn result_word(result: CheckResult) -> &'static str {
    match result {
        CheckResult::Ok => "ok",
        CheckResult::Warning => "warning",
        CheckResult::Failed => "failed",
        CheckResult::Unchecked => "unchecked",
    }
}

/// The result of a check, in a sentence with the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) result: CheckResult,
    pub(super) subject: &'static str,
    pub(super) message: String,
}

impl Finding {
    fn new(result: CheckResult, subject: &'static str, message: impl Into<String>) -> Self {
        Self { result, subject, message: message.into() }
    }

    fn unchecked(subject: &'static str, refused: &str) -> Self {
        Self::new(CheckResult::Unchecked, subject, format!("you may not do this: {refused}"))
    }

    pub(super) fn is_failure(&self) -> bool {
        self.result == CheckResult::Failed
    }
}

/// The facts that the checks are about.
pub(super) struct Facts {
    pub(super) definition: Asked<Option<CustomResourceDefinition>>,
    pub(super) deployments: Asked<Vec<Deployment>>,
    pub(super) leases: Asked<Vec<Lease>>,
    /// The API server's time, if it is known, and that of this machine.
    pub(super) clocks: (Option<Timestamp>, Timestamp),
    pub(super) release: Option<OfRelease>,
}

impl Facts {
    fn now(&self) -> Timestamp {
        self.clocks.0.unwrap_or(self.clocks.1)
    }
}

pub(super) struct OfRelease {
    pub(super) object: ReleaseLifecycle,
    /// The ServiceAccount of the spec, and whether it exists.
    pub(super) account: Option<(String, Asked<bool>)>,
    pub(super) rights: Vec<Right>,
}

/// A right that a ServiceAccount needs.
pub(super) struct Right {
    /// Namespace and name of the ServiceAccount.
    pub(super) account: (String, String),
    pub(super) verb: &'static str,
    pub(super) group: &'static str,
    pub(super) resource: &'static str,
    pub(super) subresource: Option<&'static str>,
    pub(super) namespace: String,
    pub(super) name: Option<String>,
    pub(super) allowed: Option<Asked<bool>>,
    /// The command that gives it.
    remedy: String,
}

impl Right {
    /// Returns the rights without which no release works: those of its ServiceAccount, and that of the
    /// operator's to act as it.
    pub(super) fn needed(
        namespace: &str,
        account: &str,
        operator: Option<(String, String)>,
    ) -> Vec<Self> {
        let grant = format!(
            "`kubectl create rolebinding {account} -n {namespace} \
             --clusterrole=releaselifecycle-deployer --serviceaccount={namespace}:{account}`"
        );
        let of_account = |verb, group, resource, subresource| Self {
            account: (namespace.to_owned(), account.to_owned()),
            verb,
            group,
            resource,
            subresource,
            namespace: namespace.to_owned(),
            name: None,
            allowed: None,
            remedy: grant.clone(),
        };
        let mut needed = vec![
            of_account("list", "", "secrets", None),
            of_account("create", "", "secrets", None),
            of_account("create", "batch", "jobs", None),
            of_account("list", "", "pods", None),
            of_account("get", "", "pods", Some("log")),
        ];
        needed.extend(operator.map(|(of, operator)| Self {
            remedy: format!(
                "`kubectl create rolebinding releaselifecycle-impersonator -n {namespace} \
                 --clusterrole=releaselifecycle-impersonator --serviceaccount={of}:{operator}`"
            ),
            account: (of, operator),
            name: Some(account.to_owned()),
            ..of_account("impersonate", "", "serviceaccounts", None)
        }));
        needed
    }

    /// `get pods/log`, `impersonate serviceaccounts shop-deployer`.
    fn words(&self) -> String {
        let Self { verb, resource, subresource, name, .. } = self;
        let subresource = subresource.map_or(String::new(), |it| format!("/{it}"));
        let name = name.as_ref().map_or(String::new(), |name| format!(" {name}"));
        format!("{verb} {resource}{subresource}{name}")
    }
}

/// Returns namespace and name of the operator's ServiceAccount.
pub(super) fn operator_account(deployment: &Deployment) -> Option<(String, String)> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    Some((deployment.namespace()?, pod.service_account_name.clone()?))
}

pub(super) fn checks(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![
        Finding::new(
            CheckResult::Ok,
            "client",
            concat!("kubectl-lifecycle ", env!("CARGO_PKG_VERSION")),
        ),
        definition(facts),
    ];
    found.extend(operator(facts));
    found.push(leader(facts));
    found.extend(clock(facts));
    if let Some(release) = &facts.release {
        found.push(ready(&release.object));
        found.push(account(release));
        found.extend(rights(release));
    }
    found
}

fn definition(facts: &Facts) -> Finding {
    const SUBJECT: &str = "definition";
    const UPDATE: &str = "`kubectl apply --server-side -f crds/`";
    let live = match &facts.definition {
        Asked::Refused(why) => return Finding::unchecked(SUBJECT, why),
        Asked::Known(None) => {
            let message = format!("ReleaseLifecycle is not installed: {UPDATE}");
            return Finding::new(CheckResult::Failed, SUBJECT, message);
        }
        Asked::Known(Some(live)) => live,
    };
    if installed::is_of_this_client(live) {
        let message = "ReleaseLifecycle is that of this client's version";
        return Finding::new(CheckResult::Ok, SUBJECT, message);
    }
    let message = format!(
        "ReleaseLifecycle is of another version than this client: use the client of the operator's \
         version, or update the definition with {UPDATE}"
    );
    Finding::new(CheckResult::Warning, SUBJECT, message)
}

/// Checks each Deployment of the operator; shards have one each.
fn operator(facts: &Facts) -> Vec<Finding> {
    const SUBJECT: &str = "operator";
    let deployments = match &facts.deployments {
        Asked::Refused(why) => return vec![Finding::unchecked(SUBJECT, why)],
        Asked::Known(deployments) => deployments,
    };
    if deployments.is_empty() {
        let message = "no Deployment has the label \
                       app.kubernetes.io/name=releaselifecycle-controller: install the operator, as \
                       in docs/src/install.md";
        return vec![Finding::new(CheckResult::Warning, SUBJECT, message)];
    }
    let of = |deployment: &Deployment| {
        let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let ready = deployment.status.as_ref().and_then(|it| it.ready_replicas).unwrap_or_default();
        let image = installed::image(deployment);
        let text =
            format!("Deployment {namespace}/{name}: {ready} of {wanted} Pods are ready, {image}");
        let (result, remedy) = match ready {
            0 if wanted == 0 => {
                let scale =
                    format!("`kubectl scale deployment {name} -n {namespace} --replicas=2`");
                (CheckResult::Failed, format!("; {scale}"))
            }
            0 => {
                let why = format!(
                    "`kubectl describe pods -n {namespace} -l \
                                   app.kubernetes.io/name=releaselifecycle-controller`"
                );
                (CheckResult::Failed, format!("; see why: {why}"))
            }
            _ => (CheckResult::Ok, String::new()),
        };
        Finding::new(result, SUBJECT, text + &remedy)
    };
    deployments.iter().map(of).collect()
}

/// Checks that a process holds a lease of the operator.
fn leader(facts: &Facts) -> Finding {
    const SUBJECT: &str = "leader";
    let leases = match &facts.leases {
        Asked::Refused(why) => return Finding::unchecked(SUBJECT, why),
        Asked::Known(leases) => leases,
    };
    let held: Vec<_> = leases
        .iter()
        .filter(|lease| lease.name_any().starts_with(LEASE))
        .filter_map(|lease| {
            let spec = lease.spec.as_ref()?;
            let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
            let seconds = spec.lease_duration_seconds.unwrap_or_default();
            let renewed = spec.renew_time.as_ref()?.0;
            let end = renewed.checked_add(SignedDuration::from_secs(seconds.into())).ok()?;
            let place = format!("{}/{}", lease.namespace().unwrap_or_default(), lease.name_any());
            (end > facts.now()).then(|| format!("{holder} leads by Lease {place}"))
        })
        .collect();
    if held.is_empty() {
        let message = "no process leads: no Lease whose name begins with \
                       releaselifecycle-controller is held. An operator with --no-leader-election \
                       has none; otherwise see its log: `kubectl logs -n releaselifecycle-system \
                       deployment/releaselifecycle-controller`";
        return Finding::new(CheckResult::Failed, SUBJECT, message);
    }
    Finding::new(CheckResult::Ok, SUBJECT, held.join("; "))
}

fn clock(facts: &Facts) -> Option<Finding> {
    const SUBJECT: &str = "clock";
    let (Some(server), local) = facts.clocks else { return None };
    let apart = local.duration_since(server).abs();
    // The API server says whole seconds.
    if apart < SKEW {
        let message = "this machine and the API server agree within 5 s";
        return Some(Finding::new(CheckResult::Ok, SUBJECT, message));
    }
    let message = format!(
        "this machine and the API server differ by {} s: times that are shown here are off by that; \
         synchronize the clocks",
        apart.as_secs()
    );
    Some(Finding::new(CheckResult::Warning, SUBJECT, message))
}

fn ready(object: &ReleaseLifecycle) -> Finding {
    const SUBJECT: &str = "release";
    let state = State::new(object);
    let title = state.title();
    let words = state.ready_words();
    if state.observed() < state.generation() {
        let message = format!(
            "{title}: the operator has not reconciled the newest spec (generation {}, observed {}): \
             does an operator serve this namespace and its labels (--namespace, --selector)?",
            state.generation(),
            state.observed()
        );
        return Finding::new(CheckResult::Warning, SUBJECT, message);
    }
    let (result, more) = match state.ready() {
        Some(ready) if ready.status == "True" => (CheckResult::Ok, String::new()),
        Some(ready) => {
            let stalled = state.is_stalled();
            let result = if stalled { CheckResult::Failed } else { CheckResult::Ok };
            (result, format!(": {}", conditions::flat(&ready.message)))
        }
        None => (CheckResult::Warning, String::new()),
    };
    Finding::new(result, SUBJECT, format!("{title} is {words}{more}"))
}

fn account(release: &OfRelease) -> Finding {
    const SUBJECT: &str = "account";
    let namespace = release.object.namespace().unwrap_or_default();
    let Some((name, found)) = &release.account else {
        let message = "the spec names no ServiceAccount: the operator's default is used, or its own \
                       rights with --single-tenant";
        return Finding::new(CheckResult::Ok, SUBJECT, message);
    };
    match found {
        Asked::Refused(why) => Finding::unchecked(SUBJECT, why),
        Asked::Known(true) => {
            let message = format!("ServiceAccount {namespace}/{name} exists");
            Finding::new(CheckResult::Ok, SUBJECT, message)
        }
        Asked::Known(false) => {
            let message = format!(
                "ServiceAccount {namespace}/{name} does not exist: `kubectl create serviceaccount \
                 {name} -n {namespace}`"
            );
            Finding::new(CheckResult::Failed, SUBJECT, message)
        }
    }
}

/// Checks the rights: one finding if all are there, and one for each remedy otherwise.
fn rights(release: &OfRelease) -> Vec<Finding> {
    const SUBJECT: &str = "rights";
    let refused = release.rights.iter().find_map(|right| match &right.allowed {
        Some(Asked::Refused(why)) => Some(why),
        _ => None,
    });
    if let Some(why) = refused {
        return vec![Finding::unchecked(SUBJECT, why)];
    }
    let lacking = release.rights.iter().filter(|it| it.allowed == Some(Asked::Known(false)));
    let mut by_remedy: BTreeMap<&str, Vec<&Right>> = BTreeMap::new();
    for right in lacking {
        by_remedy.entry(&right.remedy).or_default().push(right);
    }
    let lack = |(remedy, rights): (&str, Vec<&Right>)| {
        let (namespace, name) = &rights.first()?.account;
        let words: Vec<_> = rights.iter().map(|right| right.words()).collect();
        let message = format!(
            "ServiceAccount {namespace}/{name} may not {}; allow it: {remedy}",
            words.join(", ")
        );
        Some(Finding::new(CheckResult::Failed, SUBJECT, message))
    };
    let mut found: Vec<_> = by_remedy.into_iter().filter_map(lack).collect();
    if found.is_empty() && !release.rights.is_empty() {
        let message = "the ServiceAccount may do what every release needs; rights for other kinds \
                       are reported by the release";
        found.push(Finding::new(CheckResult::Ok, SUBJECT, message));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-12-01T12:00:00Z";

    fn facts() -> Facts {
        let lease = json!({
            "metadata": {"name": "releaselifecycle-controller", "namespace": "ops"},
            "spec": {"holderIdentity": "pod-a", "leaseDurationSeconds": 15,
                     "renewTime": "2026-12-01T11:59:50.000000Z"},
        });
        Facts {
            definition: Asked::Known(Some(api::crd())),
            deployments: Asked::Known(vec![deployment(2, 2)]),
            leases: Asked::Known(vec![serde_json::from_value(lease).unwrap()]),
            clocks: (Some(NOW.parse().unwrap()), NOW.parse().unwrap()),
            release: None,
        }
    }

    fn deployment(replicas: i32, ready: i32) -> Deployment {
        let deployment = json!({
            "metadata": {"name": "releaselifecycle-controller", "namespace": "ops"},
            "spec": {"replicas": replicas, "selector": {}, "template": {"spec": {
                "serviceAccountName": "operator",
                "containers": [{"name": "controller", "image": "controller:1.0.0"}]}}},
            "status": {"readyReplicas": ready},
        });
        serde_json::from_value(deployment).unwrap()
    }

    /// The results by subject, and the message of the first finding on this subject.
    fn found(facts: &Facts, subject: &str) -> (CheckResult, String) {
        let all = checks(facts);
        let finding = all.into_iter().find(|finding| finding.subject == subject).unwrap();
        (finding.result, finding.message)
    }

    #[test]
    fn all_is_well() {
        let all = checks(&facts());
        assert!(all.iter().all(|finding| finding.result == CheckResult::Ok), "{all:#?}");
        let subjects: Vec<_> = all.iter().map(|finding| finding.subject).collect();
        assert_eq!(subjects, ["client", "definition", "operator", "leader", "clock"]);
    }

    #[test]
    fn each_problem_has_its_remedy() {
        let mut all = facts();
        all.definition = Asked::Known(None);
        let (result, message) = found(&all, "definition");
        assert!(result == CheckResult::Failed && message.contains("`kubectl apply"), "{message}");

        let mut other = api::crd();
        other.spec.versions[0].served = false;
        all.definition = Asked::Known(Some(other));
        assert_eq!(found(&all, "definition").0, CheckResult::Warning);

        for (deployment, remedy) in [
            (deployment(0, 0), "`kubectl scale"),
            (deployment(2, 0), "`kubectl describe pods -n ops"),
        ] {
            all.deployments = Asked::Known(vec![deployment]);
            let (result, message) = found(&all, "operator");
            assert!(result == CheckResult::Failed && message.contains(remedy), "{message}");
        }
        all.deployments = Asked::Known(Vec::new());
        assert_eq!(found(&all, "operator").0, CheckResult::Warning);

        all.clocks.0 = Some("2026-12-01T12:00:20Z".parse().unwrap());
        assert_eq!(found(&all, "leader").0, CheckResult::Failed, "by the API server's clock");
        let (result, message) = found(&all, "clock");
        assert!(result == CheckResult::Warning && message.contains("by 20 s"), "{message}");
    }

    #[test]
    fn a_check_without_the_right_for_it_is_not_made() {
        let refused = "deployments is forbidden";
        let all = Facts {
            definition: Asked::Refused(refused.to_owned()),
            deployments: Asked::Refused(refused.to_owned()),
            leases: Asked::Refused(refused.to_owned()),
            ..facts()
        };
        for subject in ["definition", "operator", "leader"] {
            let (result, message) = found(&all, subject);
            assert!(result == CheckResult::Unchecked && message.contains(refused), "{message}");
        }
    }

    fn of_release(status: &Value, exists: bool, allowed: bool) -> OfRelease {
        let object = json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": "shop", "namespace": "prod", "generation": 2},
            "spec": {"serviceAccountName": "deployer", "source": {"objects": []}},
            "status": status,
        });
        let operator = operator_account(&deployment(2, 2));
        let mut rights = Right::needed("prod", "deployer", operator);
        for right in &mut rights {
            right.allowed = Some(Asked::Known(allowed));
        }
        OfRelease {
            object: serde_json::from_value(object).unwrap(),
            account: Some(("deployer".to_owned(), Asked::Known(exists))),
            rights,
        }
    }

    #[test]
    fn a_release_lacks_what_it_needs() {
        let condition = |type_: &str, status: &str, reason: &str| {
            json!({"type": type_, "status": status, "reason": reason, "message": "it hangs",
                   "lastTransitionTime": NOW, "observedGeneration": 2})
        };
        let stalled = json!({"observedGeneration": 2, "conditions": [
            condition("Ready", "False", "HookFailed"), condition("Stalled", "True", "HookFailed")]});
        let mut all = facts();
        all.release = Some(of_release(&stalled, false, false));
        let (result, message) = found(&all, "release");
        assert!(result == CheckResult::Failed && message.ends_with("it hangs"), "{message}");
        let (result, message) = found(&all, "account");
        let remedy = "`kubectl create serviceaccount deployer -n prod`";
        assert!(result == CheckResult::Failed && message.ends_with(remedy), "{message}");
        let rights: Vec<_> = checks(&all)
            .into_iter()
            .filter(|finding| finding.subject == "rights")
            .map(|finding| finding.message)
            .collect();
        let expected = [
            "ServiceAccount prod/deployer may not list secrets, create secrets, create jobs, list \
             pods, get pods/log; allow it: `kubectl create rolebinding deployer -n prod \
             --clusterrole=releaselifecycle-deployer --serviceaccount=prod:deployer`",
            "ServiceAccount ops/operator may not impersonate serviceaccounts deployer; allow it: \
             `kubectl create rolebinding releaselifecycle-impersonator -n prod \
             --clusterrole=releaselifecycle-impersonator --serviceaccount=ops:operator`",
        ];
        assert_eq!(rights, expected);

        let ready =
            json!({"observedGeneration": 2, "conditions": [condition("Ready", "True", "InSync")]});
        all.release = Some(of_release(&ready, true, true));
        let checks = checks(&all);
        assert!(checks.iter().all(|finding| finding.result == CheckResult::Ok), "{checks:#?}");

        all.release = Some(of_release(&json!({"observedGeneration": 1}), true, true));
        let (result, message) = found(&all, "release");
        assert!(result == CheckResult::Warning && message.contains("--selector"), "{message}");
    }
}
