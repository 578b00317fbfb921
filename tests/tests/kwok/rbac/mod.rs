//! The roles of `deploy/` are the least that the operator needs: it lives with them, and not without
//! any verb of them.

mod life;
mod permissions;
mod shipped;
mod switch;

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use e2e::{Namespace, kwok, manifests::config_map, message, reason, root};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use life::Operator;
pub(crate) use shipped::objects;
use shipped::{ALL_NAMESPACES, Place, Right, rights};

/// Each right of the operator, and what is seen where it is missing.
const SHOWN: [(&str, &str); 20] = [
    // The list never arrives, so it never becomes ready.
    ("list releaselifecycles", "event queue error: "),
    ("watch releaselifecycles", "event queue error: "),
    ("get releaselifecycles", "get ReleaseLifecycle "),
    ("patch releaselifecycles", "write the finalizers of ReleaseLifecycle "),
    ("update releaselifecycles/status", "write the status of ReleaseLifecycle "),
    ("list jobs", "watch of Jobs: "),
    ("watch jobs", "watch of Jobs: "),
    ("list pods", "watch of Pods: "),
    ("watch pods", "watch of Pods: "),
    ("create events", "an Event object was not sent"),
    ("patch events", "an Event object was not sent"),
    ("impersonate serviceaccounts", "the operator may not act as a ServiceAccount"),
    ("get serviceaccounts", "get ServiceAccount "),
    // Its hooks are waited for, who cannot run.
    ("get namespaces", "Stalled: "),
    ("get endpointslices", "the API server's own addresses cannot be read"),
    // The process ends, naming the verbs.
    ("get leases", "get lease "),
    ("create leases", "create lease "),
    ("update leases", " lease "),
    ("list leases", "watch lease "),
    ("watch leases", "watch lease "),
];

/// How many operators live at once.
const AT_ONCE: usize = 4;

#[tokio::test]
async fn the_operator_lives_by_the_rights_that_are_shipped() -> Result<()> {
    // A RoleBinding goes with its namespace, and what the operator asks for then is refused.
    let rights = rights(ALL_NAMESPACES)?;
    ensure!(rights.iter().all(|right| right.place != Place::Tenant), "{rights:?}");
    let operator = Operator::start(&rights.iter().collect::<Vec<_>>(), &[]).await?;
    operator.live().await?;
    for right in &rights {
        ensure!(operator.symptom(right).await?.is_none(), "{right} was refused");
    }
    // Nor does it ask for what nobody thought of giving it.
    assert_eq!(operator.refused()?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn each_right_that_is_taken_away_is_missed() -> Result<()> {
    let rights = rights("multi-tenant")?;
    let mut named: Vec<_> = rights.iter().map(ToString::to_string).collect();
    let mut shown: Vec<_> = SHOWN.iter().map(|(right, _)| (*right).to_owned()).collect();
    named.sort();
    shown.sort();
    assert_eq!(named, shown, "every right of deploy/ has a row, and every row a right");
    futures::stream::iter(0..rights.len())
        .map(|missing| miss(&rights, missing))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await
        .map(drop)
}

async fn miss(rights: &[Right], missing: usize) -> Result<()> {
    let right = &rights[missing];
    let others: Vec<_> = rights.iter().filter(|it| *it != right).collect();
    let operator = Operator::start(&others, &[]).await?;
    let symptom = tokio::select! {
        symptom = operator.shows(right) => symptom?,
        // The life may end by the very thing that is to be seen.
        lived = operator.live() => match (operator.symptom(right).await?, lived) {
            (Some(symptom), _) => symptom,
            (None, Ok(())) => bail!("the operator does without the right to {right}"),
            (None, Err(error)) => return Err(error.context(format!("without {right}"))),
        },
    };
    let name = right.to_string();
    let row = SHOWN.iter().find(|(row, _)| *row == name);
    let (_, expected) = row.with_context(|| format!("no row for {name}"))?;
    ensure!(symptom.contains(expected), "without {name} it says {symptom:?}, not {expected:?}");
    if right.resource == "events" {
        let events = operator.events().await?;
        let is_missed = match right.verb.as_str() {
            "create" => events.is_empty(),
            _ => events.iter().all(|event| event.series.is_none()),
        };
        ensure!(is_missed, "without {name} there are {events:?}");
    }
    Ok(())
}

/// `deploy/single-tenant` needs no right to act as anybody, and says so where it would have to.
#[tokio::test]
async fn a_single_tenant_operator_lives_by_its_own_rights() -> Result<()> {
    let rights = rights("single-tenant")?;
    ensure!(rights.iter().all(|right| right.verb != "impersonate"), "{rights:?}");
    let all: Vec<_> = rights.iter().collect();
    let operator = Operator::start(&all, &["--single-tenant"]).await?.acting_as_itself();
    let leader = operator.leader(None).await?;
    let tenant = &operator.tenant;
    tenant.release("lent", &[config_map("lent", "")], json!({})).await?;
    let lent = tenant.wait_stalled("lent", operator.replica(leader)).await?;
    for part in ["cannot impersonate", "deploy/multi-tenant", "spec.serviceAccountName"] {
        ensure!(message(&lent).contains(part), "{}", message(&lent));
    }
    tenant.kubectl(&["delete", "rl", "lent", "--wait=false"])?;
    // Nothing was made of it.
    tenant.wait_released("lent", operator.replica(leader)).await?;
    operator.live().await
}

/// A namespace that did not allow the operator to act as its `ServiceAccount`s: the message has the command
/// to paste.
#[tokio::test]
async fn a_tenant_opens_its_namespace_by_the_command_in_the_message() -> Result<()> {
    let rights = rights("multi-tenant")?;
    let own: Vec<_> = rights.iter().filter(|right| right.place != Place::Tenant).collect();
    let operator = Operator::start(&own, &[]).await?;
    let file = root().join("deploy/multi-tenant/role-impersonator.yaml");
    kwok().kubectl(["apply", "--server-side", "--filename", &file.to_string_lossy()])?;
    let leader = operator.leader(None).await?;
    let tenant = &operator.tenant;
    tenant.release("early", &[config_map("early", "")], json!({})).await?;
    let early = tenant.wait_stalled("early", operator.replica(leader)).await?;
    ensure!(reason(&early) == "Forbidden", "{}", reason(&early));
    let said = message(&early);
    let command = said.split('`').find(|it| it.starts_with("kubectl create rolebinding "));
    let command = command.with_context(|| format!("no command in {said}"))?;
    ensure!(command.contains("--clusterrole=releaselifecycle-impersonator"), "{command}");
    kwok().kubectl(command.split(' ').skip(1))?;
    // Nothing else has to be done.
    tenant.wait_ready("early", operator.replica(leader)).await?;
    tenant.kubectl(&["delete", "rl", "early", "--wait=false"])?;
    tenant.wait_released("early", operator.replica(leader)).await?;
    operator.live().await
}

#[tokio::test]
async fn who_edits_a_namespace_may_have_releases_there_and_who_views_it_sees_none() -> Result<()> {
    let file = root().join("deploy/multi-tenant/role-editor.yaml");
    kwok().kubectl(["apply", "--server-side", "--filename", &file.to_string_lossy()])?;
    let namespace = Namespace::new(kwok(), "rbac-users").await?;
    for role in ["view", "edit", "admin"] {
        namespace.kubectl(&["create", "serviceaccount", role])?;
        let account = format!("--serviceaccount={}:{role}", namespace.name);
        let cluster_role = format!("--clusterrole={role}");
        namespace.kubectl(&["create", "rolebinding", role, &cluster_role, &account])?;
    }
    for (user, verb, resource, allowed) in [
        ("edit", "create", "releaselifecycles.releaselifecycle.dev", true),
        ("admin", "delete", "releaselifecycles.releaselifecycle.dev", true),
        ("edit", "get", "releaselifecycles.releaselifecycle.dev/status", true),
        ("view", "get", "releaselifecycles.releaselifecycle.dev", false),
        // Only the operator says how a release stands.
        ("admin", "update", "releaselifecycles.releaselifecycle.dev/status", false),
    ] {
        namespace.wait_may(user, verb, resource, allowed).await?;
    }
    // What would come to be aggregated only later.
    let text = fs::read_to_string(&file)?;
    ensure!(!text.contains("aggregate-to-view"), "{}", file.display());
    Ok(())
}

#[tokio::test]
async fn the_deployer_gives_nobody_what_it_lacks() -> Result<()> {
    let namespace = Namespace::new(kwok(), "rbac-deployer").await?;
    for (verb, resource, allowed) in [
        ("create", "jobs.batch", true),
        ("get", "pods/log", true),
        ("create", "pods/exec", false),
        ("create", "serviceaccounts/token", false),
        ("impersonate", "serviceaccounts", false),
        ("bind", "clusterroles.rbac.authorization.k8s.io", false),
        ("escalate", "roles.rbac.authorization.k8s.io", false),
        ("update", "resourcequotas", false),
    ] {
        namespace.wait_may("deployer", verb, resource, allowed).await?;
    }
    let deployer = format!("--as=system:serviceaccount:{}:deployer", namespace.name);
    let role = |name, resource| {
        let resource = format!("--resource={resource}");
        namespace.kubectl(&["create", "role", name, "--verb=create", &resource, &deployer])
    };
    role("own", "jobs.batch")?;
    let refused = role("more", "pods/exec").err().map(|error| format!("{error:#}"));
    ensure!(refused.as_ref().is_some_and(|it| it.contains("attempting to grant")), "{refused:?}");
    Ok(())
}
