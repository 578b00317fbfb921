//! `diff`: the changes are those that the operator then makes.

use anyhow::Result;
use e2e::{
    Chart, Namespace, kwok,
    manifests::{Manifest, config_map, job},
};
use serde_json::{Value, json};

use super::Cli;

fn secret(value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"},
           "stringData": {"password": value}})
}

fn release(objects: &[Value]) -> Value {
    json!({
        "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
        "metadata": {"name": "shop"},
        "spec": {"serviceAccountName": "deployer", "source": {"objects": objects}},
    })
}

#[tokio::test]
async fn diff_shows_what_an_upgrade_then_changes() -> Result<()> {
    let namespace = Namespace::new(kwok(), "diff").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let hook = job("migrate").hook("pre-upgrade");
    let objects = [config_map("main", "1"), config_map("old", "1"), secret("before"), hook.clone()];
    let file = cli.write("shop.yaml", &release(&objects).to_string())?;
    let file = file.to_string_lossy();
    let end = cli.run(&["diff", "-f", &file])?;
    let expected = "create  Secret/key\ncreate  ConfigMap/main\ncreate  ConfigMap/old\n";
    let place = format!(" in {}", namespace.name);
    assert_eq!(
        (end.code, end.out.replace(&place, "")),
        (Some(1), expected.to_owned()),
        "{}",
        end.err
    );

    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let end = cli.run(&["diff", "shop"])?;
    assert_eq!((end.code, &*end.out), (Some(0), "3 objects stay as they are\n"), "{}", end.err);

    let changed = [config_map("main", "2"), config_map("new", "1"), secret("after"), hook];
    let file = cli.write("shop.yaml", &release(&changed).to_string())?;
    let file = file.to_string_lossy();
    let end = cli.run(&["diff", "-f", &file])?;
    let expected = "\
update  Secret/key
    /data: (hidden) → (hidden)
update  ConfigMap/main
    /data/value: \"1\" → \"2\"
create  ConfigMap/new
delete  ConfigMap/old
";
    assert_eq!(
        (end.code, end.out.replace(&place, "")),
        (Some(1), expected.to_owned()),
        "{}",
        end.err
    );
    let end = cli.run(&["diff", "-f", &file, "-o", "json"])?;
    let value: Value = serde_json::from_str(&end.out)?;
    assert_eq!(value["changes"][1]["fields"][0]["after"], "2", "{value:#}");
    assert_eq!(namespace.kubectl(&["get", "cm", "main", "-o", "jsonpath={.data.value}"])?, "1");

    namespace.release("shop", &changed, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let end = cli.run(&["diff", "-f", &file])?;
    assert_eq!((end.code, &*end.out), (Some(0), "3 objects stay as they are\n"), "{}", end.err);
    Ok(())
}

#[tokio::test]
async fn diff_of_a_chart_and_of_what_the_api_server_refuses() -> Result<()> {
    let namespace = Namespace::new(kwok(), "diff-chart").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: blog}\n\
                    data: {size: \"{{ .Values.size }}\"}\n";
    let chart = Chart::new(&namespace, "blog")?
        .file("values.yaml", "size: 1\n")?
        .file("templates/map.yaml", template)?;
    chart.put(&namespace).await?;
    namespace.release("blog", &[], chart.source()).await?;
    namespace.wait_ready("blog", &controller).await?;
    assert_eq!(cli.run(&["diff", "blog"])?.code, Some(0));
    let folder = chart.folder().to_string_lossy().into_owned();
    let end = cli.run(&["diff", "blog", &folder, "--set", "size=2"])?;
    assert!(end.out.contains("/data/size: \"1\" → \"2\""), "{end:#?}");
    assert_eq!(end.code, Some(1));

    let wrong = config_map("wrong", "1").set("/data/value", json!({"a": 1}));
    let file =
        cli.write("wrong.yaml", &release(&[config_map("good", "1"), wrong.clone()]).to_string())?;
    namespace.apply(&config_map("wrong", "1")).await?;
    let end = cli.run(&["diff", "-f", &file.to_string_lossy()])?;
    assert_eq!(end.code, Some(2), "{end:#?}");
    assert!(end.out.contains("create  ConfigMap/good"), "{end:#?}");
    assert!(end.err.contains("ConfigMap/wrong"), "{end:#?}");

    let jane = Cli::of_user(&namespace, "jane", "get")?;
    let end = jane.run(&["diff", "blog", &folder])?;
    assert!(end.code == Some(2) && end.err.contains("cannot get resource"), "{end:#?}");
    Ok(())
}
