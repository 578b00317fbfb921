use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use e2e::kwok;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut paths: Vec<_> =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// In a dry run but for the tenants, so that no other test meets them.
#[test]
fn the_api_server_takes_every_example() -> Result<()> {
    let apply = |path: &Path, how: &str| {
        kwok().kubectl(["apply", "--server-side", how, "--filename", &path.to_string_lossy()])
    };
    let mut releases = 0;
    for folder in children(&examples())? {
        let tenant = folder.join("tenant.yaml");
        apply(&tenant, "--dry-run=none")?;
        let is_manifest = |path: &PathBuf| path.extension().is_some_and(|it| it == "yaml");
        for file in children(&folder)?.into_iter().filter(is_manifest).filter(|it| *it != tenant) {
            let said = apply(&file, "--dry-run=server")?;
            releases += said.matches("releaselifecycle.releaselifecycle.dev/").count();
        }
    }
    assert!(releases >= 7, "{releases} releases only");
    Ok(())
}

/// The guide's table names a test for each row.
#[test]
fn every_test_that_the_guide_names_is_there() -> Result<()> {
    let text = fs::read_to_string(examples().join("guide/README.md"))?;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/containers/guide");
    let mut named = 0;
    for test in text.split('`').filter_map(|word| word.strip_prefix("guide::")) {
        let (module, name) = test.split_once("::").context("a module and a test")?;
        let source = fs::read_to_string(tests.join(format!("{module}.rs")))?;
        ensure!(source.contains(&format!("async fn {name}()")), "there is no test {test}");
        named += 1;
    }
    assert!(named > 0, "no test is named");
    Ok(())
}
