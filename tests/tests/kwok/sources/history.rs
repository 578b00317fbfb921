use anyhow::Result;
use e2e::{Namespace, helm, kwok, manifests::config_map};
use serde_json::{Value, json};

fn revisions(namespace: &Namespace) -> Result<Vec<Value>> {
    let history = helm::json(namespace, "helm", &["history", "shop", "--max", "100"])?;
    Ok(history.as_array().into_iter().flatten().map(|it| it["revision"].clone()).collect())
}

#[tokio::test]
async fn the_oldest_records_go_but_for_the_pinned_one() -> Result<()> {
    let namespace = Namespace::new(kwok(), "history").await?;
    let controller = namespace.controller()?;
    for version in 1..=4 {
        let objects = [config_map("a", &version.to_string())];
        namespace.release("shop", &objects, json!({"maxHistory": 2})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    // It is Ready before the last of them have gone.
    namespace.wait_gone("Secret", "sh.helm.release.v1.shop.v2").await?;
    assert_eq!(revisions(&namespace)?, [3, 4]);

    let objects = [config_map("a", "4")];
    let pinned = json!({"maxHistory": 1, "pinRevision": 3});
    namespace.release("shop", &objects, pinned).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.wait_gone("Secret", "sh.helm.release.v1.shop.v4").await?;
    assert_eq!(revisions(&namespace)?, [3, 5], "5 is the copy of 3");
    Ok(())
}

#[tokio::test]
async fn ten_are_kept_by_default_and_all_where_that_is_asked_for() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ten").await?;
    let controller = namespace.controller()?;
    let upgrade = async |version: i32, more: Value| {
        let objects = [config_map("a", &version.to_string())];
        namespace.release("shop", &objects, more).await?;
        namespace.wait_ready("shop", &controller).await
    };
    for version in 1..=11 {
        upgrade(version, json!({"maxHistory": 0})).await?;
    }
    assert_eq!(revisions(&namespace)?.len(), 11);
    upgrade(12, json!({})).await?;
    namespace.wait_gone("Secret", "sh.helm.release.v1.shop.v2").await?;
    assert_eq!(revisions(&namespace)?, (3..=12).collect::<Vec<_>>());
    Ok(())
}
