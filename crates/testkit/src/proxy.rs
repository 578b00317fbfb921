//! An HTTP/1.1 proxy before a real API server, which counts requests and makes faults.
//!
//! The controller under test is given the kubeconfig that [`Proxy::kubeconfig`] writes. Bodies are
//! streamed both ways, so a watch flows event by event. Protocol upgrades (`exec`, `attach`,
//! `port-forward`) are not passed on.
//!
//! - `fault`: the possible faults, the requests that they meet, and the signals
//! - `ledger`: the stored data of each request

mod fault;
mod kubeconfig;
mod ledger;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::service::service_fn;
use hyper::{Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use self::fault::{Counted, Fault, When};
pub use self::ledger::Request;

use self::fault::{Armed, Hit, kill, pause, status_body};
use self::ledger::{Entry, Ledger};

type Body = BoxBody<Bytes, hyper::Error>;

/// The headers of one connection only: HTTP/1.1 forbids passing these on, and hyper sets its own.
const HOP_BY_HOP: [header::HeaderName; 5] =
    [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE];

/// The API server that a [`Proxy`] stands before.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The URL, such as `https://127.0.0.1:6443`; plain `http` works too.
    pub server: String,
    /// The certificates that `server` is trusted by, in PEM. May be empty for plain `http`.
    pub ca_pem: Vec<u8>,
    /// The bearer token that [`Proxy::kubeconfig`] hands out.
    pub token: String,
}

/// A running proxy. Dropping it closes its port and cuts every open connection, watches included.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    upstream: Upstream,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If `upstream` is not a URL or its certificates or token are unusable.
    pub async fn start(upstream: Upstream) -> Result<Self> {
        let shared = Arc::new(Shared::new(&upstream)?);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listen on loopback")?;
        let address = listener.local_addr().context("read the proxy's port")?;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, upstream, shared, accepting })
    }

    /// Returns the proxy's own URL, `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig, readable by its owner only, whose server is this proxy.
    ///
    /// client-go (kubectl, helm) sends no token over plain `http`. The proxy therefore adds the
    /// upstream's token to requests that carry no `Authorization` of their own.
    pub fn kubeconfig(&self, path: &Path) -> Result<()> {
        kubeconfig::write(path, &self.url(), &self.upstream.ca_pem, &self.upstream.token)
    }

    /// Replaces the armed fault by `fault`, forgets the requests so far and counts from 1 again.
    /// [`Fault::counts`] says which requests count: for most faults, all requests except watches.
    ///
    /// # Errors
    /// If the fault could never fire as meant: a pid that must not be signalled (0, 1, this
    /// process, more than `i32::MAX`), a count of 0, or a status that is not an HTTP error.
    pub fn arm(&self, fault: Fault) -> Result<()> {
        self.arm_counting(fault, fault.counts())
    }

    /// Does the same as [`Proxy::arm`], with the choice which requests are counted.
    pub fn arm_counting(&self, fault: Fault, counted: Counted) -> Result<()> {
        fault.validate()?;
        self.shared.restart(Armed::new(Some(fault), counted));
        Ok(())
    }

    /// Disarms, forgets the requests so far and counts from 1 again. Effects of a fault that has
    /// fired already (a stopped process, a delayed request) run to their end.
    pub fn reset(&self) {
        self.shared.restart(Armed::new(None, Counted::default()));
    }

    /// Ends the pause of the armed [`Fault::StopAt`] now.
    pub fn resume(&self) {
        self.shared.state().armed.resume();
    }

    /// Returns every request since the last [`Proxy::arm`] or [`Proxy::reset`], in order of
    /// arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().ledger.requests()
    }

    /// Returns how often the armed fault has taken effect.
    pub fn hits(&self) -> usize {
        self.shared.state().armed.hits()
    }

    /// Returns whether the armed fault has taken effect: for signals, after the signal was sent.
    pub fn armed_hit(&self) -> bool {
        self.hits() > 0
    }

    /// Waits until the armed fault has taken effect once.
    ///
    /// # Errors
    /// If that does not happen `within` this time; the message names the fault.
    pub async fn wait_hit(&self, within: Duration) -> Result<()> {
        let (mut hits, fault) = {
            let state = self.shared.state();
            (state.armed.subscribe(), state.armed.fault())
        };
        tokio::time::timeout(within, hits.wait_for(|hits| *hits > 0))
            .await
            .with_context(|| format!("fault {fault:?} did not fire within {within:?}"))?
            .context("another fault was armed meanwhile")?;
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The task owns the connections' tasks, so they end with it.
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // The client retries a refused connection (out of descriptors, reset).
                let Ok((stream, _)) = accepted else { continue };
                // Without it, Nagle's algorithm holds small watch events back for 40 ms.
                let _ = stream.set_nodelay(true);
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| serve(Arc::clone(&shared), request));
                    // Its errors are the faults themselves, and clients that went away.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Makes hyper close the connection without an answer.
#[derive(Debug)]
struct NoAnswer;

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the proxy gives no answer")
    }
}

impl std::error::Error for NoAnswer {}

async fn serve(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, NoAnswer> {
    let (entry, due) = shared.admit(&request);
    let send = |request: hyper::Request<Incoming>, entry| {
        shared.forward(request.map(BodyExt::boxed), entry)
    };
    let Some((fault, hit)) = due else {
        return Ok(send(request, entry).await);
    };
    match fault {
        Fault::KillAt { pid, when, .. } => {
            if when == When::After {
                drop(send(request, entry).await);
            }
            if kill(pid) {
                hit.fired();
            }
            Err(NoAnswer)
        }
        Fault::StopAt { pid, when, for_, .. } => {
            if when == When::Before {
                drop(pause(pid, for_, &hit).await);
                return Ok(send(request, entry).await);
            }
            let answer = send(request, entry).await;
            let stopped = pause(pid, for_, &hit).await;
            // It is sent only when the answer is there: a process that wakes finds it.
            Ok(answer.map(|body| {
                let stopped = stopped;
                body.map_frame(move |frame| {
                    let _stopped = &stopped;
                    frame
                })
                .boxed()
            }))
        }
        Fault::DelayAll(delay) => {
            tokio::time::sleep(delay).await;
            hit.fired();
            Ok(send(request, entry).await)
        }
        Fault::FailNext { status, .. } | Fault::FailEvery { status, .. } => {
            hit.fired();
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(refuse(status, "refused by the test's proxy", &entry))
        }
        Fault::LoseAnswer { .. } => {
            drop(send(request, entry).await);
            hit.fired();
            Err(NoAnswer)
        }
        Fault::Duplicate { .. } => {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
            let copy = || hyper::Request::from_parts(head.clone(), full(body.clone()));
            drop(shared.forward(copy(), Arc::clone(&entry)).await);
            hit.fired();
            Ok(shared.forward(copy(), entry).await)
        }
    }
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn refuse(status: StatusCode, message: &str, entry: &Entry) -> Response<Body> {
    entry.answered(status);
    let mut response = Response::new(full(status_body(status, message).into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

#[derive(Debug)]
struct Shared {
    scheme: Scheme,
    authority: Authority,
    authorization: HeaderValue,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    armed: Armed,
}

impl Shared {
    fn new(upstream: &Upstream) -> Result<Self> {
        let uri: Uri = upstream.server.parse().context("read the upstream's URL")?;
        let parts = uri.into_parts();
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", upstream.token))
            .context("use the token as a header")?;
        authorization.set_sensitive(true);
        Ok(Self {
            scheme: parts.scheme.context("the upstream's URL has no scheme")?,
            authority: parts.authority.context("the upstream's URL has no host")?,
            authorization,
            client: Client::builder(TokioExecutor::new()).build(connector(&upstream.ca_pem)?),
            state: Mutex::new(State {
                ledger: Ledger::default(),
                armed: Armed::new(None, Counted::default()),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn restart(&self, armed: Armed) {
        *self.state() = State { ledger: Ledger::default(), armed };
    }

    fn admit(&self, request: &hyper::Request<Incoming>) -> (Arc<Entry>, Option<(Fault, Hit)>) {
        // One lock for both, so that numbers and faults agree when requests arrive together.
        let mut state = self.state();
        let mut record = Request::new(request);
        let due = state.armed.next(&mut record);
        (state.ledger.add(record), due)
    }

    /// Sends the request on. The answer's body is still open when this returns, and `entry` is
    /// finished when that body ends or is dropped.
    async fn forward(
        &self,
        mut request: hyper::Request<Body>,
        entry: Arc<Entry>,
    ) -> Response<Body> {
        let mut uri = request.uri().clone().into_parts();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(self.authority.clone());
        *request.uri_mut() = match Uri::from_parts(uri) {
            Ok(uri) => uri,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string(), &entry),
        };
        let headers = request.headers_mut();
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
        headers.remove(header::HOST);
        headers.entry(header::AUTHORIZATION).or_insert_with(|| self.authorization.clone());

        // A task of its own outlives the client. If it were aborted, the request would be executed
        // and logged as failed.
        let sent = tokio::spawn(self.client.request(request)).await;
        match sent.map_err(anyhow::Error::from).and_then(|sent| Ok(sent?)) {
            Ok(mut response) => {
                entry.answered(response.status());
                for name in &HOP_BY_HOP {
                    response.headers_mut().remove(name);
                }
                response.map(|body| entry.until_end_of(body).boxed())
            }
            Err(error) => {
                let message = format!("the proxy cannot reach the API server: {error:?}");
                refuse(StatusCode::BAD_GATEWAY, &message, &entry)
            }
        }
    }
}

fn connector(ca_pem: &[u8]) -> Result<HttpsConnector<HttpConnector>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem) {
        roots
            .add(certificate.context("read the upstream's CA")?)
            .context("trust the upstream's CA")?;
    }
    // The provider is named, not the process's default, which would have to be installed first.
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .context("set up TLS")?
    .with_root_certificates(roots)
    .with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.enforce_http(false);
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp))
}
