//! The cable between this machine and a real node: a veth pair whose end here has the node's number in its name.

use std::{net::Ipv4Addr, process::Command};

use anyhow::{Context as _, bail};

use super::process::run;

/// The addresses of one node: a /24 of the range that is reserved for benchmarks, 198.18.0.0/15.
#[derive(Debug)]
pub(super) struct Network {
    /// This machine's end.
    pub(super) link: String,
    pub(super) host: Ipv4Addr,
    pub(super) node: Ipv4Addr,
    /// The node's address among its Pods.
    pub(super) gateway: Ipv4Addr,
    pub(super) pods: String,
}

impl Network {
    /// Connects the network namespace of a process. The pair is gone when the namespace is.
    pub(super) fn connect(pid: u32) -> anyhow::Result<Self> {
        let network = Self::take(pid)?;
        let (host, node, link) = (network.host, network.node, network.link.as_str());
        run(&mut ip(&["addr", "add", &format!("{host}/25"), "dev", link]))?;
        run(&mut ip(&["link", "set", link, "up"]))?;
        let inside = |args: &[&str]| {
            let pid = pid.to_string();
            run(Command::new("nsenter").args(["-t", &pid, "-n", "ip"]).args(args))
        };
        inside(&["addr", "add", &format!("{node}/25"), "dev", "eth0"])?;
        inside(&["link", "set", "eth0", "up"])?;
        inside(&["route", "add", "default", "via", &host.to_string()])?;
        run(&mut ip(&["route", "add", &network.pods, "via", &node.to_string(), "dev", link]))?;
        Ok(network)
    }

    /// Creates the link. The kernel refuses a second interface of the same name, which makes the
    /// name a lock on the number.
    fn take(pid: u32) -> anyhow::Result<Self> {
        let peer = pid.to_string();
        for n in 1..=254 {
            let link = format!("rlc{n}");
            let pair = ["type", "veth", "peer", "name", "eth0", "netns", &peer];
            match run(ip(&["link", "add", &link]).args(pair)) {
                Ok(_) => {
                    return Ok(Self {
                        link,
                        host: Ipv4Addr::new(198, 18, n, 1),
                        node: Ipv4Addr::new(198, 18, n, 2),
                        gateway: Ipv4Addr::new(198, 18, n, 129),
                        pods: format!("198.18.{n}.128/25"),
                    });
                }
                Err(e) if format!("{e:#}").contains("File exists") => {}
                Err(e) => return Err(e).context("making the node's network interface"),
            }
        }
        bail!("254 nodes run on this machine already (see `ip link`)")
    }

    /// Lets Pods reach the API server at the address that the kubelet gives them.
    pub(super) fn serve_api(&self, pid: u32, service: Ipv4Addr, port: u16) -> anyhow::Result<()> {
        let pid = pid.to_string();
        let target = format!("{}:{port}", self.host);
        for chain in ["PREROUTING", "OUTPUT"] {
            run(Command::new("nsenter")
                .args(["-t", &pid, "-n", "iptables", "-w", "-t", "nat"])
                .args([
                    "-A",
                    chain,
                    "-d",
                    &service.to_string(),
                    "-p",
                    "tcp",
                    "--dport",
                    "443",
                    "-j",
                    "DNAT",
                    "--to-destination",
                    &target,
                ]))?;
        }
        Ok(())
    }
}

fn ip(args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(args);
    command
}
