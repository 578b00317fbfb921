use std::path::Path;

use anyhow::Result;
use e2e::kwok;

/// In a dry run, so that no other test meets them.
#[test]
fn the_api_server_takes_every_example() -> Result<()> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo");
    let apply = |file: &str, how: &str| {
        let path = demo.join(file);
        kwok().kubectl(["apply", "--server-side", how, "--filename", &path.to_string_lossy()])
    };
    apply("tenant.yaml", "--dry-run=none")?;
    for file in ["install.yaml", "upgrade.yaml"] {
        let said = apply(file, "--dry-run=server")?;
        assert!(said.contains("releaselifecycle.releaselifecycle.dev/shop"), "{file}: {said}");
    }
    Ok(())
}
