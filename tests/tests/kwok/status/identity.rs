//! As whom things are done, told by the API server's audit log.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use e2e::{
    Controller, Namespace, is_write, kwok,
    manifests::{Manifest, config_map, job},
    reason,
};
use serde_json::{Value, json};
use testkit::audit::Event;

/// The operator in a cluster: a ServiceAccount that may read and write its own resource, see hooks
/// change, write Event objects, hold its lease and act as any `ServiceAccount` of the namespace. No more.
fn operator(namespace: &Namespace) -> Result<PathBuf> {
    let name = &namespace.name;
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    let look = ["get", "list", "watch"];
    let rules = [
        rule("releaselifecycle.dev", &["releaselifecycles"], &[&look[..], &["patch"]].concat()),
        rule("releaselifecycle.dev", &["releaselifecycles/status"], &["update"]),
        rule("batch", &["jobs"], &["list", "watch"]),
        rule("", &["pods"], &["list", "watch"]),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
        rule("", &["serviceaccounts"], &["impersonate"]),
        rule("", &["namespaces"], &["get"]),
        rule("coordination.k8s.io", &["leases"], &["get", "create", "update"]),
    ];
    let group = "rbac.authorization.k8s.io";
    let subject = json!({"kind": "ServiceAccount", "name": "operator", "namespace": name});
    let objects = [
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
               "metadata": {"name": "operator", "namespace": name}}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole",
               "metadata": {"name": name}, "rules": rules}),
        json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding",
               "metadata": {"name": name}, "subjects": [subject],
               "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name}}),
    ];
    let text: Vec<_> = objects.iter().map(Value::to_string).collect();
    namespace.cluster().apply(&text.join("\n---\n"))?;

    namespace.kubeconfig_of("operator")
}

/// Event objects are not in the audit log.
fn writes(namespace: &Namespace) -> Result<Vec<Event>> {
    let operator = format!("system:serviceaccount:{}:operator", namespace.name);
    let events = namespace.audit()?;
    let writes = events.into_iter().filter(|event| is_write(event) && event.user == operator);
    Ok(writes.collect())
}

fn describe(event: &Event) -> String {
    let Event { verb, resource, name, impersonated, code, .. } = event;
    format!("{verb} {resource}/{} as {impersonated:?}: {code}", name.as_deref().unwrap_or_default())
}

#[tokio::test]
async fn what_is_done_to_a_tenants_objects_is_done_as_the_tenant() -> Result<()> {
    let namespace = Namespace::new(kwok(), "tenant").await?;
    let controller = Controller::start(&operator(&namespace)?, &namespace.name, &[])?;
    let objects = |value: &str| {
        [
            config_map("main", value),
            job("kept").hook("pre-install,pre-upgrade").set("/spec/ttlSecondsAfterFinished", 600),
            job("gone").hook("post-install,post-upgrade").policy("hook-succeeded"),
        ]
    };
    namespace
        .release("shop", &[&objects("1")[..], &[config_map("old", "")]].concat(), json!({}))
        .await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.release("shop", &objects("2"), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let last = objects("3")
        .map(|object| if object["kind"] == "Job" { object.never_ends() } else { object });
    namespace.release("shop", &last, json!({"timeout": "1s"})).await?;
    namespace.wait_stalled("shop", &controller).await?;

    let deployer = format!("system:serviceaccount:{}:deployer", namespace.name);
    let (own, lent): (Vec<_>, Vec<_>) =
        writes(&namespace)?.into_iter().partition(|event| event.impersonated.is_none());
    for event in &own {
        // Its finalizer, and the status.
        let mark = event.verb == "patch" || event.subresource.as_deref() == Some("status");
        assert!(event.resource == "releaselifecycles" && mark, "{}", describe(event));
    }
    for event in &lent {
        assert_eq!(event.impersonated.as_deref(), Some(&*deployer), "{}", describe(event));
        assert_ne!(event.resource, "releaselifecycles", "{}", describe(event));
        assert!(event.succeeded(), "{}", describe(event));
    }
    assert!(own.len() > 10 && lent.len() > 10, "{} and {}", own.len(), lent.len());
    Ok(())
}

#[tokio::test]
async fn a_single_tenant_operator_acts_as_itself_unless_told_otherwise() -> Result<()> {
    let namespace = Namespace::new(kwok(), "single").await?;
    let kubeconfig = operator(&namespace)?;
    let binding = format!("--serviceaccount={}:operator", namespace.name);
    let bind = ["create", "rolebinding", "operator", "--clusterrole=releaselifecycle-deployer"];
    namespace.kubectl(&[&bind[..], &[&binding]].concat())?;
    let controller = Controller::start(&kubeconfig, &namespace.name, &["--single-tenant"])?;
    namespace.release("own", &[config_map("own", "")], json!({"serviceAccountName": null})).await?;
    namespace.wait_ready("own", &controller).await?;
    namespace.release("lent", &[config_map("lent", "")], json!({})).await?;
    namespace.wait_ready("lent", &controller).await?;
    let writes = writes(&namespace)?;
    // The releases have the same names as the objects.
    let find = |name: &str| {
        writes
            .iter()
            .find(|event| event.resource == "configmaps" && event.name.as_deref() == Some(name))
            .map(|event| event.impersonated.clone())
    };
    assert_eq!(find("own"), Some(None));
    let deployer = format!("system:serviceaccount:{}:deployer", namespace.name);
    assert_eq!(find("lent"), Some(Some(deployer)));
    Ok(())
}

#[tokio::test]
async fn a_default_service_account_stands_in_where_none_is_named() -> Result<()> {
    let namespace = Namespace::new(kwok(), "default").await?;
    let args = ["--default-service-account", "deployer"];
    let controller = Controller::start(&operator(&namespace)?, &namespace.name, &args)?;
    namespace
        .release("shop", &[config_map("main", "")], json!({"serviceAccountName": null}))
        .await?;
    namespace.wait_ready("shop", &controller).await?;
    let deployer = format!("system:serviceaccount:{}:deployer", namespace.name);
    let done: Vec<_> =
        writes(&namespace)?.into_iter().filter(|event| event.resource == "configmaps").collect();
    ensure!(!done.is_empty(), "main was to be applied");
    for event in &done {
        assert_eq!(event.impersonated.as_deref(), Some(&*deployer), "{}", describe(event));
    }
    // A ServiceAccount that is named counts, and may do nothing here.
    let named = json!({"serviceAccountName": "operator"});
    namespace.release("named", &[config_map("named", "")], named).await?;
    let release = namespace.wait_stalled("named", &controller).await?;
    assert_eq!(reason(&release), "Forbidden");
    Ok(())
}
