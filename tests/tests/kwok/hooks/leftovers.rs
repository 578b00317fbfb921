use anyhow::Result;
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::json;

#[tokio::test]
async fn a_leftover_that_the_policy_does_not_replace_fails_the_hook() -> Result<()> {
    let namespace = Namespace::new(kwok(), "exists").await?;
    let controller = namespace.controller()?;
    let objects = |value: &str| {
        [
            config_map("main", value),
            job("hook").hook("pre-install,pre-upgrade").policy("hook-failed"),
        ]
    };
    namespace.release("shop", &objects("1"), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let leftover = namespace.uid("Job", "hook").await?;
    namespace.release("shop", &objects("2"), json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "HookFailed");
    let text = message(&release);
    assert!(text.contains("Job/hook failed: HookExists: "), "{text}");
    assert!(text.contains("delete it or add the policy"), "{text}");
    assert_eq!(namespace.uid("Job", "hook").await?, leftover);
    assert_eq!(namespace.tenant_did("delete")?, [""; 0], "hook-failed does not count here");

    namespace.kubectl(&["delete", "job", "hook"])?;
    namespace.release("shop", &objects("3"), json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.unwrap().revision, Some(3));
    Ok(())
}

#[tokio::test]
async fn an_object_of_somebody_else_is_never_replaced() -> Result<()> {
    let namespace = Namespace::new(kwok(), "foreign").await?;
    let controller = namespace.controller()?;
    namespace
        .cluster()
        .apply(&job("hook").set("/metadata/namespace", namespace.name.as_str()).to_string())?;
    // Of another release, which is somebody else as well.
    namespace.release("other", &[job("taken").hook("pre-install")], json!({})).await?;
    namespace.wait_ready("other", &controller).await?;
    let before = (namespace.uid("Job", "hook").await?, namespace.uid("Job", "taken").await?);
    for (name, whose) in [
        ("hook", "it has no annotation releaselifecycle.dev/owner".to_owned()),
        ("taken", format!("annotation releaselifecycle.dev/owner is {}/other", namespace.name)),
    ] {
        namespace.release("shop", &[job(name).hook("pre-install")], json!({})).await?;
        let release = namespace.wait_stalled("shop", &controller).await?;
        let text = message(&release);
        assert!(text.contains(&format!("Job/{name} failed: HookNameTaken: ")), "{text}");
        assert!(text.contains(&whose) && text.contains("rename the hook"), "{text}");
    }
    let after = (namespace.uid("Job", "hook").await?, namespace.uid("Job", "taken").await?);
    assert_eq!(before, after);
    namespace.release("shop", &[job("free").hook("pre-install")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

#[tokio::test]
async fn a_leftover_that_a_finalizer_holds_is_waited_for_and_named() -> Result<()> {
    let namespace = Namespace::new(kwok(), "finalizer").await?;
    let controller = namespace.controller()?;
    let objects = |release: &str, value: &str| {
        [
            config_map(release, value),
            job(&format!("{release}-hook"))
                .hook("pre-install,pre-upgrade")
                .set("/metadata/finalizers", json!(["example.com/hold"])),
        ]
    };
    namespace.release("patient", &objects("patient", "1"), json!({})).await?;
    namespace.release("hasty", &objects("hasty", "1"), json!({"timeout": "2s"})).await?;
    namespace.wait_ready("patient", &controller).await?;
    namespace.wait_ready("hasty", &controller).await?;
    namespace.release("patient", &objects("patient", "2"), json!({})).await?;
    namespace.release("hasty", &objects("hasty", "2"), json!({"timeout": "2s"})).await?;

    let held = "it is being deleted and held by finalizer example.com/hold";
    namespace
        .wait("patient", &controller, "waiting for the leftover", |release| {
            let text = message(release);
            text.contains("an older Job/patient-hook is not gone yet: ") && text.contains(held)
        })
        .await?;
    let release = namespace.wait_stalled("hasty", &controller).await?;
    let text = message(&release);
    assert!(
        text.contains(
            "LeftoverNotGone: an older Job/hasty-hook was not gone within 2 s (spec.timeout)"
        ),
        "{text}"
    );
    assert!(text.contains(held), "{text}");

    let free = r#"[{"op": "remove", "path": "/metadata/finalizers"}]"#;
    namespace.kubectl(&["patch", "job", "patient-hook", "--type=json", "-p", free])?;
    let release = namespace.wait_ready("patient", &controller).await?;
    assert_eq!(release.status.unwrap().revision, Some(2));
    Ok(())
}
