use anyhow::Result;
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job, pod},
};
use serde_json::{Value, json};

use super::Cli;

fn objects(value: &str) -> Vec<Value> {
    vec![
        config_map("main", value),
        job("backup").hook("pre-upgrade,pre-rollback").weight("-5"),
        job("migrate").hook("pre-install,pre-upgrade"),
        pod("smoke").hook("test"),
    ]
}

/// `event status` of each revision.
fn history(cli: &Cli<'_>) -> Result<Vec<String>> {
    let rows = cli.json(&["history", "shop"])?;
    let text = |it: &Value, key: &str| it[key].as_str().unwrap_or_default().to_owned();
    let row = |it: &Value| format!("{} {}", text(it, "event"), text(it, "status"));
    Ok(rows.as_array().into_iter().flatten().map(row).collect())
}

#[tokio::test]
async fn a_release_is_made_followed_rolled_back_tested_and_suspended() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli").await?;
    let _controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let watch = ["status", "shop", "--watch", "--timeout", "90s"];
    for value in ["1", "2"] {
        let folder = cli.manifests("shop", &objects(value))?;
        cli.create("shop", &folder, &["--timeout", "1m30s"])?;
        let lines = cli.good(&watch)?;
        let event = if value == "1" { "install" } else { "upgrade" };
        assert!(lines.contains(&format!("{event} of revision {value} succeeded")), "{lines}");
    }
    assert_eq!(history(&cli)?, ["install superseded", "upgrade deployed"]);
    let table = cli.good(&["history", "shop"])?;
    assert!(table.starts_with("REVISION  UPDATED"), "{table}");

    // Read from the cluster, and it is what ran.
    let plan = cli.json(&["plan", "shop", "--event", "upgrade"])?;
    let steps = plan["events"][0]["steps"].as_array().cloned().unwrap_or_default();
    let names: Vec<_> = steps.iter().map(|step| step["name"].as_str().unwrap_or("-")).collect();
    assert_eq!(names, ["backup", "migrate", "-", "-", "-"], "{plan}");
    assert_eq!(steps[0]["timeout"], "1m30s");
    assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate", "jobs/backup", "jobs/migrate"]);

    let said = cli.good(&["rollback", "shop", "--wait", "--timeout", "90s"])?;
    assert!(said.contains("is rolled back to revision 1 and held there"), "{said}");
    assert!(said.contains("rollback of revision 3 succeeded"), "{said}");
    let rows = cli.json(&["history", "shop"])?;
    assert_eq!((&rows[2]["event"], &rows[2]["target"]), (&json!("rollback"), &json!(1)), "{rows}");
    let again = cli.good(&["rollback", "shop", "1"])?;
    assert!(again.contains("spec.pinRevision is 1 already"), "{again}");
    cli.good(&["rollback", "shop", "--undo", "--wait", "--timeout", "90s"])?;
    let again = cli.good(&["rollback", "shop", "--undo", "--wait", "--timeout", "90s"])?;
    assert!(again.contains("is not held at a revision"), "{again}");
    let all =
        ["install superseded", "upgrade superseded", "rollback superseded", "upgrade deployed"];
    assert_eq!(history(&cli)?, all);

    let said = cli.good(&["test", "shop", "--wait", "--timeout", "90s"])?;
    assert!(said.contains("hook Pod/smoke (test) succeeded"), "{said}");

    let dry = cli.good(&["suspend", "shop", "--dry-run"])?;
    assert!(dry.contains("nothing was changed"), "{dry}");
    cli.good(&["suspend", "shop"])?;
    assert!(cli.good(&["suspend", "shop"])?.contains("is suspended already"), "the dry run did it");
    let folder = cli.manifests("shop", &objects("3"))?;
    // `kubectl apply` has never had the field, and leaves it alone.
    cli.create("shop", &folder, &["--timeout", "1m30s"])?;
    let end = cli.run(&watch)?;
    assert_eq!(end.code, Some(1), "nothing begins before it is resumed: {end:?}");
    let said = cli.good(&["resume", "shop", "--wait", "--timeout", "90s"])?;
    assert!(said.contains("upgrade of revision 5 succeeded"), "{said}");
    Ok(())
}

#[tokio::test]
async fn what_status_shows_is_the_same_in_each_form() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-forms").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &objects("1"), json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let cli = Cli::new(&namespace)?;
    let json = cli.json(&["status", "shop"])?;
    let yaml = cli.good(&["status", "shop", "-o", "yaml"])?;
    let yaml = helm::manifest::parse(&yaml)?;
    assert_eq!(yaml, std::slice::from_ref(&json));
    assert_eq!(json["status"]["revision"], 1);
    // kubectl asks for names and flags in this way.
    let words = ["__complete", "--", "retry", "--namespace", &namespace.name, "sh"];
    assert_eq!(cli.good(&words)?, "shop\n:4\n");
    Ok(())
}
