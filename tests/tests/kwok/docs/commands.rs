use anyhow::Result;
use e2e::{
    Controller, Namespace,
    documentation::{Page, pages},
    kwok, root,
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
async fn the_commands_about_identities_do_what_they_say() -> Result<()> {
    let said = run("security.md", "team-a")?;
    assert!(said.contains("bind the ClusterRole releaselifecycle-deployer"), "{said}");
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
async fn the_other_pages_have_commands_that_work() -> Result<()> {
    let elsewhere = ["quickstart.md", "sources.md", "security.md", "gitops.md"];
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
    let page = Page::read(&root().join("README.md"))?;
    let mut before = format!("kubectl config set-context --current --namespace={}", namespace.name);
    for block in page.blocks().iter().filter(|block| block.language == "yaml") {
        let text = block.text.replace("namespace: shop", &format!("namespace: {}", namespace.name));
        before.extend([format!("\nkubectl apply -f - <<'END-OF-FILE'\n{text}END-OF-FILE\n")]);
    }
    let said = page.run_after(kwok(), &before)?;
    assert!(said.contains("releaselifecycle.releaselifecycle.dev/shop annotated"), "{said}");
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
