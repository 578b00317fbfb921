//! The simulated node.

use std::{ops::RangeInclusive, time::Duration};

use anyhow::Context as _;
use serde_json::json;

use super::{
    Cluster, bin, certs,
    control_plane::{ControlPlane, User},
    fill,
};

const STAGES: &str = include_str!("../../../../tests/cluster/kwok.yaml");

pub(super) fn join(cluster: &mut Cluster, delay: &RangeInclusive<Duration>) -> anyhow::Result<()> {
    let config = cluster.dir.join("config/kwok.yaml");
    let millis = |d: &Duration| d.as_millis().to_string();
    let (min, max) = (millis(delay.start()), millis(delay.end()));
    certs::write(&config, &fill(STAGES, &[("POD_DELAY_MIN", &min), ("POD_DELAY_MAX", &max)]))?;
    let kubeconfig = ControlPlane::kubeconfig(cluster, User::Kwok);
    let args = [
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--config={}", config.display()),
        "--manage-single-node=node".to_owned(),
        "--cidr=10.64.0.1/12".to_owned(),
    ];
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {
        "name": "node",
        "labels": {"kubernetes.io/hostname": "node", "kubernetes.io/os": "linux", "type": "kwok"},
    }});
    cluster.apply(&node.to_string()).context("creating the simulated node")?;
    cluster.launch("kwok", &bin("kwok")?, args)?;
    Ok(())
}
