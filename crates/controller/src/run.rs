//! Wires the operator up: client, watches, health, shutdown.

use std::{
    collections::HashSet,
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use api::ReleaseLifecycle;
use election::Election;
use futures::StreamExt;
use http::{HeaderValue, header::USER_AGENT};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Client, Config, Resource,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
    core::NamespaceResourceScope,
};
use kube_runtime::{
    Controller, WatchStreamExt, controller,
    reflector::{self, ObjectRef},
    watcher,
};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    args::{Args, LogFormat},
    cluster::{
        Cluster,
        answer::{PAGE, limited},
        api_server::Endpoints,
        metrics::Metrics,
        resource::Tolerant,
    },
    health::{self, Health, Pages},
    reconcile::{on_error, reconcile, sweep::sweep_orphans},
    release::{context::Context, events::Reporter},
    rendering::{
        Rendering,
        charts::{self, Charts},
        renderers::Renderers,
    },
    support::{key::key, lines::Lines, panics},
    watches::{
        Watches,
        hooks::{self, touched},
    },
};

/// The user agent by which servers recognize this program's requests.
pub(crate) const AGENT: &str = concat!("releaselifecycle-controller/", env!("CARGO_PKG_VERSION"));
/// The time for which SIGTERM waits for the running reconciliations; less than the kubelet's 30 s,
/// since a call to an API server that does not answer may take longer.
const GRACE: Duration = Duration::from_secs(10);
/// The number of reports of the watch that wait at once for the answers to this process's own writes.
const MOST_REPORTED: usize = 256;

/// Runs the operator. Signals, health and the lease live on the runtime `vital`, so that no work can
/// make the leader seem dead.
pub(crate) async fn run(args: Args, vital: &Handle) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    let signalled = shutdown.clone();
    vital.spawn(async move {
        panics::kept("the handler of signals", || cancel_on_signal(signalled.clone())).await;
    });

    let config = config(&args).await?;
    let candidacy = (!args.no_leader_election).then(|| args.candidacy(&config));
    // Each runtime drives the connections of its own client.
    let metrics = Arc::new(Metrics::new(args.metrics_per_release));
    let client = || -> anyhow::Result<Client> {
        let client = Client::try_from(config.clone()).context("make a client")?;
        Ok(limited(client, Arc::clone(&metrics)))
    };
    let candidate = {
        let _on = vital.enter();
        client()?
    };
    let operator = client()?;
    if let Some(selector) = &args.selector {
        check_selector(&operator, args.namespace.as_deref(), selector).await?;
    }
    let charts = charts(&args, &config, Endpoints::new(operator.clone()), &metrics);
    let (reporter, sender) = Reporter::new(operator.clone());
    tokio::spawn(sender);
    let lease = Arc::new(args.lease());
    let election =
        candidacy.map(|candidacy| Election::new(candidate, candidacy, Arc::clone(&lease)));
    metrics.leader.set(i64::from(lease.is_held()));
    let cluster = Cluster::new(operator.clone(), Arc::clone(&metrics));
    let watches = Watches::new(&operator, args.watch_limits());
    let rendering = Rendering { charts, renderers: Renderers::new(args.engine.settings()) };
    let ctx = Context::new(cluster, watches, rendering, args.options(), lease, reporter);

    let ready = Arc::new(AtomicBool::new(false));
    let health = Health { metrics: Arc::clone(&metrics), ready: Arc::clone(&ready) };
    for (flag, address, pages) in args.listeners() {
        // Where it is made, its connections are driven.
        let listener = vital.spawn(TcpListener::bind(address)).await.context("bind")?;
        let listener = listener.with_context(|| format!("listen on {address} ({flag})"))?;
        tracing::info!(address = %listener.local_addr()?, "serving {}", pages.listed());
        vital.spawn(serve(listener, health.clone(), pages, shutdown.clone()));
    }
    let ended = CancellationToken::new();
    let leadership = election.map(|election| {
        let (ready, shutdown) = (Arc::clone(&ready), shutdown.clone());
        Leadership::seek(vital, election, ready, shutdown, ended.clone())
    });

    let led = lead(&args, operator, Arc::new(ctx), &ready, &shutdown, leadership, &ended);
    // A panic at one object or watch does not stop the process; any other one ends it in order, and
    // the lease expires.
    let led = panics::caught(Box::pin(led)).await.context("the operator cannot continue")?;
    metrics.leader.set(0);
    led.map_err(advised)?;
    tracing::info!("stopped; running hooks continue and will be found again");
    Ok(())
}

/// Checks that the API server understands the selector: a watch would try for ever.
async fn check_selector(
    client: &Client,
    namespace: Option<&str>,
    selector: &str,
) -> anyhow::Result<()> {
    let params = ListParams::default().labels(selector).limit(1);
    match scoped::<ReleaseLifecycle>(client, namespace).list_metadata(&params).await {
        Err(kube::Error::Api(refused)) if refused.code == 400 => {
            anyhow::bail!("--selector {selector:?}: {}", refused.message)
        }
        // Whatever else is wrong is reported by the watch, which tries again.
        _ => Ok(()),
    }
}

/// Serves until the process ends. If serving fails, the process ends, too, since its health would
/// be unknown.
async fn serve(listener: TcpListener, health: Health, pages: Pages, shutdown: CancellationToken) {
    let served = health::serve(listener, health, pages, shutdown.clone().cancelled_owned());
    if let Err(panicked) = panics::caught(served).await {
        tracing::error!("{} is no longer served: {panicked}", pages.listed());
        shutdown.cancel();
    }
}

/// The leadership of this process, which a task on the vital runtime seeks, keeps and gives up.
struct Leadership {
    acquired: oneshot::Receiver<()>,
    /// Ends with an error if the lease was not acquired or is lost.
    task: JoinHandle<Result<(), election::Error>>,
}

impl Leadership {
    /// Seeks the lease until `shutdown`, and keeps it until the reconciliations have `ended`.
    fn seek(
        vital: &Handle,
        mut election: Election,
        ready: Arc<AtomicBool>,
        shutdown: CancellationToken,
        ended: CancellationToken,
    ) -> Self {
        let (leads, acquired) = oneshot::channel();
        let task = vital.spawn(async move {
            // A replica that stands by is ready: a rolling update waits for it.
            let standing_by = || ready.store(true, Relaxed);
            tokio::select! {
                acquired = election.acquire(standing_by) => acquired?,
                () = shutdown.cancelled() => return Ok(()),
            }
            ready.store(false, Relaxed);
            // Without a receiver the process ends.
            let _ = leads.send(());
            tokio::select! {
                error = election.keep() => return Err(error),
                () = ended.cancelled() => {}
            }
            election.release().await;
            Ok(())
        });
        Self { acquired, task }
    }

    /// Returns true once this process leads, and false if it will not.
    async fn acquired(&mut self) -> bool {
        (&mut self.acquired).await.is_ok()
    }

    /// Returns how the leadership ended.
    async fn end(&mut self) -> Result<(), election::Error> {
        match (&mut self.task).await {
            Ok(end) => end,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Ok(()),
            },
        }
    }
}

/// Stands by until this process leads, and then leads until it is told to end or has lost the
/// lease, which interrupts the reconciliations.
async fn lead(
    args: &Args,
    operator: Client,
    ctx: Arc<Context>,
    ready: &Arc<AtomicBool>,
    shutdown: &CancellationToken,
    mut leadership: Option<Leadership>,
    ended: &CancellationToken,
) -> Result<(), election::Error> {
    if let Some(leadership) = &mut leadership {
        if !leadership.acquired().await {
            return leadership.end().await;
        }
        ctx.cluster.metrics.leader.set(1);
    }
    let lost = async {
        match &mut leadership {
            Some(leadership) => leadership.end().await,
            None => std::future::pending().await,
        }
    };
    let orphans = Arc::clone(&ctx);
    tokio::select! {
        () = control(args, operator, ctx, Arc::clone(ready), shutdown.clone()) => {}
        () = sweep_orphans(&orphans.cluster, &orphans.options.tenancy, &orphans.watches.held) => {}
        () = overdue(shutdown, ready) => {}
        lost = lost => return lost,
    }
    // The lease is given up after the reconciliations have ended.
    ended.cancel();
    match &mut leadership {
        Some(leadership) => leadership.end().await,
        None => Ok(()),
    }
}

/// Returns the error with advice for an administrator.
fn advised(error: election::Error) -> anyhow::Error {
    let advice = match &error {
        election::Error::Forbidden { .. } => {
            ", name another one with --lease-namespace, or run a single replica with \
             --no-leader-election"
        }
        election::Error::Refused(_) => "; see --lease-namespace, --lease-name and --identity",
        election::Error::Lost { .. } => {
            "; running hooks continue, and the next leader finds them again"
        }
    };
    anyhow::anyhow!("{error}{advice}")
}

/// Returns at the end of the time that the running reconciliations get after SIGTERM. To interrupt
/// them is safe, only less tidy. Before the first list has arrived there are none, and the
/// controller would wait for it.
async fn overdue(shutdown: &CancellationToken, ready: &AtomicBool) {
    shutdown.cancelled().await;
    if ready.load(Relaxed) {
        tokio::time::sleep(GRACE).await;
        tracing::warn!("reconciliations did not end within {} s", GRACE.as_secs());
    }
}

async fn control(
    args: &Args,
    client: Client,
    ctx: Arc<Context>,
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
) {
    let rendering = Arc::clone(&ctx);
    tokio::spawn(async move { panics::caught(rendering.rendering.charts.prepare()).await.ok() });
    let (store, writer) = reflector::store();
    let listed = store.clone();
    ctx.cluster.metrics.list(Box::new(move |each| {
        let all: Vec<Arc<Tolerant>> = listed.state();
        all.iter().filter_map(|object| object.0.as_ref().ok()).for_each(each);
    }));
    let mut others = Others { ctx: Arc::clone(&ctx), keys: HashSet::new(), uids: HashSet::new() };
    let heard = Arc::clone(&ctx);
    let all = scoped(&client, args.namespace.as_deref());
    let mut served = watcher::Config::default().page_size(PAGE);
    served.label_selector.clone_from(&args.selector);
    let watch = move || watcher(all.clone(), served.clone()).default_backoff();
    let releases = panics::kept_stream("the watch of ReleaseLifecycles", watch)
        .inspect(move |event| {
            // A panic was logged; the missed objects are also checked periodically.
            let _ = panics::caught_now(|| others.note(event));
            // Not `Store::wait_until_ready`: of several waiters it wakes only the last one, and the
            // controller is one of them.
            if matches!(event, Ok(watcher::Event::InitDone)) && !ready.swap(true, Relaxed) {
                tracing::info!("ready");
            }
        })
        .reflect(writer)
        .map(move |event| reported(Arc::clone(&heard), event))
        .buffer_unordered(MOST_REPORTED)
        .filter_map(std::future::ready);
    let controller = Controller::for_stream(releases, store);
    let namespace = args.namespace.as_deref();
    let jobs = touched::<Job>(scoped(&client, namespace));
    let pods = touched::<Pod>(scoped(&client, namespace));
    let (on_job, on_pod) = (Arc::clone(&ctx), Arc::clone(&ctx));
    controller
        // The limit is that of the slots, which namespaces share fairly.
        .with_config(controller::Config::default().concurrency(0))
        .watches_stream(jobs, move |job| woken_by(&on_job, &job))
        .watches_stream(pods, move |pod| woken_by(&on_pod, &pod))
        .reconcile_on(ctx.watches.triggers.listen())
        .graceful_shutdown_on(async move { shutdown.cancelled().await })
        .run(reconcile, on_error, ctx)
        .for_each(|result| async move {
            // Reconciliations log their own errors; these are the watches'.
            if let Err(error @ controller::Error::QueueError(_)) = result {
                tracing::warn!("{error}");
            }
        })
        .await;
}

/// Returns the custom resource that an event reports, unless this process wrote it.
async fn reported(
    ctx: Arc<Context>,
    event: Result<watcher::Event<Tolerant>, watcher::Error>,
) -> Option<Result<Tolerant, watcher::Error>> {
    match event {
        Ok(watcher::Event::Apply(object)) if ctx.cluster.echoes.hears(object.meta()).await => None,
        Ok(
            watcher::Event::Apply(object)
            | watcher::Event::InitApply(object)
            | watcher::Event::Delete(object),
        ) => Some(Ok(object)),
        Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
        Err(error) => Some(Err(error)),
    }
}

fn woken_by<K: hooks::Kind>(
    ctx: &Context,
    touched: &hooks::Touched<K>,
) -> Option<ObjectRef<Tolerant>> {
    panics::caught_now(|| ctx.watches.woken_by(touched)).ok().flatten()
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The effects of a change of one release on others that wait, and on cached state.
struct Others {
    ctx: Arc<Context>,
    /// The keys and UIDs that the running list has returned so far.
    keys: HashSet<String>,
    uids: HashSet<String>,
}

impl Others {
    fn note(&mut self, event: &Result<watcher::Event<Tolerant>, watcher::Error>) {
        let Ok(event) = event else { return };
        match event {
            watcher::Event::Init => {
                self.keys.clear();
                self.uids.clear();
            }
            watcher::Event::InitApply(Tolerant(Ok(object))) => {
                self.keys.insert(key(object));
                self.uids.extend(object.metadata.uid.clone());
                self.free_dependents(object);
            }
            watcher::Event::InitDone => {
                let (keys, uids) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.uids));
                self.ctx.retain(&keys, &uids);
            }
            watcher::Event::Apply(Tolerant(Ok(object))) => self.free_dependents(object),
            watcher::Event::Delete(Tolerant(Ok(object))) => {
                self.ctx.forget(&key(object), object.metadata.uid.as_deref().unwrap_or_default());
            }
            _ => {}
        }
    }

    fn free_dependents(&self, object: &ReleaseLifecycle) {
        let Watches { dependents, triggers, .. } = &self.ctx.watches;
        for dependent in dependents.freed_by(object) {
            triggers.trigger().pull(&dependent);
        }
    }
}

/// Returns the fetcher of charts, which never asks the API server.
fn charts(args: &Args, config: &Config, endpoints: Endpoints, metrics: &Arc<Metrics>) -> Charts {
    let url = &config.cluster_url;
    let port = if url.scheme_str() == Some("http") { 80 } else { 443 };
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let mut api_server = vec![(host.to_owned(), url.port_u16().unwrap_or(port))];
    let variable = |name| std::env::var(name).ok();
    if let Some(host) = variable("KUBERNETES_SERVICE_HOST") {
        let port = variable("KUBERNETES_SERVICE_PORT").and_then(|port| port.parse().ok());
        api_server.push((host, port.unwrap_or(443)));
    }
    let (program, reach) = (args.engine.settings().program, args.reach());
    Charts::new(
        charts::Settings {
            program,
            reach,
            api_server,
            endpoints,
            metrics: Arc::clone(metrics),
            user_agent: AGENT,
        },
        args.charts.cache(),
    )
}

async fn config(args: &Args) -> anyhow::Result<Config> {
    let mut config = match &args.kubeconfig {
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("read {} (--kubeconfig)", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?
        }
        None => Config::infer().await.context(
            "find a cluster: run inside one, set KUBECONFIG, or name a file with --kubeconfig",
        )?,
    };
    // A POST that the client repeats could create a second object, see ARCHITECTURE.md.
    config.default_retry = false;
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    Ok(config)
}

pub(crate) fn init_log(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .with_context(|| format!("read the log filter {:?} (--log)", args.log))?
        // It logs answers that it cannot parse, with their whole content.
        .add_directive("kube_client::client=off".parse().context("it is a filter")?)
        // Its spans repeat the operator's own: release, operation, hook.
        .add_directive("kube_runtime::controller=warn".parse().context("it is a filter")?);
    let colored = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colored)
        .with_writer(move || Lines { to: std::io::stderr(), colored });
    match args.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// Ends the process on SIGTERM and SIGINT after the running reconciliations; hooks continue.
async fn cancel_on_signal(shutdown: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be caught; the process ends at once on SIGTERM");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
    // A second signal means that the user does not want to wait, and nothing is lost.
    interrupt.recv().await;
    std::process::exit(130);
}
