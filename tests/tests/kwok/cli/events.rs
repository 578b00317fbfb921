//! `events`: those of the release and of its hooks.

use anyhow::Result;
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
};
use serde_json::{Value, json};

use super::Cli;

#[tokio::test]
async fn events_shows_those_of_the_release_of_its_hooks_and_of_their_pods() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-events").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let objects = [job("migrate").hook("pre-install"), config_map("main", "1")];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.release("other", &[config_map("other", "1")], json!({})).await?;
    namespace.wait_ready("other", &controller).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.wait_event("InstallSucceeded").await?;

    let all: Value = serde_json::from_str(&cli.run(&["events", "shop", "-o", "json"])?.out)?;
    let found: Vec<_> = all
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| {
            (it["object"].as_str().unwrap_or_default(), it["reason"].as_str().unwrap_or_default())
        })
        .collect();
    assert!(found.contains(&("ReleaseLifecycle/shop", "InstallStarted")), "{found:?}");
    assert!(found.contains(&("Job/migrate", "SuccessfulCreate")), "{found:?}");
    assert!(found.iter().any(|(object, _)| object.starts_with("Pod/migrate-")), "{found:?}");
    assert!(found.iter().all(|(object, _)| !object.ends_with("/other")), "{found:?}");
    let text = cli.run(&["events", "shop"])?.out;
    assert!(text.starts_with("LAST SEEN ") && text.contains("InstallStarted"), "{text}");
    Ok(())
}
