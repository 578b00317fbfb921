use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use e2e::{
    Namespace, condition, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{WatchEvent, WatchParams},
};
use lifecycle::conditions::LEAD_CHARS;
use serde_json::json;

/// As `kubectl describe` finds them: `Warning HookFailed`.
async fn wait_events(namespace: &Namespace, name: &str, expect: &[&str]) -> Result<Vec<Event>> {
    let api: Api<Event> = Api::namespaced(namespace.client.clone(), &namespace.name);
    let params = WatchParams::default().fields(&format!("regarding.name={name}"));
    let mut seen = Vec::new();
    let mut missing: BTreeSet<_> = expect.iter().map(ToString::to_string).collect();
    let watch = async {
        let mut events = api.watch(&params, "0").await?.boxed();
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Added(event) | WatchEvent::Modified(event) = event {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                missing.remove(&format!("{} {}", text(&event.type_), text(&event.reason)));
                seen.push(event);
                if missing.is_empty() {
                    break;
                }
            }
        }
        anyhow::Ok(())
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), watch).await;
    ended.with_context(|| format!("Event objects are missing: {missing:?}"))??;
    Ok(seen)
}

#[tokio::test]
async fn a_new_object_never_counts_as_ready() -> Result<()> {
    let namespace = Namespace::new(kwok(), "new").await?;
    namespace.release("shop", &[config_map("main", "")], json!({})).await?;
    let release = namespace.releases().get("shop").await?;
    assert_eq!(release.metadata.generation, Some(1));
    assert_eq!(release.status.and_then(|status| status.observed_generation), Some(-1));
    let wait = ["wait", "rl/shop", "--for=condition=Ready", "--timeout=1s"];
    assert!(namespace.kubectl(&wait).is_err(), "nobody has seen it yet");
    Ok(())
}

#[tokio::test]
async fn conditions_say_what_goes_on_and_kubectl_waits_for_them() -> Result<()> {
    let namespace = Namespace::new(kwok(), "running").await?;
    let controller = namespace.controller()?;
    let slow = |events: &str| {
        let pointer = "/metadata/annotations/releaselifecycle.dev~1test-delay";
        job("slow").hook(events).set_pod(pointer, "2s")
    };
    let objects =
        |value: &str| [config_map("main", value), slow("pre-install"), slow("post-upgrade")];
    namespace.release("shop", &objects("1"), json!({"timeout": "1h"})).await?;
    let running = namespace
        .wait("shop", &controller, "running its hook", |release| {
            message(release)
                .starts_with("waiting for hook Job/slow (pre-install, 1 of 1, attempt 1)")
        })
        .await?;
    let ready = condition(&running, "Ready").context("Ready")?;
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("Unknown", "Progressing"));
    assert_eq!(ready.observed_generation, Some(1));
    let reconciling = condition(&running, "Reconciling").context("Reconciling")?;
    assert_eq!((reconciling.status.as_str(), &reconciling.message), ("True", &ready.message));
    assert!(condition(&running, "Stalled").is_none());
    assert_eq!(running.status.and_then(|status| status.observed_generation), Some(1));

    namespace.kubectl(&["wait", "rl/shop", "--for=condition=Ready", "--timeout=60s"])?;
    let done = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(reason(&done), "InstallSucceeded");
    assert!(condition(&done, "Reconciling").is_none() && condition(&done, "Stalled").is_none());
    assert_eq!(condition(&done, "Released").map(|it| it.status.as_str()), Some("True"));

    // During an upgrade it is not Ready, but still Released.
    namespace.release("shop", &objects("2"), json!({"timeout": "1h"})).await?;
    let upgrading = namespace
        .wait("shop", &controller, "running its hook", |release| {
            message(release).contains("Job/slow (post-upgrade")
        })
        .await?;
    let ready = condition(&upgrading, "Ready").context("Ready")?;
    assert_eq!((ready.status.as_str(), ready.observed_generation), ("Unknown", Some(2)));
    assert_eq!(condition(&upgrading, "Released").map(|it| it.status.as_str()), Some("True"));
    assert_eq!(upgrading.status.and_then(|status| status.revision), Some(1), "the deployed one");
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn kubectl_shows_the_release_in_columns_and_event_objects() -> Result<()> {
    let namespace = Namespace::new(kwok(), "columns").await?;
    let controller = namespace.controller()?;
    let objects = |value: &str| {
        [
            config_map("main", value),
            job("good").hook("pre-install"),
            job("bad").hook("pre-upgrade").fails(),
        ]
    };
    namespace.release("shop", &objects("1"), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let table = namespace.kubectl(&["get", "rl"])?;
    let lines: Vec<_> = table.lines().map(|line| words(line.to_owned())).collect();
    assert_eq!(lines[0], ["NAME", "READY", "EVENT", "REVISION", "STATUS", "AGE"]);
    assert_eq!(lines[1][..4], ["shop", "True", "Install", "1"].map(str::to_owned), "{table}");
    assert_eq!(lines[1][4], "InstallSucceeded", "{table}");
    let wide = namespace.kubectl(&["get", "rl", "-o", "wide"])?;
    assert!(wide.contains("install of revision 1 succeeded with 1 hook"), "{wide}");
    wait_events(
        &namespace,
        "shop",
        &[
            "Normal InstallStarted",
            "Normal HookStarted",
            "Normal HookSucceeded",
            "Normal InstallSucceeded",
        ],
    )
    .await?;

    namespace.release("shop", &objects("2"), json!({})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    let row = words(namespace.kubectl(&["get", "rl", "shop", "--no-headers"])?);
    assert_eq!(row[..5], ["shop", "False", "Upgrade", "1", "HookFailed"].map(str::to_owned));
    let table = namespace.kubectl(&["get", "rl", "-n", &namespace.name, "-o", "wide"])?;
    let row = table.lines().nth(1).unwrap_or_default();
    let message = row.find("upgrade of revision 2 failed: ").and_then(|at| row.get(at..));
    let message = message.unwrap_or_else(|| panic!("no message: {table}")).trim();
    assert!(message.chars().count() <= LEAD_CHARS + "...".len(), "the first line: {table}");
    let table = namespace.kubectl(&["get", "rl", "-A"])?;
    assert!(table.lines().all(|row| row.chars().count() <= 120), "{table}");
    let events =
        wait_events(&namespace, "shop", &["Warning HookFailed", "Warning UpgradeFailed"]).await?;
    let failed = events
        .iter()
        .find(|event| event.reason.as_deref() == Some("HookFailed"))
        .context("HookFailed")?;
    let related = failed.related.as_ref().context("the hook's object")?;
    assert_eq!((related.kind.as_deref(), related.name.as_deref()), (Some("Job"), Some("bad")));
    let note = failed.note.as_deref().unwrap_or_default();
    assert!(note.contains("BackoffLimitExceeded") && note.contains("exit code 1"), "{note}");
    let described = namespace.kubectl(&["describe", "rl", "shop"])?;
    for part in ["Exit Code:", "BackoffLimitExceeded", "UpgradeFailed", "HookFailed"] {
        assert!(described.contains(part), "{part} is not in {described}");
    }

    namespace
        .release(
            "shop",
            &[json!({"apiVersion": "v1", "kind": "Nothing", "metadata": {"name": "a"}})],
            json!({}),
        )
        .await?;
    wait_events(&namespace, "shop", &["Warning Blocked"]).await?;
    Ok(())
}
