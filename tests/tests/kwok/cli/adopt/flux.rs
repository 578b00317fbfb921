//! `adopt --from-flux`: what is written for a `HelmRelease` takes its release over, and nothing runs.

use anyhow::Result;
use e2e::{
    Chart, Namespace, helm, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use serde_json::json;

use super::{Cli, done, fetcher, repository, wait_in_sync};
use crate::flux;

// The site answers while the program is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_helm_release_is_converted_and_its_release_taken_over() -> Result<()> {
    let namespace = Namespace::new(kwok(), "adopt-flux").await?;
    let group = "helm.toolkit.fluxcd.io";
    flux::install(&[
        flux::crd("HelmRelease", "helmreleases", group, "v2"),
        flux::crd("HelmRepository", "helmrepositories", "source.toolkit.fluxcd.io", "v1"),
    ])?;
    let chart = Chart::new(&namespace, "shop")?
        .file("templates/main.yaml", &config_map("main", "{{ .Values.a }}").to_string())?
        .file("templates/hook.yaml", &job("migrate").hook("pre-upgrade").to_string())?;
    let site = repository(&namespace, chart.folder(), &["1.0.0"]).await?;
    let folder = chart.folder().to_string_lossy().into_owned();
    helm::run(&namespace, "helm", &["install", "shop", &folder, "--set-string", "a=1"])?;
    let charts = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository",
        "metadata": {"name": "charts", "namespace": namespace.name},
        "spec": {"url": site.url(), "interval": "1h"},
    });
    kwok().apply(&charts.to_string())?;
    let helm_release = json!({
            "apiVersion": format!("{group}/v2"), "kind": "HelmRelease",
            "metadata": {"name": "shop", "namespace": namespace.name},
            "spec": {
                "suspend": true, "interval": "30m", "values": {"a": "1"},
                "chart": {"spec": {"chart": "shop", "version": "1.0.0",
                                   "sourceRef": {"kind": "HelmRepository", "name": "charts"}}},
                "upgrade": {"remediation": {"retries": 2}, "cleanupOnFail": true},
                "driftDetection": {"mode": "warn"},
            },
    });
    kwok().apply(&helm_release.to_string())?;

    let cli = Cli::new(&namespace)?;
    let end = cli.run(&["adopt", "shop", "--from-flux", "--service-account", "deployer"])?;
    assert_eq!(end.code, Some(0), "{end:#?}");
    assert!(end.err.contains("spec.upgrade.cleanupOnFail has no counterpart"), "{}", end.err);
    assert!(end.err.contains("nothing would run if this is chart shop 1.0.0"), "{}", end.err);
    let file = cli.write("adopted.yaml", &end.out)?;
    namespace.kubectl(&["apply", "-f", &file.to_string_lossy()])?;
    let controller = fetcher(&namespace, &cli)?;
    let release = wait_in_sync(&namespace, &controller, 1).await?;
    assert_eq!(reason(&release), "InSync", "{}", message(&release));
    assert_eq!(done(&namespace)?, Vec::<String>::new());

    let missing = cli.run(&["adopt", "nothing", "--from-flux"])?;
    assert_eq!(missing.code, Some(1), "{missing:#?}");
    assert!(missing.err.contains("HelmRelease nothing does not exist"), "{}", missing.err);
    Ok(())
}
