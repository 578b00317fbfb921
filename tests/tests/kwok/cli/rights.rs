use anyhow::{Context, Result};
use e2e::{Namespace, kwok, manifests::config_map};
use kube::config::Kubeconfig;
use serde_json::json;

use super::Cli;

#[tokio::test]
async fn who_may_not_read_secrets_is_told_what_needs_them() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-reader").await?;
    let controller = namespace.controller()?;
    for value in ["1", "2"] {
        namespace.release("shop", &[config_map("main", value)], json!({})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    let cli = Cli::of_user(&namespace, "reader", "get,list,watch,patch")?;
    cli.good(&["status", "shop"])?;
    cli.good(&["plan", "shop"])?;
    let said = cli.bad(2, &["history", "shop"])?;
    assert!(said.contains("you may not list Secrets in namespace"), "{said}");
    assert!(said.contains("revision 2 is deployed"), "{said}");
    let said = cli.bad(2, &["rollback", "shop"])?;
    assert!(said.contains("name the REVISION"), "{said}");
    // With a revision it needs nobody's Secrets: the controller looks it up.
    cli.good(&["rollback", "shop", "1", "--wait", "--timeout", "90s"])?;
    let end = cli.run(&["rollback", "shop", "9", "--wait", "--timeout", "90s"])?;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.out.contains("RevisionNotFound"), "{end:?}");
    Ok(())
}

#[tokio::test]
async fn who_may_do_nothing_is_told_which_right_is_missing() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-nobody").await?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    let nobody = Cli::of_user(&namespace, "nobody", "")?;
    for args in
        [&["status", "shop"][..], &["plan", "shop"], &["history", "shop"], &["test", "shop"]]
    {
        let said = nobody.bad(2, args)?;
        assert!(said.contains("cannot get resource \"releaselifecycles\""), "{args:?}: {said}");
        assert!(said.contains("ask for a role with the verbs get"), "{args:?}: {said}");
    }
    let reader = Cli::of_user(&namespace, "looks-on", "get,list,watch")?;
    let said = reader.bad(2, &["suspend", "shop"])?;
    assert!(said.contains("ask for a role with the verbs get and patch"), "{said}");
    assert!(!said.contains("suspended"), "it was not: {said}");
    Ok(())
}

/// An API server answers so for a place that it does not know.
#[tokio::test]
async fn where_the_definition_is_missing_the_command_that_is_recommended_works() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-no-crd").await?;
    let mut cli = Cli::new(&namespace)?;
    let mut kubeconfig = Kubeconfig::read_from(&cli.kubeconfig)?;
    for named in &mut kubeconfig.clusters {
        let cluster = named.cluster.as_mut().context("a cluster")?;
        let server = cluster.server.as_mut().context("its address")?;
        server.push_str("/no-such-place");
    }
    cli.kubeconfig = cli.write("kubeconfig", &serde_json::to_string(&kubeconfig)?)?;
    let said = cli.bad(2, &["status", "shop"])?;
    assert!(said.contains("the cluster does not know ReleaseLifecycles"), "{said}");
    let command = said.split('`').find_map(|part| part.strip_prefix("kubectl apply "));
    let folder = e2e::root().join("crds").to_string_lossy().into_owned();
    let words = command.with_context(|| format!("a command: {said}"))?.split_whitespace();
    let words: Vec<_> = words.map(|word| if word == "crds" { &*folder } else { word }).collect();
    assert!(words.contains(&&*folder), "{words:?}");
    namespace.kubectl(&[&["apply"], &*words].concat())?;
    Ok(())
}
