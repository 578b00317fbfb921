//! `ui`: a page on this machine, with the rights of the person who runs it; `report`: the same page
//! about one release, in a file.
//!
//! - `view`: a release as the page shows it, as JSON; pure
//! - `actions`: the requests that it offers; pure
//! - `guard`: who may ask; `serve`: the routes
//! - `follow`: the releases as they change; `run`: the commands that the page's requests are
//! - `page`: HTML, CSS and JavaScript, built in

mod actions;
mod follow;
mod guard;
mod page;
mod report;
mod run;
mod serve;
mod view;

use std::net::Ipv4Addr;

use anyhow::Context as _;
use kube::api::ListParams;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

pub(crate) use self::report::report;
use self::{guard::Guard, run::Commands, serve::Site};
use crate::{
    Outcome,
    args::Ui,
    cluster::{Asked, Cluster},
    screen,
};

pub(crate) async fn ui(args: &Ui) -> anyhow::Result<Outcome> {
    let cluster = scope(args).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port));
    let listener = listener.await.with_context(|| format!("listen on port {}", args.port))?;
    let port = listener.local_addr()?.port();
    let guard = Guard::new(port);
    let shown = if cluster.has_all_namespaces() { "all namespaces" } else { cluster.namespace() };
    screen::write(&format!("The releases of {shown}: {}\nCtrl-C ends it.\n", guard.url()))?;
    let site = Site { cluster, commands: Commands::new(&args.place)?, guard };
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        served = serve::serve(listener, site) => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    Ok(Outcome::Good)
}

/// Returns the cluster with the namespaces that are shown.
async fn scope(args: &Ui) -> anyhow::Result<Cluster> {
    let cluster = Cluster::find(&args.place).await?;
    if args.place.namespace.is_some() {
        return Ok(cluster);
    }
    let all = cluster.clone().in_all_namespaces();
    let api = all.api();
    let params = ListParams::default().limit(1);
    let what = "listing ReleaseLifecycles in all namespaces";
    match all.asked(what, api.list_metadata(&params)).await? {
        Asked::Known(_) => Ok(all),
        Asked::Refused(_) => Ok(cluster),
    }
}
