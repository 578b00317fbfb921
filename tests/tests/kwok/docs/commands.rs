use anyhow::{Context, Result};
use e2e::{
    Controller, Namespace,
    documentation::{Page, pages},
    kwok,
    manifests::{self, Manifest},
    root,
};

/// Runs a page whose release is in `namespace`, which the page itself makes.
fn run(page: &str, namespace: &str) -> Result<String> {
    let args = ["--lease-namespace", "default"];
    let _controller = Controller::start(kwok().kubeconfig(), namespace, &args)?;
    Page::of_docs(page)?.run(kwok())
}

#[tokio::test]
async fn the_commands_about_sources_do_what_they_say() -> Result<()> {
    let said = run("sources.md", "sources")?;
    assert!(said.contains("secret/web") && said.contains("configmap/web"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_commands_about_charts_do_what_they_say() -> Result<()> {
    let said = run("charts.md", "charts")?;
    for line in [
        "1  pre-upgrade  Job/shop-migration",
        "# Source: shop/templates/shop.yaml",
        "  greeting: moin\n  revision: \"1\"",
        "shop says moin, revision 1.",
        "greeting: servus",
    ] {
        assert!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_commands_about_rules_do_what_they_say() -> Result<()> {
    let said = run("rules.md", "rules")?;
    let shown = Page::of_docs("rules.md")?;
    let shown = shown.blocks().iter().find(|block| block.language == "text").context("a plan")?;
    for line in shown.text.lines() {
        assert!(said.contains(line.trim()), "{line:?} is not in:\n{said}");
    }
    assert!(said.contains("- post-install  Job/notify"), "{said}");
    assert!(said.contains("skipped, by spec.hooks.rules[1]"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_commands_about_pre_flight_do_what_they_say() -> Result<()> {
    let said = run("preflight.md", "preflight")?;
    let page = Page::of_docs("preflight.md")?;
    let shown = page.blocks().iter().filter(|block| block.language == "text");
    let lines: Vec<_> = shown.flat_map(|block| block.text.lines()).collect();
    assert!(lines.len() >= 4, "{lines:?}");
    for line in lines {
        assert!(said.lines().any(|it| it == line), "{line:?} is not in:\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_commands_about_health_checks_do_what_they_say() -> Result<()> {
    let said = run("health.md", "health")?;
    assert!(said.contains("spec.hooks.rules[0]: until it is ready"), "{said}");
    assert!(said.contains("releaselifecycle.releaselifecycle.dev/shop condition met"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_commands_about_tests_do_what_they_say() -> Result<()> {
    let said = run("tests.md", "tested")?;
    assert!(said.contains("revision 1: \nrevision 1: \n"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_commands_about_approvals_do_what_they_say() -> Result<()> {
    let said = run("approval.md", "approval")?;
    let shown = Page::of_docs("approval.md")?;
    let shown = shown.blocks().iter().find(|block| block.language == "text").context("a plan")?;
    for line in shown.text.lines() {
        assert_eq!(said.matches(line.trim()).count(), 2, "{line:?} is not twice in:\n{said}");
    }
    assert!(said.contains("approved by "), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_commands_about_identities_do_what_they_say() -> Result<()> {
    let said = run("security.md", "team-a")?;
    assert!(said.contains("--clusterrole=releaselifecycle-deployer"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_commands_about_gitops_do_what_they_say() -> Result<()> {
    let said = run("gitops.md", "gitops")?;
    assert!(said.contains("configmap/argocd-cm serverside-applied"), "{said}");
    let health = ["-n", "argocd", "get", "configmap", "argocd-cm", "-o", "jsonpath={.data}"];
    assert!(kwok().kubectl(health)?.contains("Degraded"));
    Ok(())
}

#[tokio::test]
async fn the_commands_about_helm_do_what_they_say() -> Result<()> {
    let said = run("helm.md", "from-helm")?;
    for line in
        ["nothing would run: revision 1 of shop is the same", "greeting: hello", "greeting: servus"]
    {
        assert!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    // Helm's own, those of the operator, and Helm's again.
    let history = said.split("greeting: servus").next().unwrap_or_default();
    let last = history.rsplit("REVISION").next().unwrap_or_default();
    let states: Vec<_> = last.lines().skip(1).filter(|line| !line.is_empty()).collect();
    assert_eq!(states.len(), 4, "{said}");
    assert!(states[3].contains("deployed"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_other_pages_have_commands_that_work() -> Result<()> {
    let elsewhere = [
        "quickstart.md",
        "sources.md",
        "rules.md",
        "preflight.md",
        "health.md",
        "tests.md",
        "approval.md",
        "charts.md",
        "security.md",
        "gitops.md",
        "helm.md",
    ];
    for path in pages()? {
        let name = path.file_name().unwrap_or_default();
        if !elsewhere.iter().any(|page| name == *page) {
            Page::read(&path)?.run(kwok())?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_readme_has_commands_that_work() -> Result<()> {
    let namespace = Namespace::new(kwok(), "readme").await?;
    let _controller = namespace.controller()?;
    let manifest = manifests::job("migration").hook("pre-install").to_string();
    let before = format!(
        "kubectl config set-context --current --namespace={name}
         kubectl create serviceaccount shop-deployer
         kubectl create rolebinding shop-deployer --clusterrole=releaselifecycle-deployer \\
             --serviceaccount={name}:shop-deployer
         mkdir manifests
         cat > manifests/migration.json <<'END-OF-FILE'\n{manifest}\nEND-OF-FILE\n",
        name = namespace.name
    );
    let said = Page::read(&root().join("README.md"))?.run_after(kwok(), &before)?;
    assert!(said.contains("install of revision 1 succeeded after"), "{said}");
    Ok(())
}

#[tokio::test]
async fn the_api_server_takes_every_yaml_block() -> Result<()> {
    let namespace = Namespace::new(kwok(), "pages").await?;
    for path in pages()?.into_iter().chain([root().join("README.md")]) {
        Page::read(&path)?.check_yaml(kwok(), &namespace.name)?;
    }
    Ok(())
}
