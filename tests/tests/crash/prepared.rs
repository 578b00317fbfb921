//! Where operations begin: reached once, and then made up in each namespace that needs it.

use anyhow::Result;
use e2e::{Controller, Namespace, fixture::State, kwok};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::{
    scenario::{RELEASE, Scenario},
    state::{load, present},
};

struct Prepared {
    namespace: String,
    at: Timestamp,
    state: State,
}

/// Makes up in `namespace` what `scenario` begins with, if it follows others.
pub(crate) async fn make(scenario: Scenario, namespace: &Namespace) -> Result<()> {
    static INSTALLED: OnceCell<Prepared> = OnceCell::const_new();
    static UPGRADED: OnceCell<Prepared> = OnceCell::const_new();
    let of_last = match scenario.before().last() {
        None => return Ok(()),
        Some(Scenario::Upgrade) => &UPGRADED,
        Some(_) => &INSTALLED,
    };
    let prepared = of_last.get_or_try_init(|| reach(scenario)).await?;
    let names = [(prepared.namespace.clone(), namespace.name.clone())];
    load(namespace, &prepared.state.replaced(&names)?, prepared.at).await?;
    Ok(())
}

async fn reach(scenario: Scenario) -> Result<Prepared> {
    let namespace = Namespace::new(kwok(), "prepared").await?;
    let controller = namespace.controller()?;
    scenario.reach(&namespace, &controller).await?;
    let state = present(&namespace).await?;
    Ok(Prepared { namespace: namespace.name, at: Timestamp::now(), state })
}

/// Waits until the controller has looked at what was made up.
pub(crate) async fn settle(namespace: &Namespace, by: &Controller) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"interval": "7m"}}));
    namespace.releases().patch(RELEASE, &PatchParams::default(), &patch).await?;
    namespace.wait_observed(RELEASE, by).await
}
