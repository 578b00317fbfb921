use anyhow::Result;
use e2e::{Namespace, kwok};
use serde_json::{Value, json};

fn config_map(name: &str, data: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
           "data": {"value": data}})
}

#[tokio::test]
async fn an_install_and_an_upgrade_without_hooks() -> Result<()> {
    let namespace = Namespace::new(kwok(), "plain").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("a", "1"), config_map("b", "1")], json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.unwrap().revision, Some(1));
    namespace.release("shop", &[config_map("a", "2")], json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.unwrap().revision, Some(2));
    assert_eq!(namespace.kubectl(&["get", "cm", "a", "-o", "jsonpath={.data.value}"])?, "2");
    assert!(namespace.kubectl(&["get", "cm", "b"]).is_err(), "b was to be pruned");
    Ok(())
}
