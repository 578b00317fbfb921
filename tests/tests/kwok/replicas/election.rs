use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use e2e::{
    Controller, Namespace, Proxied, kwok,
    manifests::{Manifest, config_map, job},
    target,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
    config::Kubeconfig,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::holder;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_one_acts_and_the_other_only_looks_at_the_lease() -> Result<()> {
    let namespace = Namespace::new(kwok(), "replicas").await?;
    let proxied = Proxied::new(&namespace).await?;
    let a = namespace.replica("a")?;
    namespace.wait_leader("a").await?;
    let b = proxied.replica("b")?;
    b.wait_standing_by().await?;

    let objects = [config_map("main", ""), job("hook").hook("pre-install")];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_ready("shop", &a).await?;
    assert_eq!((a.leads()?, b.leads()?), (Some(true), Some(false)));
    for replica in [&a, &b] {
        assert_eq!(replica.http("/livez")?.0, 200);
        assert_eq!(replica.http("/readyz")?.0, 200);
    }
    let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", namespace.name);
    let requests = proxied.proxy.requests();
    assert!(requests.iter().any(|request| request.path.starts_with(&leases)));
    for request in requests {
        let looks = request.path.starts_with(&leases) && !request.is_write();
        ensure!(looks, "the standby asked for {} {}", request.method, request.path);
    }
    Ok(())
}

#[tokio::test]
async fn a_lease_that_somebody_keeps_renewing_is_left_alone_whatever_their_clock_says() -> Result<()>
{
    let namespace = Namespace::new(kwok(), "foreign").await?;
    let name = namespace.lease();
    // Many more renewals than fit into the duration, by a clock that stands in another century.
    let (duration, every, total) = (5, Duration::from_millis(250), Duration::from_secs(8));
    let leases: Api<Lease> = Api::namespaced(namespace.client.clone(), &namespace.name);
    let renew = async |time: u32| {
        let body = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": duration,
                     "renewTime": format!("1970-01-01T00:00:00.{time:06}Z")},
        });
        // It fails where another one is the holder.
        leases.patch(&name, &PatchParams::apply("somebody"), &Patch::Apply(body)).await
    };
    renew(0).await?;
    let controller = namespace.replica("a")?;
    namespace.release("shop", &[config_map("main", "")], json!({})).await?;
    let start = Instant::now();
    let mut renewals = 0;
    while start.elapsed() < total {
        renewals += 1;
        renew(renewals).await?;
        tokio::time::sleep(every).await;
    }
    let found = namespace.object("Lease", &name).await?;
    assert_eq!(holder(found.as_ref()), Some("somebody"));
    assert_eq!(controller.leads()?, Some(false));
    assert_eq!(controller.http("/readyz")?.0, 200);
    assert!(controller.log()?.contains("somebody holds lease"));
    let status = namespace.releases().get("shop").await?.status.unwrap_or_default();
    assert!(status.operation.is_none() && status.conditions.is_empty(), "{status:?}");

    // And when they renew it no more:
    namespace.wait_leader("a").await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn a_missing_right_ends_the_process_with_what_it_needs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "rights").await?;
    let mut kubeconfig = Kubeconfig::read_from(namespace.cluster().kubeconfig())?;
    let user = kubeconfig.auth_infos.first_mut().and_then(|user| user.auth_info.as_mut());
    let nobody = format!("system:serviceaccount:{}:default", namespace.name);
    user.context("a user")?.impersonate = Some(nobody);
    let path = target().join("tmp/controllers").join(format!("{}.kubeconfig", namespace.name));
    fs::create_dir_all(path.parent().context("a folder")?)?;
    fs::write(&path, serde_json::to_string(&kubeconfig)?)?;

    let mut controller = Controller::start(&path, &namespace.name, &[])?;
    let status = controller.end().await?;
    assert_eq!(status.code(), Some(1), "{status}");
    let log = controller.log()?;
    let last = log.lines().last().unwrap_or_default();
    for part in [
        "ERROR",
        "cannot get resource \"leases\" in API group \"coordination.k8s.io\"",
        "get, list, watch, create and update on leases.coordination.k8s.io",
        &format!("in namespace {}", namespace.name),
        "--lease-namespace",
    ] {
        assert!(last.contains(part), "{part} is not in: {log}");
    }

    // Told to be the only one, it asks nobody.
    let alone = namespace.controller_with(&["--no-leader-election"])?;
    namespace.release("shop", &[config_map("main", "")], json!({})).await?;
    namespace.wait_ready("shop", &alone).await?;
    assert_eq!(alone.leads()?, Some(true));
    assert_eq!(namespace.object("Lease", &namespace.lease()).await?, None::<Value>);
    Ok(())
}
