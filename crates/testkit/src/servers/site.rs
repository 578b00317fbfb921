use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use super::{Certificates, PASSWORD, USERNAME};

type Body = BoxBody<Bytes, Infallible>;

/// The answer at a path.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These bytes.
    File(Bytes),
    /// This number of zeros, without a length.
    Zeros(usize),
    /// A redirect to another URL.
    Redirect(String),
    /// No answer, ever, although the request was taken.
    Hang,
    /// A code other than 200.
    Status(u16),
}

impl Answer {
    /// Answers with these bytes.
    pub fn file(bytes: impl Into<Bytes>) -> Self {
        Self::File(bytes.into())
    }
}

/// The clients whose requests a site takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Any client.
    Anybody,
    /// Clients that log in as [`USERNAME`] with [`PASSWORD`].
    Login,
    /// Clients with a certificate of the authority; over HTTPS only.
    Certificate,
}

/// A site on a free port of 127.0.0.1, whose files a test changes as it likes. Dropping it closes
/// every connection.
pub struct Site {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    answers: Mutex<HashMap<String, Answer>>,
    asked: Mutex<Vec<String>>,
    /// The header that each request has to have.
    authorization: Option<String>,
}

impl Site {
    /// Starts one over HTTP, for any client.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn plain() -> anyhow::Result<Self> {
        Self::start(None, Takes::Anybody).await
    }

    /// Starts one, over HTTPS if there are `certificates`.
    ///
    /// # Errors
    /// If it cannot listen, or the certificates cannot be read.
    pub async fn start(certificates: Option<&Certificates>, takes: Takes) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listen on loopback")?;
        let address = listener.local_addr().context("read the site's port")?;
        let tls = certificates.map(|it| acceptor(it, takes)).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let login = || format!("Basic {}", STANDARD.encode(format!("{USERNAME}:{PASSWORD}")));
        let shared = Arc::new(Shared {
            answers: Mutex::default(),
            asked: Mutex::default(),
            authorization: (takes == Takes::Login).then(login),
        });
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Ok(Self { address, scheme, shared, accepting })
    }

    /// Returns its URL, such as `https://127.0.0.1:41234`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Sets the answer from now on at this path, such as `/index.yaml`.
    pub fn put(&self, path: &str, answer: Answer) {
        lock(&self.shared.answers).insert(path.to_owned(), answer);
    }

    /// Returns the requested paths so far, with `401` before those that were refused.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shared.asked).clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn acceptor(certificates: &Certificates, takes: Takes) -> anyhow::Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(certificates.path("server.pem"))?;
    let key = PrivateKeyDer::from_pem_file(certificates.path("server.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let config = if takes == Takes::Certificate {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificates.path("ca.pem"))?)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        config.with_client_cert_verifier(verifier.build()?)
    } else {
        config.with_no_client_auth()
    };
    let config = config.with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(handle(stream, tls.clone(), Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

async fn handle(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    match tls {
        None => serve(stream, shared).await,
        Some(tls) => {
            // A client that does not trust the authority closes the connection.
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, shared).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(request, &shared));
    // A client may disconnect at any time.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Body>, hyper::http::Error> {
    let path = request.uri().path().to_owned();
    let login = request.headers().get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    if shared.authorization.is_some() && login != shared.authorization.as_deref() {
        lock(&shared.asked).push(format!("401 {path}"));
        return Response::builder()
            .status(StatusCode::UNAUTHORIZED)
            .header(header::WWW_AUTHENTICATE, "Basic realm=\"charts\"")
            .body(empty());
    }
    lock(&shared.asked).push(path.clone());
    let found = lock(&shared.answers).get(&path).cloned();
    match found {
        Some(Answer::File(bytes)) => Response::builder().body(Full::new(bytes).boxed()),
        Some(Answer::Zeros(count)) => Response::builder().body(zeros(count)),
        Some(Answer::Redirect(url)) => Response::builder()
            .status(StatusCode::FOUND)
            .header(header::LOCATION, url)
            .body(empty()),
        Some(Answer::Hang) => std::future::pending().await,
        Some(Answer::Status(code)) => Response::builder().status(code).body(empty()),
        None => Response::builder().status(StatusCode::NOT_FOUND).body(empty()),
    }
}

fn empty() -> Body {
    Full::default().boxed()
}

/// Returns zeros, chunk by chunk.
fn zeros(count: usize) -> Body {
    const CHUNK: usize = 8 << 10;
    let chunks = (0..count.div_ceil(CHUNK))
        .map(|_| Ok(Frame::data(Bytes::from_static(&[0; CHUNK]))))
        .collect::<Vec<_>>();
    StreamBody::new(futures::stream::iter(chunks)).boxed()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
