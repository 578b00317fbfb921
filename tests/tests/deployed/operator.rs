//! The operator as a Deployment.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{Logs, Namespace, root};
use serde_json::json;
use testkit::cluster::Cluster;

use crate::image;

pub(super) const NAMESPACE: &str = "releaselifecycle-system";
pub(super) const ACCOUNT: &str = "releaselifecycle-controller";
const DEPLOYMENT: &str = "deployment/releaselifecycle-controller";
const PATIENCE: Duration = Duration::from_secs(90);

/// A folder of `deploy/`.
pub(super) fn shipped(flavour: &str) -> PathBuf {
    root().join("deploy").join(flavour)
}

/// A kustomization over a folder of `deploy/`, in which a user says what the image is called.
pub(super) fn with_another_image(flavour: &str) -> Result<PathBuf> {
    let (name, tag) = image::OTHER.split_once(':').context("a tag")?;
    let image = json!({"name": "releaselifecycle-controller", "newName": name, "newTag": tag});
    e2e::overlay("image", &shipped(flavour), &[], &json!({"images": [image]}))
}

pub(super) struct Operator {
    pub(super) cluster: &'static Cluster,
    kustomization: PathBuf,
}

impl Operator {
    /// `kubectl apply -k`; waits until all replicas are ready.
    pub(super) fn deploy(cluster: &'static Cluster, kustomization: &Path) -> Result<Self> {
        let operator = Self { cluster, kustomization: kustomization.to_owned() };
        cluster.kubectl(["apply", "--kustomize", &kustomization.to_string_lossy()])?;
        operator.wait_rolled_out()?;
        let ready =
            operator.kubectl(&["get", DEPLOYMENT, "-o", "jsonpath={.status.readyReplicas}"])?;
        ensure!(ready == "2", "{ready} replicas are ready");
        Ok(operator)
    }

    /// Asserts that the API server takes no release in the namespaces of the cluster and the operator.
    pub(super) fn check_refused_places(&self) -> Result<()> {
        for (namespace, whose) in [("kube-system", "the cluster's"), (NAMESPACE, "the operator's")]
        {
            let release = json!({
                "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
                "metadata": {"name": "intruder", "namespace": namespace},
                "spec": {"serviceAccountName": "default", "source": {"objects": [
                    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "intruder"}}]}},
            });
            let said = self.cluster.apply(&release.to_string()).err();
            let said = said.map(|error| format!("{error:#}")).unwrap_or_default();
            let expected = format!("no ReleaseLifecycle in {namespace}");
            ensure!(said.contains(&expected) && said.contains(whose), "{namespace}: {said}");
        }
        Ok(())
    }

    /// `kubectl delete -k`; waits until all is gone.
    pub(super) fn remove(self) -> Result<()> {
        let path = self.kustomization.to_string_lossy();
        self.cluster.kubectl(["delete", "--timeout=90s", "--kustomize", &path]).map(drop)
    }

    /// `kubectl delete pod` of the leader; waits until another replica leads.
    pub(super) async fn delete_leader(&self) -> Result<()> {
        let leader = self.leader()?.context("nobody leads")?;
        self.kubectl(&["delete", "pod", pod_of(&leader), "--wait=false"])?;
        self.wait_led_by_other_than(&[pod_of(&leader).to_owned()]).await?;
        self.wait_rolled_out()
    }

    /// `kubectl rollout restart`; waits until all replicas are new and ready, and one of them leads.
    pub(super) async fn restart(&self) -> Result<()> {
        let names = "jsonpath={.items[*].metadata.name}";
        let old = self.kubectl(&["get", "pods", "-o", names])?;
        let old: Vec<_> = old.split_whitespace().map(str::to_owned).collect();
        self.kubectl(&["rollout", "restart", DEPLOYMENT])?;
        self.wait_rolled_out()?;
        self.wait_led_by_other_than(&old).await
    }

    async fn wait_led_by_other_than(&self, pods: &[String]) -> Result<()> {
        let start = Instant::now();
        let is_other = |leader: &String| !pods.iter().any(|pod| pod == pod_of(leader));
        while !self.leader()?.as_ref().is_some_and(is_other) {
            ensure!(start.elapsed() < PATIENCE, "none but {pods:?} leads: {}", self.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Who holds the lease: a Pod and a process.
    pub(super) fn leader(&self) -> Result<Option<String>> {
        let path = "jsonpath={.spec.holderIdentity}";
        let lease = ["get", "lease", "releaselifecycle-controller", "-o", path];
        let holder = self.kubectl(&lease)?;
        Ok(Some(holder).filter(|holder| !holder.is_empty()))
    }

    fn wait_rolled_out(&self) -> Result<()> {
        let status = self.kubectl(&["rollout", "status", DEPLOYMENT, "--timeout=90s"]);
        status.map(drop).with_context(|| {
            let describe = self.kubectl(&["describe", "pods"]);
            format!("{}\n{}", describe.unwrap_or_default(), self.log_tail())
        })
    }

    /// `kubectl` in the operator's namespace.
    pub(super) fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.cluster.kubectl(["--namespace", NAMESPACE].iter().chain(args))
    }
}

/// Lets the operator act as the `ServiceAccount`s of a tenant's namespace, as the documentation says.
pub(super) fn allow_in(namespace: &Namespace) -> Result<()> {
    let role = "--clusterrole=releaselifecycle-impersonator";
    let account = format!("--serviceaccount={NAMESPACE}:{ACCOUNT}");
    let create = ["create", "rolebinding", "releaselifecycle-impersonator", role, &account];
    namespace.kubectl(&create).map(drop)
}

/// The Pod of a holder of the lease.
pub(super) fn pod_of(holder: &str) -> &str {
    holder.split_once('_').map_or(holder, |(pod, _)| pod)
}

impl Logs for Operator {
    fn log_tail(&self) -> String {
        let label = "app.kubernetes.io/name=releaselifecycle-controller";
        let logs = self.kubectl(&["logs", "--selector", label, "--prefix", "--tail=30"]);
        logs.unwrap_or_else(|error| format!("{error:#}"))
    }
}
