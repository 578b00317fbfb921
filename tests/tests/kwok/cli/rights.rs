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

/// By its user agent the API server's audit log tells each program's requests.
#[tokio::test]
async fn each_program_says_who_it_is_with_every_request() -> Result<()> {
    let namespace = Namespace::new(kwok(), "agents").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let user = format!("{}-anna", namespace.name);
    let cli = Cli::of_user(&namespace, &user, "get,list,watch,patch")?;
    for args in [&["status", "shop"][..], &["test", "shop"]] {
        let end = cli.run(args)?;
        assert_eq!(end.code, Some(0), "{end:?}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let mut counts = [0, 0];
    for event in namespace.audit()? {
        let Some(who) = &event.impersonated else {
            // The controller's own writes.
            if event.subresource.as_deref() == Some("status") && event.verb == "update" {
                let agent = format!("releaselifecycle-controller/{version}");
                assert_eq!(event.user_agent, Some(agent), "{event:?}");
            }
            continue;
        };
        let (program, count) = if *who == user {
            ("kubectl-lifecycle", &mut counts[0])
        } else {
            ("releaselifecycle-controller", &mut counts[1])
        };
        assert_eq!(event.user_agent, Some(format!("{program}/{version}")), "{event:?}");
        *count += 1;
    }
    assert!(counts.iter().all(|count| *count > 1), "{counts:?}");
    Ok(())
}
