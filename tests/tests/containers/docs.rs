//! The quickstart, word by word.

use anyhow::Result;
use e2e::{Controller, containers, documentation::Page};

#[tokio::test]
async fn the_quickstart_does_what_it_says() -> Result<()> {
    let Some(cluster) = containers() else { return Ok(()) };
    // The page itself makes its namespace, so the lease is elsewhere.
    let args = ["--single-tenant", "--lease-namespace", "default"];
    let _controller = Controller::start(cluster.kubeconfig(), "notes", &args)?;
    let said = Page::of_docs("quickstart.md")?.run(cluster)?;
    // With --nocapture: what the page shows is taken from here.
    eprintln!("{said}");
    for line in [
        "install of revision 1 succeeded with 1 hook",
        "exit code 1",
        "container schema ended with exit code 3",
        "revision 4 is deployed: spec.pinRevision is 1",
        "releaselifecycle.releaselifecycle.dev \"notes\" deleted",
        "No resources found in notes namespace.",
    ] {
        assert!(said.contains(line), "{line:?} is not in:\n{said}");
    }
    Ok(())
}
