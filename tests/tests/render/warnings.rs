//! Remarks that Helm drops or says in passing are warnings of the engine.

use anyhow::{Context, Result};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::target;
use serde_json::json;
use testkit::programs;

use crate::{
    charts,
    engine::{Access, Engine},
    package,
    rendered::Rendered,
};

#[tokio::test]
async fn dropped_hooks_and_deprecated_charts_are_named() -> Result<()> {
    programs::build("dev")?;
    let hooks = warnings("hooks").await?;
    let expected = [
        ("before-install", "ConfigMap/shop-unknown "),
        ("crd-install", "ConfigMap/shop-one-unknown "),
        ("\"\"", "ConfigMap/shop-empty-word "),
        ("\"\"", "ConfigMap/shop-no-word "),
    ];
    for (word, object) in expected {
        let named = hooks
            .iter()
            .find(|it| it.contains(object))
            .with_context(|| format!("no warning names {object}: {hooks:#?}"))?;
        assert!(named.contains("hooks/templates/dropped.yaml"), "{named}");
        assert!(named.contains(word), "{named}");
    }
    assert_eq!(hooks.len(), expected.len(), "{hooks:#?}");

    let notes = warnings("notes").await?;
    assert!(matches!(&notes[..], [only] if only.contains("deprecated")), "{notes:#?}");
    assert!(warnings("release").await?.is_empty());
    Ok(())
}

/// Returns what is warned of in a chart of `tests/charts`.
async fn warnings(chart: &str) -> Result<Vec<String>> {
    let dir = target().join("tmp/packages/warnings");
    std::fs::create_dir_all(&dir)?;
    let archive = package::archive(&charts::folder().join(chart), &dir)?;
    let request = json!({
        "chart": BASE64_STANDARD.encode(archive), "path": chart, "values": [], "cluster": false,
        "addCRDs": false,
        "release": {"name": "shop", "namespace": "shop", "revision": 1, "upgrade": false},
    });
    let answer = Engine::start(Access::Nothing)?.render(request, None).await?;
    Ok(Rendered::from_engine(&answer)?.warnings)
}
