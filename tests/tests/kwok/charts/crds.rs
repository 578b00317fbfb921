//! The folder `crds/` of a chart.

use anyhow::{Result, ensure};
use e2e::{Chart, Namespace, chart_source, kwok, message, reason};
use serde_json::json;

use super::config_map;

/// A definition of the kind Table in a group of the namespace's own.
fn definition(group: &str, served: &str) -> String {
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
         metadata:\n  name: tables.{group}\nspec:\n  group: {group}\n  scope: Namespaced\n  \
         names: {{plural: tables, singular: table, kind: Table}}\n  versions:\n  \
         - name: v1\n    served: {served}\n    storage: true\n    schema:\n      \
         openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}\n"
    )
}

/// Lets the namespace's deployer do so; the role for tenants has no right beyond a namespace,
/// nor on these tables.
fn bind(namespace: &Namespace, role: &str) -> Result<()> {
    let subject = format!("--serviceaccount={}:deployer", namespace.name);
    let role = format!("--clusterrole={role}");
    namespace.kubectl(&["create", "clusterrolebinding", &namespace.name, &role, &subject])?;
    Ok(())
}

#[tokio::test]
async fn what_a_chart_has_in_crds_is_made_before_its_hooks_and_left_alone_after() -> Result<()> {
    let namespace = Namespace::new(kwok(), "chart-crds").await?;
    bind(&namespace, "cluster-admin")?;
    let controller = namespace.controller()?;
    let group = format!("{}.example.com", namespace.name);
    let crd = |served: &str| definition(&group, served);
    let table = format!(
        "{{{{ if .Capabilities.APIVersions.Has \"{group}/v1/Table\" }}}}\n\
                         apiVersion: {group}/v1\nkind: Table\nmetadata:\n  name: orders\n\
                         {{{{ end }}}}\n"
    );
    let hook = format!(
        "apiVersion: {group}/v1\nkind: Table\nmetadata:\n  name: hooked\n  \
                        annotations: {{helm.sh/hook: pre-install}}\n"
    );
    let chart = Chart::new(&namespace, "shop")?
        .file("crds/table.yaml", &crd("true"))?
        .file("templates/table.yaml", &table)?
        .file("templates/hook.yaml", &hook)?;
    chart.put(&namespace).await?;
    namespace.release("shop", &[], chart.source()).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 1 succeeded with 2 hooks");
    let tables = ["get", &format!("tables.{group}"), "-o", "name"];
    assert_eq!(namespace.kubectl(&tables)?.lines().count(), 2);

    // Helm never changes one that exists.
    let chart = chart
        .file("crds/table.yaml", &crd("false"))?
        .file("templates/a.yaml", &config_map("a", "a: b"))?;
    chart.put(&namespace).await?;
    let release = namespace.wait("shop", &controller, "upgraded", |release| {
        message(release) == "upgrade of revision 2 succeeded with 0 hooks"
    });
    release.await?;
    namespace.kubectl(&["delete", "rl", "shop"])?;
    let path = "jsonpath={.spec.versions[0].served}";
    let name = format!("tables.{group}");
    assert_eq!(namespace.kubectl(&["get", "crd", &name, "-o", path])?, "true");
    namespace.kubectl(&["delete", "crd", &name])?;
    namespace.kubectl(&["delete", "clusterrolebinding", &namespace.name])?;
    Ok(())
}

#[tokio::test]
async fn an_upgrade_makes_none_and_runs_no_hook_for_what_must_fail() -> Result<()> {
    let namespace = Namespace::new(kwok(), "crds-later").await?;
    bind(&namespace, "cluster-admin")?;
    let controller = namespace.controller()?;
    let group = format!("{}.example.com", namespace.name);
    let chart = Chart::new(&namespace, "shop")?
        .file("templates/a.yaml", &config_map("a", "a: b"))?
        .file("templates/hook.yaml", super::HOOK)?;
    chart.put(&namespace).await?;
    namespace.release("shop", &[], chart.source()).await?;
    namespace.wait_ready("shop", &controller).await?;
    let table = format!("apiVersion: {group}/v1\nkind: Table\nmetadata: {{name: orders}}\n");
    let chart = chart
        .file("crds/table.yaml", &definition(&group, "true"))?
        .file("templates/table.yaml", &table)?;
    chart.put(&namespace).await?;
    let stalled = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&stalled), "UnknownKind");
    ensure!(message(&stalled).contains("spec.upgrade.crds is Skip"), "{}", message(&stalled));
    assert_eq!(namespace.uid("Job", "shop-hook-2").await?, None);
    namespace.kubectl(&["delete", "clusterrolebinding", &namespace.name])?;
    Ok(())
}

/// One of these versions, the first of which is stored, with a column of this name.
fn versions(group: &str, names: &[&str], column: &str) -> String {
    let version = |name: &&str| {
        format!(
            "  - name: {name}\n    served: true\n    storage: {}\n    additionalPrinterColumns: \
             [{{name: {column}, type: string, jsonPath: .x}}]\n    schema:\n      openAPIV3Schema: \
             {{type: object, x-kubernetes-preserve-unknown-fields: true}}\n",
            names.first() == Some(name),
        )
    };
    let versions: String = names.iter().map(version).collect();
    format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  \
         name: tables.{group}\nspec:\n  group: {group}\n  scope: Namespaced\n  names: {{plural: \
         tables, singular: table, kind: Table}}\n  versions:\n{versions}"
    )
}

#[tokio::test]
async fn an_upgrade_makes_and_replaces_them_where_it_is_told_to() -> Result<()> {
    let namespace = Namespace::new(kwok(), "crds-replace").await?;
    bind(&namespace, "cluster-admin")?;
    let controller = namespace.controller()?;
    let group = format!("{}.example.com", namespace.name);
    let chart = Chart::new(&namespace, "shop")?
        .file("crds/table.yaml", &versions(&group, &["v1"], "one"))?
        .file("templates/a.yaml", &config_map("a", "a: b"))?;
    chart.put(&namespace).await?;
    let spec = |install: &str, upgrade: &str| {
        let crds = json!({"install": {"crds": install}, "upgrade": {"crds": upgrade}});
        super::merged(chart_source("shop"), crds)
    };
    namespace.release("shop", &[], spec("Skip", "Skip")).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 1 succeeded with 0 hooks");

    // By a POST, so that its fields are not those of who applies.
    let table = |version: &str| {
        format!("apiVersion: {group}/{version}\nkind: Table\nmetadata: {{name: orders}}\n")
    };
    let chart = chart.file("templates/table.yaml", &table("v1"))?;
    namespace.release("shop", &[], spec("Skip", "Create")).await?;
    chart.put(&namespace).await?;
    namespace
        .wait("shop", &controller, "upgraded", |release| {
            message(release) == "upgrade of revision 2 succeeded with 1 hook"
        })
        .await?;
    let name = format!("tables.{group}");
    // Somebody else's hand in it is no obstacle to a replacement.
    let patch = r#"[{"op": "replace", "path": "/spec/versions/0/additionalPrinterColumns/0/name", "value": "theirs"}]"#;
    namespace.kubectl(&["patch", "crd", &name, "--type=json", "-p", patch])?;

    let chart = chart
        .file("crds/table.yaml", &versions(&group, &["v1", "v2"], "two"))?
        .file("templates/table.yaml", &table("v2"))?;
    namespace.release("shop", &[], spec("Skip", "CreateReplace")).await?;
    chart.put(&namespace).await?;
    namespace
        .wait("shop", &controller, "upgraded", |release| {
            message(release) == "upgrade of revision 3 succeeded with 1 hook"
        })
        .await?;
    let columns = "jsonpath={.spec.versions[*].additionalPrinterColumns[*].name}";
    assert_eq!(namespace.kubectl(&["get", "crd", &name, "-o", columns])?, "two two");
    namespace.kubectl(&["delete", "rl", "shop"])?;
    assert_eq!(namespace.kubectl(&["get", "crd", &name, "-o", columns])?, "two two", "it stays");
    namespace.kubectl(&["delete", "crd", &name])?;
    namespace.kubectl(&["delete", "clusterrolebinding", &namespace.name])?;
    Ok(())
}

#[tokio::test]
async fn one_that_is_there_needs_no_right_to_be_made() -> Result<()> {
    let namespace = Namespace::new(kwok(), "crds-there").await?;
    let controller = namespace.controller()?;
    let group = format!("{}.example.com", namespace.name);
    let chart = Chart::new(&namespace, "shop")?
        .file("crds/table.yaml", &definition(&group, "true"))?
        .file("templates/a.yaml", &config_map("a", "a: b"))?;
    chart.put(&namespace).await?;
    namespace.release("shop", &[], chart.source()).await?;
    let stalled = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&stalled), "Forbidden");
    let path = chart.folder().join("crds/table.yaml");
    namespace.kubectl(&["create", "-f", &path.to_string_lossy()])?;
    let reader = ["create", "clusterrole", &namespace.name, "--verb=get"];
    let what = "--resource=customresourcedefinitions.apiextensions.k8s.io";
    namespace.kubectl(&[&reader[..], &[what]].concat())?;
    bind(&namespace, &namespace.name)?;
    // To be replaced it would.
    let replaced = super::merged(chart.source(), json!({"install": {"crds": "CreateReplace"}}));
    namespace.release("shop", &[], replaced).await?;
    namespace
        .wait("shop", &controller, "told which rights are missing", |release| {
            message(release).contains("may not create, patch customresourcedefinitions")
        })
        .await?;
    let created = super::merged(chart.source(), json!({"install": {"crds": "Create"}}));
    namespace.release("shop", &[], created).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(message(&release), "install of revision 1 succeeded with 0 hooks");
    for kind in ["clusterrolebinding", "clusterrole"] {
        namespace.kubectl(&["delete", kind, &namespace.name])?;
    }
    namespace.kubectl(&["delete", "crd", &format!("tables.{group}")])?;
    Ok(())
}
