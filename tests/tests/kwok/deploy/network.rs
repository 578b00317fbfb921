//! The network policies, evaluated as Kubernetes defines them: the local cluster enforces none.

#![expect(clippy::expect_used, reason = "a test may end where it stands")]

use std::{fs, net::IpAddr};

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, kwok, root};
use serde_json::{Value, json};

use crate::rbac::objects;

/// The other end of a connection.
struct Peer {
    ip: IpAddr,
    /// The labels of the Pod's namespace and of the Pod, if it is one.
    labels: Option<[Value; 2]>,
}

fn address(ip: &str) -> Peer {
    Peer { ip: ip.parse().expect("an address"), labels: None }
}

fn pod(namespace: Value, labels: Value) -> Peer {
    Peer { labels: Some([namespace, labels]), ..address("10.244.1.7") }
}

fn has(labels: &Value, selector: &Value) -> bool {
    let wanted = selector["matchLabels"].as_object();
    wanted.into_iter().flatten().all(|(key, value)| labels[key] == *value)
}

fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (ip.into(), 128),
    }
}

fn is_in(ip: IpAddr, cidr: &Value) -> bool {
    let (base, length) = cidr.as_str().and_then(|it| it.split_once('/')).expect("a range");
    let (base, width) = bits(base.parse().expect("an address"));
    let length: u32 = length.parse().expect("a length");
    let (ip, of) = bits(ip);
    let shift = width - length;
    of == width && ip.checked_shr(shift).unwrap_or(0) == base.checked_shr(shift).unwrap_or(0)
}

fn selects(peer: &Peer, rule: &Value) -> bool {
    if let Some(cidr) = rule.pointer("/ipBlock/cidr") {
        let except = rule["ipBlock"]["except"].as_array();
        return is_in(peer.ip, cidr) && !except.into_iter().flatten().any(|it| is_in(peer.ip, it));
    }
    let Some([namespace, pod]) = &peer.labels else { return false };
    has(namespace, &rule["namespaceSelector"]) && has(pod, &rule["podSelector"])
}

/// Returns whether any policy allows it; `way` is `ingress` or `egress`.
fn allows(policies: &[Value], way: &str, peer: &Peer, protocol: &str, port: u16) -> bool {
    let peers = if way == "ingress" { "from" } else { "to" };
    policies.iter().filter_map(|it| it["spec"][way].as_array()).flatten().any(|rule| {
        let to_peer = |rules: &Vec<Value>| rules.iter().any(|it| selects(peer, it));
        let to_port = |ports: &Vec<Value>| {
            let fits = |it: &Value| it.is_null() || *it == json!(port);
            ports.iter().any(|it| it["protocol"] == protocol && fits(&it["port"]))
        };
        rule[peers].as_array().is_none_or(to_peer) && rule["ports"].as_array().is_none_or(to_port)
    })
}

fn policies() -> Result<(Vec<Value>, Value)> {
    let all = objects("multi-tenant")?;
    let deployment = all.iter().find(|it| it["kind"] == "Deployment").context("a Deployment")?;
    let policies = all.iter().filter(|it| it["kind"] == "NetworkPolicy").cloned().collect();
    Ok((policies, deployment["spec"]["template"].clone()))
}

#[test]
fn the_policies_let_in_and_out_what_the_operator_needs() -> Result<()> {
    let (policies, template) = policies()?;
    for policy in &policies {
        let selector = &policy["spec"]["podSelector"];
        ensure!(has(&template["metadata"]["labels"], selector), "{policy} selects other Pods");
    }
    let prometheus = pod(json!({"metrics": "enabled"}), json!({}));
    let flux = json!({"kubernetes.io/metadata.name": "flux-system"});
    let tenant = pod(json!({}), json!({}));
    for (way, peer, protocol, port, allowed) in [
        // The kubelet, and whoever else.
        ("ingress", address("10.0.0.5"), "TCP", 8080, true),
        ("ingress", tenant, "TCP", 8081, false),
        ("ingress", prometheus, "TCP", 8081, true),
        ("ingress", address("10.0.0.5"), "TCP", 22, false),
        // DNS: a Service, a node's cache, OpenShift.
        ("egress", address("10.96.0.10"), "UDP", 53, true),
        ("egress", address("169.254.20.10"), "TCP", 53, true),
        ("egress", pod(json!({}), json!({})), "UDP", 5353, true),
        // API servers: the Service, kubeadm, minikube, MicroK8s, a managed one.
        ("egress", address("10.96.0.1"), "TCP", 443, true),
        ("egress", address("192.168.5.5"), "TCP", 6443, true),
        ("egress", address("192.168.49.2"), "TCP", 8443, true),
        ("egress", address("10.1.2.3"), "TCP", 16443, true),
        ("egress", address("34.1.2.3"), "TCP", 443, true),
        // Registries and repositories.
        ("egress", address("140.82.112.33"), "TCP", 80, true),
        ("egress", address("140.82.112.33"), "TCP", 5000, true),
        ("egress", address("2606:50c0::1"), "TCP", 80, true),
        ("egress", address("64:ff9b::8c52:7021"), "TCP", 443, true),
        ("egress", pod(flux.clone(), json!({"app": "source-controller"})), "TCP", 9090, true),
        ("egress", pod(flux.clone(), json!({"app": "source-watcher"})), "TCP", 9090, true),
        ("egress", pod(flux, json!({"app": "kustomize-controller"})), "TCP", 9090, false),
        // The kubelet, etcd, metadata services, what tenants have in the cluster.
        ("egress", address("10.0.0.5"), "TCP", 10250, false),
        ("egress", address("10.0.0.5"), "TCP", 2379, false),
        ("egress", address("169.254.169.254"), "TCP", 80, false),
        ("egress", address("168.63.129.16"), "TCP", 80, false),
        ("egress", address("100.100.100.200"), "TCP", 80, false),
        ("egress", address("fd00:ec2::254"), "TCP", 80, false),
        ("egress", address("172.20.3.4"), "TCP", 5432, false),
        ("egress", pod(json!({}), json!({})), "TCP", 80, false),
        ("egress", address("140.82.112.33"), "UDP", 1000, false),
    ] {
        let found = allows(&policies, way, &peer, protocol, port);
        ensure!(found == allowed, "{way} {} {protocol} {port}: {found}", peer.ip);
    }
    Ok(())
}

#[test]
fn the_ports_are_those_of_the_container() -> Result<()> {
    let (_, template) = policies()?;
    let container = &template["spec"]["containers"][0];
    let ports = json!([{"name": "probes", "containerPort": 8080},
                       {"name": "metrics", "containerPort": 8081}]);
    let found: Vec<_> = container["ports"]
        .as_array()
        .context("ports")?
        .iter()
        .map(|it| json!({"name": it["name"], "containerPort": it["containerPort"]}))
        .collect();
    assert_eq!(json!(found), ports);
    let env = json!([{"name": "RELEASELIFECYCLE_METRICS_ADDRESS", "value": "0.0.0.0:8081"}]);
    assert_eq!(container["env"], env);
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "probes");
    }
    Ok(())
}

#[tokio::test]
async fn the_api_server_takes_the_policies() -> Result<()> {
    let namespace = Namespace::new(kwok(), "network").await?;
    let text = fs::read_to_string(root().join("deploy/base/network-policy.yaml"))?;
    kwok().apply(&text.replace("releaselifecycle-system", &namespace.name)).map(drop)
}
