//! The cost of a release and of a hook: API writes, Event objects and all requests, told by the proxy before
//! the API server, and the memory of an idle controller, at its start and after work.

use std::{
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use e2e::{
    Chart, Controller, Namespace, Proxied, internals, kwok,
    manifests::{Manifest, config_map, job},
    message,
};
use futures::future::try_join_all;
use serde_json::{Value, json};
use testkit::programs;

/// So many objects the releases have.
const OBJECTS: usize = 3;

/// The memory that the idle controller may take, in the release profile.
const MEMORY_MIB: f64 = 18.0;
/// The memory that it may keep after charts were rendered and nothing is left to do, likewise.
const MEMORY_AFTER_CHARTS_MIB: f64 = 48.0;
/// So many releases there are then, and so often each was rendered.
const RELEASES: usize = 10;
const ROUNDS: usize = 13;
/// So long it may take to give memory back: an engine that nobody needs ends after a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// The writes of an operation.
#[derive(Clone, Copy, Debug)]
struct Cost {
    writes: usize,
    events: usize,
}

/// Returns what the install of `objects` costs.
async fn install(objects: &[Value]) -> Result<Cost> {
    let namespace = Namespace::new(kwok(), "install").await?;
    let proxied = Proxied::new(&namespace).await?;
    let controller = proxied.controller()?;
    namespace.release("shop", objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.wait_event("InstallSucceeded").await?;
    Ok(cost(&proxied))
}

/// Returns what the upgrade from `before` to `objects` costs.
async fn upgrade(before: &[Value], objects: &[Value]) -> Result<Cost> {
    let namespace = Namespace::new(kwok(), "upgrade").await?;
    let proxied = Proxied::new(&namespace).await?;
    let controller = proxied.controller()?;
    namespace.release("shop", before, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.wait_event("InstallSucceeded").await?;
    proxied.proxy.reset();
    namespace.release("shop", objects, json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    namespace.wait_event("UpgradeSucceeded").await?;
    Ok(cost(&proxied))
}

fn cost(proxied: &Proxied) -> Cost {
    let requests = proxied.proxy.requests();
    let writes = || requests.iter().filter(|request| request.is_write());
    let is_event = |path: &str| path.starts_with("/apis/events.k8s.io/");
    let is_lease = |path: &str| path.starts_with("/apis/coordination.k8s.io/");
    Cost {
        writes: writes().filter(|it| !is_event(&it.path) && !is_lease(&it.path)).count(),
        events: writes().filter(|it| is_event(&it.path)).count(),
    }
}

/// The objects of revision `value`, and `hooks`.
fn with<const N: usize>(value: &str, hooks: [&Value; N]) -> Vec<Value> {
    let objects = (0..OBJECTS).map(|index| config_map(&format!("object-{index}"), value));
    objects.chain(hooks.into_iter().cloned()).collect()
}

/// The requests of an operation: where the API server answers at once, and at most. What is needed twice is
/// read again if it takes longer, and a hook that is slow to start is checked again.
const REQUESTS: [(&str, usize, usize); 6] = [
    ("install of 3 objects", 21, 34),
    ("the same with a pre-install and a post-install hook", 45, 64),
    ("upgrade of 3 objects", 22, 35),
    ("the same with a pre-upgrade and a post-upgrade hook", 54, 70),
    ("deletion of 3 objects", 38, 45),
    ("install of 3 objects, by an operator with --selector", 24, 37),
];

/// The requests of an operation, each as its verb and path, in order. Watches, the lease and discovery
/// are not of one operation.
fn requests(proxied: &Proxied) -> Vec<String> {
    let is_asked_for = |path: &str| {
        let resource = path.split('?').next().unwrap_or_default();
        let is_discovery = resource.trim_matches('/').split('/').count() <= 3;
        !is_discovery && !path.contains("watch=") && !path.contains("/leases/")
    };
    let all = proxied.proxy.requests().into_iter();
    all.filter(|it| is_asked_for(&it.path)).map(|it| format!("{} {}", it.method, it.path)).collect()
}

/// The requests of an install, of the upgrade after it, and of the deletion of a release, with hooks before
/// and after the install and the upgrade, by an operator with these arguments.
async fn traced(with_hooks: bool, args: &[&str]) -> Result<[Vec<String>; 3]> {
    let namespace = Namespace::new(kwok(), "requests").await?;
    let proxied = Proxied::new(&namespace).await?;
    let controller = proxied.controller_with(args)?;
    controller.wait_ready().await?;
    let mut found = Vec::new();
    for (value, event, reason) in
        [("1", "install", "InstallSucceeded"), ("2", "upgrade", "UpgradeSucceeded")]
    {
        let hook = |name: &str, when: &str| job(name).hook(&format!("{when}-{event}"));
        let hooks = [&hook("a", "pre"), &hook("b", "post")];
        let objects = if with_hooks { with(value, hooks) } else { with(value, []) };
        proxied.proxy.reset();
        namespace.release("shop", &objects, json!({})).await?;
        namespace.wait_event(reason).await?;
        namespace.wait_ready("shop", &controller).await?;
        found.push(requests(&proxied));
    }
    proxied.proxy.reset();
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    namespace.wait_released("shop", &controller).await?;
    let [install, upgrade] = found.try_into().map_err(|_| anyhow::anyhow!("two operations"))?;
    Ok([install, upgrade, requests(&proxied)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn an_operation_takes_no_more_requests_than_it_should() -> Result<()> {
    let selector = ["--selector", "!shard"];
    let (plain, hooked, sharded) =
        tokio::try_join!(traced(false, &[]), traced(true, &[]), traced(false, &selector))?;
    let ([install, upgrade, deletion], [hooked, hooked_upgrade, _]) = (plain, hooked);
    let [sharded, ..] = sharded;
    let traces = [install, hooked, upgrade, hooked_upgrade, deletion, sharded];
    // Beside other programs the API server does not answer at once.
    let is_alone = std::env::var_os("ALONE").is_some();
    for (trace, (what, at_once, at_most)) in traces.into_iter().zip(REQUESTS) {
        let trace = trace.join("\n");
        let (found, limit) = (trace.lines().count(), if is_alone { at_once } else { at_most });
        println!("{what}: {found} requests, at most {limit}");
        ensure!(found <= limit, "{what}: {found} requests, more than {limit}:\n{trace}");
    }
    let rows = REQUESTS.map(|(what, at_once, most)| format!("| {what} | {at_once} | {most} |\n"));
    let table = format!("| | requests | at most |\n|---|--:|--:|\n{}", rows.concat());
    internals::compare_in("docs/src/internals/counts.md", "requests", &table)
}

struct Row {
    what: &'static str,
    found: usize,
    limit: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_release_and_a_hook_cost_no_more_than_they_should() -> Result<()> {
    // Neither the default policy, before-hook-creation, nor one that applies.
    let hook = |name: &str, events: &str| job(name).hook(events).policy("hook-failed");
    let (first, second) = (hook("a", "pre-install"), hook("b", "pre-install"));
    let passes = |hook: &Value| hook.clone().policy("hook-succeeded");
    let lives = |hook: &Value| hook.clone().set("/spec/ttlSecondsAfterFinished", 3600);
    let replaced = hook("a", "pre-install,pre-upgrade").policy("before-hook-creation");
    let (none, changed) = (with("1", []), with("2", []));
    let (left, replacing) = (with("1", [&replaced]), with("2", [&replaced]));
    let hooked = with("2", [&hook("a", "pre-upgrade")]);
    let installs = [
        none.clone(),
        with("1", [&first]),
        with("1", [&first, &second]),
        with("1", [&hook("a", "post-install")]),
        with("1", [&passes(&first)]),
        with("1", [&passes(&first), &passes(&second)]),
        with("1", [&lives(&first)]),
    ];
    let installs = futures::future::try_join_all(installs.iter().map(|all| install(all))).await?;
    let [plain, one, two, post, passing, both_passing, living] = installs[..] else {
        anyhow::bail!("one cost for each install");
    };
    let (upgraded, with_hook, replaced, pruning) = tokio::try_join!(
        upgrade(&none, &changed),
        upgrade(&none, &hooked),
        upgrade(&left, &replacing),
        upgrade(&none, changed.get(1..).unwrap_or_default()),
    )?;

    let row = |what: &'static str, found, limit| Row { what, found, limit };
    let more = |a: Cost, b: Cost| a.writes.saturating_sub(b.writes);
    let rows = [
        row("install of 3 objects", plain.writes, OBJECTS + 7),
        row("upgrade of 3 objects", upgraded.writes, OBJECTS + 7),
        row("upgrade that prunes one of 3 objects", pruning.writes, OBJECTS + 7),
        row("a pre-install hook", more(one, plain), 4),
        row("a second one", more(two, one), 4),
        row("a post-install hook", more(post, plain), 4),
        row("a pre-upgrade hook", more(with_hook, upgraded), 4),
        // What is cleaned up after the hooks of an event is one batch, with one journal write.
        row("its deletion by hook-succeeded, with the batch's journal", more(passing, one), 2),
        row("a second deletion", more(both_passing, two).saturating_sub(more(passing, one)), 1),
        row("its time to live, with the batch's journal", more(living, one), 2),
        row("the deletion of its leftover, journalled first", more(replaced, with_hook), 2),
        row("Event objects of an install", plain.events, 2),
        row("Event objects of a hook", one.events.saturating_sub(plain.events), 2),
    ];
    let mut table = String::from("| | writes | at most |\n|---|--:|--:|\n");
    for Row { what, found, limit } in &rows {
        writeln!(table, "| {what} | {found} | {limit} |")?;
    }
    println!("{table}");
    let (profile, resident) = idle_memory().await?;
    println!(
        "idle controller ({profile} profile): {resident:.1} MiB resident, at most {MEMORY_MIB}"
    );
    ensure!(profile == "dev" || resident <= MEMORY_MIB, "the idle controller takes {resident} MiB");
    for Row { what, found, limit } in rows {
        ensure!(found <= limit, "{what}: {found}, more than {limit}");
    }
    internals::compare("counts", &table)
}

/// The profile of the controller, and what it keeps in memory after its start, with nothing to do.
async fn idle_memory() -> Result<(&'static str, f64)> {
    let (profile, path) = Controller::measured();
    let namespace = Namespace::new(kwok(), "idle").await?;
    let controller =
        Controller::launch(&path, namespace.cluster().kubeconfig(), &namespace.name, &[])?;
    controller.wait_ready().await?;
    Ok((profile, controller.memory_mib("VmRSS")?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn memory_is_given_back_after_work() -> Result<()> {
    let (profile, path) = Controller::measured();
    let (most, kept) = memory_after_charts(&path).await?;
    println!(
        "after {} charts rendered ({profile} profile): {kept:.1} MiB resident once it is idle, at most \
         {MEMORY_AFTER_CHARTS_MIB}; {most:.1} MiB while it worked",
        RELEASES * ROUNDS
    );
    ensure!(
        profile == "dev" || kept <= MEMORY_AFTER_CHARTS_MIB,
        "the controller keeps {kept} MiB after its work"
    );
    Ok(())
}

/// Returns what it took at the most while it rendered charts, and what it keeps when nothing is to be done any
/// more: until that is little, or for as long as it may take.
async fn memory_after_charts(path: &Path) -> Result<(f64, f64)> {
    let engine = programs::build("dev")?.join("releaselifecycle-engine");
    let namespace = Namespace::new(kwok(), "charts").await?;
    // Much in memory, and little in a record.
    let values: String =
        (0..12_000).fold(String::new(), |text, n| text + &format!("k{n}: {{a: {n}, b: [x, y]}}\n"));
    let map = "{apiVersion: v1, kind: ConfigMap, metadata: {name: \"{{ .Release.Name }}\"}, \
               data: {round: \"{{ .Values.round }}\"}}";
    let chart = Chart::new(&namespace, "chart")?
        .file("values.yaml", &values)?
        .file("templates/a.yaml", map)?;
    chart.put(&namespace).await?;
    let args = ["--engine", &engine.to_string_lossy()];
    let controller =
        Controller::launch(path, namespace.cluster().kubeconfig(), &namespace.name, &args)?;
    let names: Vec<_> = (0..RELEASES).map(|n| format!("shop-{n}")).collect();
    for round in 1..=ROUNDS {
        let spec = || {
            let mut spec = chart.source();
            spec["values"] = json!({"round": round});
            spec["maxHistory"] = json!(2);
            spec
        };
        try_join_all(names.iter().map(|name| namespace.release(name, &[], spec()))).await?;
        let done = format!("of revision {round} succeeded");
        try_join_all(names.iter().map(|name| {
            namespace.wait(name, &controller, "deployed", |it| message(it).contains(&done))
        }))
        .await?;
    }
    let most = controller.memory_mib("VmHWM")?;
    let start = Instant::now();
    loop {
        let kept = controller.memory_mib("VmRSS")?;
        if kept <= MEMORY_AFTER_CHARTS_MIB || start.elapsed() > PATIENCE {
            return Ok((most, kept));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
