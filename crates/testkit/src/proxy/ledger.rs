//! The stored data of each request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::USER_AGENT;
use hyper::{Method, StatusCode};
use jiff::Timestamp;

/// One request that came to the proxy.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its place among all requests since the last arming or reset, from 1.
    pub n: usize,
    /// Its place among those that the armed fault counts (without one: all except watches), from 1.
    pub counted: Option<usize>,
    /// The HTTP method.
    pub method: Method,
    /// The path, with the query.
    pub path: String,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
    /// The client's `Impersonate-User`.
    pub impersonated: Option<String>,
    /// The answer's status, given by the API server or by a fault; also of an answer that was
    /// lost on purpose. `None`: not answered.
    pub status: Option<u16>,
    /// The time when it arrived.
    pub started: Timestamp,
    /// The time when the answer's last byte was passed on, or the request was given up. `None`:
    /// still open.
    pub finished: Option<Timestamp>,
}

impl Request {
    pub(super) fn new<B>(request: &hyper::Request<B>) -> Self {
        let header = |name: &str| {
            let value = request.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Self {
            n: 0,
            counted: None,
            method: request.method().clone(),
            path: request.uri().to_string(),
            user_agent: header(USER_AGENT.as_str()),
            impersonated: header("impersonate-user"),
            status: None,
            started: Timestamp::now(),
            finished: None,
        }
    }

    /// Returns whether it asks to store something. Access reviews and similar requests are POSTs
    /// that store nothing, and so is a dry run, unless requested in the body of a DELETE.
    pub fn is_write(&self) -> bool {
        const WRITES: [Method; 4] = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        WRITES.contains(&self.method)
            && !self.path.starts_with("/apis/authorization.k8s.io/")
            && !self.path.starts_with("/apis/authentication.k8s.io/")
            && self.query("dryRun").is_none()
    }

    /// Returns whether it is a watch.
    pub fn is_watch(&self) -> bool {
        self.method == Method::GET
            && self.query("watch").is_some_and(|value| !matches!(value, "false" | "0"))
    }

    fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.path.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        })
    }
}

/// The requests so far; the proxy's tasks fill in what becomes known later.
#[derive(Debug, Default)]
pub(super) struct Ledger(Vec<Arc<Mutex<Request>>>);

impl Ledger {
    pub(super) fn add(&mut self, mut request: Request) -> Arc<Entry> {
        request.n = self.0.len() + 1;
        let record = Arc::new(Mutex::new(request));
        self.0.push(Arc::clone(&record));
        Arc::new(Entry(record))
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.0.iter().map(|record| lock(record).clone()).collect()
    }
}

/// A request in progress. It is finished when its last owner drops it, for any reason: the answer
/// ended, the client disconnected, or a fault swallowed it.
#[derive(Debug)]
pub(super) struct Entry(Arc<Mutex<Request>>);

impl Entry {
    pub(super) fn answered(&self, status: StatusCode) {
        lock(&self.0).status = Some(status.as_u16());
    }

    pub(super) fn until_end_of(
        self: Arc<Self>,
        body: Incoming,
    ) -> impl Body<Data = Bytes, Error = hyper::Error> + Send + Sync {
        body.map_frame(move |frame| {
            let _open = &self;
            frame
        })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        lock(&self.0).finished = Some(Timestamp::now());
    }
}

fn lock(record: &Mutex<Request>) -> MutexGuard<'_, Request> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}
