//! A namespace with very many of Helm's records: what it costs to take the releases over, and to
//! start again once they are in sync. `make bench-records`; `RECORDS_RELEASES=100` is a smaller one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    Controller, Namespace, Proxied, condition, kwok,
    manifests::{Manifest, config_map, job},
    reason,
};
use futures::{StreamExt, TryStreamExt, stream};
use helm::{
    manifest::to_yaml,
    secret::{Plans, Written, to_secret},
};

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};
use testkit::{programs, proxy::Request};

/// So many revisions has each release, of which the last is deployed.
const REVISIONS: usize = 10;
/// So many objects are made at a time.
const AT_ONCE: usize = 64;
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_mins(20);
/// Nothing is asked for so long once there is nothing to do.
const QUIET: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// The cost of a start of the controller.
struct Start {
    /// Until it said that it is ready.
    ready: Duration,
    /// Until it had sent its last request.
    quiet: Duration,
    peak_mib: f64,
    requests: BTreeMap<String, usize>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "a benchmark: make bench-records"]
async fn ten_thousand_records_in_one_namespace() -> Result<()> {
    let releases = std::env::var("RECORDS_RELEASES").map_or(Ok(1000), |text| text.parse())?;
    programs::build("dev")?;
    let namespace = Namespace::new(kwok(), "records").await?;
    let proxied = Proxied::new(&namespace).await?;
    fill(&namespace, releases).await?;
    let taken_over = start(&namespace, &proxied, releases).await?;
    let again = start(&namespace, &proxied, releases).await?;

    let mut table = String::from("| | taking over | starting again |\n|---|--:|--:|\n");
    let mut row =
        |what: &str, one: String, other: String| writeln!(table, "| {what} | {one} | {other} |");
    let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
    row("ready after", seconds(taken_over.ready), seconds(again.ready))?;
    row("last request after", seconds(taken_over.quiet), seconds(again.quiet))?;
    let mib = |mib: f64| format!("{mib:.0} MiB");
    row("peak memory", mib(taken_over.peak_mib), mib(again.peak_mib))?;
    let kinds: BTreeSet<_> = taken_over.requests.keys().chain(again.requests.keys()).collect();
    let count = |start: &Start, kind: &str| start.requests.get(kind).copied().unwrap_or_default();
    for kind in kinds {
        row(kind, count(&taken_over, kind).to_string(), count(&again, kind).to_string())?;
    }
    println!(
        "{releases} releases of {REVISIONS} revisions each ({} profile)\n\n{table}",
        Controller::measured().0
    );
    let writes = again.requests.keys().find(|kind| is_write(kind));
    ensure!(writes.is_none(), "what is in sync is written to: {writes:?}");
    Ok(())
}

/// The releases as Helm leaves them, but for their live objects, which nobody looks at here; and the
/// custom resources that ask for the same.
async fn fill(namespace: &Namespace, releases: usize) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(namespace.client.clone(), &namespace.name);
    let all = (0..releases).flat_map(|release| (1..=REVISIONS).map(move |rev| (release, rev)));
    let made = stream::iter(all).map(|(release, revision)| {
        let secrets = secrets.clone();
        async move {
            let record = record(&namespace.name, release, revision)?;
            let secret: Secret = serde_json::from_value(record)?;
            secrets.create(&PostParams::default(), &secret).await?;
            anyhow::Ok(())
        }
    });
    made.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let made = stream::iter(0..releases).map(|release| async move {
        namespace.release(&name(release), &objects(release, REVISIONS), json!({})).await
    });
    made.buffer_unordered(AT_ONCE).try_collect().await
}

fn name(release: usize) -> String {
    format!("release-{release}")
}

fn objects(release: usize, revision: usize) -> [Value; 2] {
    let name = name(release);
    [
        config_map(&name, &revision.to_string()),
        job(&format!("{name}-hook")).hook("pre-install,pre-upgrade"),
    ]
}

fn record(namespace: &str, release: usize, revision: usize) -> Result<Value> {
    let [object, hook] = objects(release, revision);
    let now = Timestamp::now();
    let ran = json!({"started_at": now, "completed_at": now, "phase": "Succeeded"});
    let record = serde_json::from_value(json!({
        "name": name(release),
        "namespace": namespace,
        "version": revision,
        "info": {
            "status": if revision == REVISIONS { "deployed" } else { "superseded" },
            "first_deployed": now, "last_deployed": now, "description": "Upgrade complete",
        },
        "chart": {"metadata": {"apiVersion": "v2", "name": "plain", "version": "1.0.0"}},
        "manifest": format!("---\n# Source: plain/templates/main.yaml\n{}", to_yaml(&object)),
        "hooks": [{
            "name": hook["metadata"]["name"], "kind": "Job",
            "path": "plain/templates/hook.yaml", "manifest": to_yaml(&hook),
            "events": ["pre-install", "pre-upgrade"], "last_run": ran,
        }],
    }))?;
    Ok(to_secret(&record, Written::Created(now), &Plans::new())?)
}

/// A start of the controller, until everything is in sync and nothing is asked any more.
async fn start(namespace: &Namespace, proxied: &Proxied, releases: usize) -> Result<Start> {
    proxied.proxy.reset();
    let begun = Instant::now();
    let zero = Timestamp::now();
    let controller = proxied.launch(&Controller::measured().1)?;
    controller.wait_ready().await?;
    let ready = begun.elapsed();
    let settled = async {
        until_in_sync(namespace, releases).await?;
        until_quiet(proxied).await
    };
    let last = tokio::time::timeout(PATIENCE, settled).await.context("it never came to rest")??;
    let peak_mib = controller.memory_mib("VmHWM")?;
    let mut requests = BTreeMap::new();
    for request in proxied.proxy.requests() {
        *requests.entry(kind(&request)).or_default() += 1;
    }
    let quiet = Duration::try_from(last.duration_since(zero))?;
    Ok(Start { ready, quiet, peak_mib, requests })
}

async fn until_in_sync(namespace: &Namespace, releases: usize) -> Result<()> {
    loop {
        let found = namespace.releases().list(&ListParams::default()).await?;
        let ready = found.iter().filter(|it| {
            condition(it, "Ready").is_some_and(|it| it.status == "True") && reason(it) == "InSync"
        });
        if ready.count() == releases {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// When the last request came.
async fn until_quiet(proxied: &Proxied) -> Result<Timestamp> {
    loop {
        let requests = proxied.proxy.requests();
        let work = requests.iter().filter(|it| !it.is_watch() && !it.path.contains("/leases"));
        let last = work.map(|request| request.started).max().context("something was asked")?;
        if Timestamp::now().duration_since(last).unsigned_abs() > QUIET {
            return Ok(last);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_write(kind: &str) -> bool {
    let verb = kind.split(' ').next().unwrap_or_default();
    ["POST", "PUT", "PATCH", "DELETE"].contains(&verb) && !kind.ends_with(" leases")
}

/// Such as `PATCH releaselifecycles/status`.
fn kind(request: &Request) -> String {
    let path = request.path.split('?').next().unwrap_or_default();
    let mut parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let group = if parts.first() == Some(&"api") { 2 } else { 3 };
    parts.drain(..group.min(parts.len()));
    if parts.first() == Some(&"namespaces") && parts.len() > 2 {
        parts.drain(..2);
    }
    let is_one = parts.len() > 1;
    let verb = match request.method.as_str() {
        _ if request.is_watch() => "watch",
        "GET" if is_one => "get",
        "GET" => "list",
        other => other,
    };
    let subresource = parts.get(2).map_or(String::new(), |it| format!("/{it}"));
    match parts.first() {
        Some(resource) => format!("{verb} {resource}{subresource}"),
        // What there is on the server.
        None => "discovery".to_owned(),
    }
}
