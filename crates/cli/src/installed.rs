//! Parts that are installed in the cluster: the definition of ReleaseLifecycle, and the operator's Deployments.

use api::ReleaseLifecycle;
use k8s_openapi::{
    api::apps::v1::Deployment,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, CustomResourceExt as _, api::ListParams};

use crate::cluster::{Asked, Cluster};

pub(crate) async fn definition(
    cluster: &Cluster,
) -> anyhow::Result<Asked<Option<CustomResourceDefinition>>> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client());
    let name = ReleaseLifecycle::crd_name();
    cluster.asked(&format!("reading CustomResourceDefinition {name}"), api.get_opt(name)).await
}

/// Returns whether the definition has the schema that this client knows.
pub(crate) fn is_of_this_client(definition: &CustomResourceDefinition) -> bool {
    definition.spec.versions == api::crd().spec.versions
}

/// Returns the operator's Deployments; shards have one each.
pub(crate) async fn deployments(cluster: &Cluster) -> anyhow::Result<Asked<Vec<Deployment>>> {
    let api: Api<Deployment> = Api::all(cluster.client());
    let params = ListParams::default().labels("app.kubernetes.io/name=releaselifecycle-controller");
    let listing = async { Ok(api.list(&params).await?.items) };
    cluster.asked("listing Deployments in all namespaces", listing).await
}

/// Returns the image of a Deployment's first container; empty if it has none.
pub(crate) fn image(deployment: &Deployment) -> &str {
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let image = pod.and_then(|pod| pod.containers.first()?.image.as_deref());
    image.unwrap_or_default()
}
