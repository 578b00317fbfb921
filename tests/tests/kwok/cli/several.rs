//! `status --watch` of several releases.

use anyhow::Result;
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
};
use serde_json::json;

use super::{Cli, End};

#[tokio::test]
async fn several_releases_are_followed_until_each_is_settled() -> Result<()> {
    let namespace = Namespace::new(kwok(), "several").await?;
    let cli = Cli::new(&namespace)?;
    for name in ["blog", "shop"] {
        let hook = job(&format!("{name}-migrate")).hook("pre-install");
        namespace.release(name, &[hook, config_map(name, "1")], json!({})).await?;
    }
    let watching = cli.start(&["status", "--watch", "--timeout", "5m"])?;
    let controller = namespace.controller()?;
    let end = End::of(watching)?;
    assert_eq!(end.code, Some(0), "{end:#?}");
    for name in ["blog", "shop"] {
        let title = format!("{}/{name}", namespace.name);
        let ended = |line: &str| line.contains(&title) && line.contains("succeeded");
        assert!(end.out.lines().any(ended), "{end:#?}");
    }

    let failing = job("bad").hook("pre-install").fails();
    namespace.release("wiki", &[failing, config_map("wiki", "1")], json!({})).await?;
    namespace.wait_stalled("wiki", &controller).await?;
    let end = cli.run(&["status", "--watch", "-o", "json"])?;
    assert_eq!(end.code, Some(1), "one has failed: {end:#?}");
    assert_eq!(end.out.lines().count(), 3, "{end:#?}");
    Ok(())
}
