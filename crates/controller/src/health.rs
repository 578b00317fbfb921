//! `/livez`, `/readyz` and `/metrics`, over HTTP/1 without TLS and login: whoever reaches the port
//! may ask, and can take neither memory nor descriptors from the rest of the operator.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::cluster::metrics::Metrics;

/// The maximum number of connections of one listener. One more closes the oldest one: idle
/// connections must not keep the kubelet out, which would restart the container.
const MOST_CONNECTIONS: usize = 64;
/// The maximum size of a request's head, in bytes.
const MOST_HEAD: usize = 16 * 1024;
/// The time in which a client has to send the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for one connection, with its only answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a connection that could not be accepted, such as for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// The pages that a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    All,
    Probes,
    Metrics,
}

impl Pages {
    pub(crate) fn listed(self) -> &'static str {
        match self {
            Self::All => "/livez, /readyz and /metrics",
            Self::Probes => "/livez and /readyz",
            Self::Metrics => "/metrics",
        }
    }
}

#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) metrics: Arc<Metrics>,
    /// True if the first list of ReleaseLifecycles has arrived, or another replica leads.
    pub(crate) ready: Arc<AtomicBool>,
}

/// Serves until `shutdown`.
pub(crate) async fn serve(
    listener: TcpListener,
    health: Health,
    pages: Pages,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let mut shutdown = pin!(shutdown);
    let mut connections = VecDeque::<JoinHandle<()>>::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!("accept a connection for {}: {error}", pages.listed());
                    sleep(PAUSE).await;
                    continue;
                }
            },
            () = &mut shutdown => return,
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= MOST_CONNECTIONS
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        connections.push_back(tokio::spawn(connection(stream, health.clone(), pages)));
    }
}

/// Answers one request. Clients that want more connect again.
async fn connection(stream: TcpStream, health: Health, pages: Pages) {
    let answer = service_fn(|request: Request<Incoming>| {
        let answer = health.answer(pages, request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MOST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    // Its errors are the client's.
    let _ = timeout(TIMEOUT, served).await;
}

impl Health {
    fn answer(&self, pages: Pages, method: &Method, path: &str) -> Response<String> {
        let (code, text) = match path {
            _ if ![Method::GET, Method::HEAD].contains(method) => {
                (StatusCode::METHOD_NOT_ALLOWED, String::new())
            }
            "/livez" if pages != Pages::Metrics => (StatusCode::OK, "ok\n".to_owned()),
            "/readyz" if pages != Pages::Metrics => self.ready(),
            "/metrics" if pages != Pages::Probes => (StatusCode::OK, self.metrics.text()),
            _ => (StatusCode::NOT_FOUND, String::new()),
        };
        let mut response = Response::new(text);
        *response.status_mut() = code;
        let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(http::header::CONTENT_TYPE, plain);
        response
    }

    fn ready(&self) -> (StatusCode, String) {
        if self.ready.load(Ordering::Relaxed) {
            (StatusCode::OK, "ok\n".to_owned())
        } else {
            let why =
                "the ReleaseLifecycles have not been listed yet, nor is another replica leading\n";
            (StatusCode::SERVICE_UNAVAILABLE, why.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn started(pages: Pages) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new(false));
        let health = Health { metrics, ready: Arc::new(AtomicBool::new(false)) };
        tokio::spawn(serve(listener, health, pages, std::future::pending()));
        address
    }

    async fn said(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The server may close a connection before it has read everything.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn code(address: SocketAddr, what: &str) -> String {
        let answer = said(address, &format!("{what} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn probes_and_metrics_may_be_apart() {
        for (pages, codes) in [
            (Pages::All, ["200", "503", "200"]),
            (Pages::Probes, ["200", "503", "404"]),
            (Pages::Metrics, ["404", "404", "200"]),
        ] {
            let address = started(pages).await;
            for (path, expected) in ["/livez", "/readyz", "/metrics"].into_iter().zip(codes) {
                assert_eq!(
                    code(address, &format!("GET {path}")).await,
                    expected,
                    "{pages:?} {path}"
                );
            }
            assert_eq!(code(address, "GET /else").await, "404");
            assert_eq!(code(address, "POST /livez").await, "405");
        }
    }

    #[tokio::test]
    async fn idle_connections_keep_nobody_out() {
        let address = started(Pages::All).await;
        let mut idle = Vec::new();
        for _ in 0..4 * MOST_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Enough for a request that is never finished.
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\n").await;
            idle.push(stream);
        }
        assert_eq!(code(address, "GET /livez").await, "200");
        // Long before its time.
        let closed = timeout(HEAD_TIMEOUT / 2, idle[0].read(&mut [0])).await.unwrap();
        assert!(closed.is_err() || closed.is_ok_and(|read| read == 0));
    }

    #[tokio::test]
    async fn a_client_has_to_send_its_request_and_a_short_one() {
        let address = started(Pages::All).await;
        let slow = said(address, "GET /livez HTTP/1.1\r\nHost: x\r\n");
        let slow = timeout(3 * TIMEOUT, slow).await.unwrap();
        assert!(!slow.contains("200 OK"), "{slow}");
        let long = format!("GET /livez HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(2 * MOST_HEAD));
        let long = said(address, &long).await;
        assert!(!long.contains("200 OK"), "{long}");
    }
}
