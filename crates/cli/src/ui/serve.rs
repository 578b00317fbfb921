//! The routes. Each answer has the headers that keep what it says inside of the page.

use std::sync::Arc;

use anyhow::anyhow;
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

use super::{
    actions,
    follow::{self, lines},
    guard::{Guard, POLICY},
    page,
    run::{Commands, Target},
};
use crate::cluster::Cluster;

/// The longest body of a request.
const MOST_BODY: usize = 16 * 1024;
/// The headers of every answer.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

pub(super) struct Site {
    pub(super) cluster: Cluster,
    pub(super) commands: Commands,
    pub(super) guard: Guard,
}

type Shared = State<Arc<Site>>;

pub(super) async fn serve(listener: TcpListener, site: Site) -> anyhow::Result<()> {
    let site = Arc::new(site);
    let script = ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], page::SCRIPT);
    let style = ([(CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE);
    let routes = Router::new()
        .route("/", get(|| async { Html(page::served()) }))
        .route("/app.js", get(move || async move { script }))
        .route("/style.css", get(move || async move { style }))
        .route("/api/releases", get(releases))
        .route("/api/releases/{namespace}/{name}", get(release))
        .route("/api/releases/{namespace}/{name}/request", post(request))
        .route("/api/releases/{namespace}/{name}/logs", get(logs))
        .route("/api/releases/{namespace}/{name}/{command}", get(shown))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(middleware::from_fn_with_state(site.clone(), guarded))
        .with_state(site);
    Ok(axum::serve(listener, routes).await?)
}

/// Refuses what does not come from the page, and adds the headers to each answer.
async fn guarded(State(site): Shared, request: Request, next: Next) -> Response {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default();
    let checked = site.guard.check(request.method(), uri.path(), query, request.headers());
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(status) => {
            let says =
                "Open the address that `kubectl lifecycle ui` has printed: it has a token.\n";
            (status, says).into_response()
        }
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn releases(State(site): Shared) -> Response {
    stream(lines(follow::releases(&site.cluster)), "application/x-ndjson")
}

async fn release(State(site): Shared, Path((namespace, name)): Path<(String, String)>) -> Response {
    let target = match target(namespace, name) {
        Ok(target) => target,
        Err(refused) => return refused.into_response(),
    };
    let cluster = site.cluster.clone().in_namespace(&target.namespace);
    stream(lines(follow::release(&cluster, &target.name)), "application/x-ndjson")
}

/// Makes a request of the release, as the command does.
async fn request(
    State(site): Shared,
    Path((namespace, name)): Path<(String, String)>,
    Json(request): Json<actions::Request>,
) -> Result<Response, Failed> {
    let target = target(namespace, name)?;
    let object = site.cluster.clone().in_namespace(&target.namespace).get(&target.name).await?;
    if let Some(why) = request.outdated(&object) {
        let says = json!({"isGood": false, "output": format!("Nothing was requested: {why}.\n")});
        return Ok(Json(says).into_response());
    }
    let arguments: Vec<_> = request.argument().into_iter().collect();
    let done = site.commands.run(actions::words(request.action), &target, &arguments).await?;
    let output = done.output + &done.complaints;
    Ok(Json(json!({"isGood": done.is_good, "output": output})).into_response())
}

/// Which log is shown.
#[derive(Deserialize)]
struct Log {
    hook: String,
    attempt: Option<u32>,
    #[serde(default)]
    follow: bool,
}

async fn logs(
    State(site): Shared,
    Path((namespace, name)): Path<(String, String)>,
    Query(log): Query<Log>,
) -> Result<Response, Failed> {
    let target = target(namespace, name)?;
    let attempt = log.attempt.map(|attempt| format!("--attempt={attempt}"));
    let mut words = vec!["logs"];
    words.extend(attempt.as_deref());
    words.extend(log.follow.then_some("--follow"));
    let parts = site.commands.stream(&words, &target, &[log.hook]).await?;
    Ok(stream(parts, "text/plain; charset=utf-8"))
}

/// Shows the output of a command that reads.
async fn shown(
    State(site): Shared,
    Path((namespace, name, command)): Path<(String, String, String)>,
) -> Result<Response, Failed> {
    let target = target(namespace, name)?;
    let words: &[&str] = match &*command {
        "plan" => &["plan"],
        "diff" => &["diff"],
        "events" => &["events"],
        "history" => &["history", "--output=json"],
        "doctor" => &["doctor"],
        _ => return Ok(StatusCode::NOT_FOUND.into_response()),
    };
    let done = site.commands.run(words, &target, &[]).await?;
    let says =
        json!({"isGood": done.is_good, "output": done.output, "complaints": done.complaints});
    Ok(Json(says).into_response())
}

fn stream<S, T, E>(parts: S, content: &'static str) -> Response
where
    S: futures::Stream<Item = Result<T, E>> + Send + 'static,
    T: Into<axum::body::Bytes>,
    E: Into<axum::BoxError>,
{
    ([(CONTENT_TYPE, content)], Body::from_stream(parts)).into_response()
}

/// Returns the release of a path, whose names are those of Kubernetes: no word of theirs is a flag.
fn target(namespace: String, name: String) -> Result<Target, Failed> {
    let is_name = |text: &str| {
        let is_of_name = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
        };
        !text.is_empty()
            && text.len() <= 253
            && text.bytes().all(is_of_name)
            && !text.starts_with('-')
    };
    if is_name(&namespace) && is_name(&name) {
        Ok(Target { namespace, name })
    } else {
        Err(Failed(anyhow!("{namespace}/{name} is no name of a release")))
    }
}

/// An error as the answer to a request.
struct Failed(anyhow::Error);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, format!("{:#}\n", self.0)).into_response()
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}
