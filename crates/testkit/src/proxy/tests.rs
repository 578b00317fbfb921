use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};

use hyper::Method;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// An API server's stand-in: repeats the request, and reports each request. `/watch` answers with
/// the content of `events`, piece by piece.
struct Stub {
    proxy: Proxy,
    client: Client<HttpConnector, Full<Bytes>>,
    seen: mpsc::UnboundedReceiver<hyper::http::request::Parts>,
    events: mpsc::UnboundedSender<Bytes>,
    watches: watch::Receiver<usize>,
}

struct Events(mpsc::UnboundedReceiver<Bytes>, watch::Sender<usize>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
        self.0.poll_recv(cx).map(|event| event.map(hyper::body::Frame::data).map(Ok))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.1.send_modify(|open| *open -= 1);
    }
}

impl Stub {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let (tell, seen) = mpsc::unbounded_channel();
        let (events, stream) = mpsc::unbounded_channel();
        let (open, watches) = watch::channel(0);
        let stream = Arc::new(Mutex::new(Some(Events(stream, open.clone()))));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tell, stream, open) = (tell.clone(), Arc::clone(&stream), open.clone());
                let service = service_fn(move |request: hyper::Request<Incoming>| {
                    let (tell, stream, open) = (tell.clone(), Arc::clone(&stream), open.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let watch = head.uri.path() == "/watch";
                        let _ = tell.send(head);
                        let body = body.collect().await?.to_bytes();
                        let stream = watch.then(|| stream.lock().unwrap().take()).flatten();
                        Ok::<_, hyper::Error>(Response::new(match stream {
                            Some(events) => {
                                open.send_modify(|open| *open += 1);
                                events.boxed()
                            }
                            None => full(body),
                        }))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        let upstream = Upstream { server, ca_pem: Vec::new(), token: "t0ken".to_owned() };
        let proxy = Proxy::start(upstream).await.unwrap();
        // A client that repeats requests by itself would hide the proxy's behaviour.
        let client =
            Client::builder(TokioExecutor::new()).retry_canceled_requests(false).build_http();
        Self { proxy, client, seen, events, watches }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: &'static str,
    ) -> hyper::Request<Full<Bytes>> {
        hyper::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.proxy.url()))
            .body(Full::from(body))
            .unwrap()
    }

    /// Returns status and body, or `None` when the connection was closed without an answer.
    async fn send(&self, method: Method, path: &str, body: &'static str) -> Option<(u16, String)> {
        let sent = self.client.request(self.request(method, path, body));
        let answer = timeout(SOON, sent).await.unwrap().ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Some((status, String::from_utf8(body.to_vec()).unwrap()))
    }

    fn forwarded(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.seen.try_recv().ok())
            .map(|head| format!("{} {}", head.method, head.uri))
            .collect()
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("600").spawn().unwrap()
}

#[tokio::test]
async fn passes_on_and_records() {
    let mut stub = Stub::start().await;
    let mut request = stub.request(Method::POST, "/api/v1/pods?limit=5", "{}");
    let headers = request.headers_mut();
    headers.insert("impersonate-user", HeaderValue::from_static("tenant"));
    headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer mine"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("probe/1"));
    let answer = stub.client.request(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "{}");
    let head = stub.seen.recv().await.unwrap();
    assert_eq!(head.headers["impersonate-user"], "tenant");
    assert_eq!(head.headers["authorization"], "Bearer mine");
    stub.send(Method::GET, "/b", "").await.unwrap();
    let head = stub.seen.recv().await.unwrap();
    assert_eq!(head.headers["authorization"], "Bearer t0ken", "added for client-go");

    let requests = stub.proxy.requests();
    let [first, second] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((first.n, second.n, second.counted), (1, 2, Some(2)));
    assert_eq!(first.path, "/api/v1/pods?limit=5");
    assert_eq!(first.impersonated.as_deref(), Some("tenant"));
    assert_eq!(first.user_agent.as_deref(), Some("probe/1"));
    assert_eq!(first.status, Some(200));
    assert!(first.finished.unwrap() >= first.started);
    assert!(first.is_write() && !second.is_write() && !first.is_watch());

    stub.proxy.reset();
    assert!(stub.proxy.requests().is_empty());
}

#[tokio::test]
async fn watches_flow_and_are_cut_when_the_proxy_goes() {
    let mut stub = Stub::start().await;
    let path = "/watch?watch=true&resourceVersion=1";
    let answer = stub.client.request(stub.request(Method::GET, path, "")).await.unwrap();
    let mut body = answer.into_body();
    for event in ["one", "two"] {
        stub.events.send(Bytes::from(event)).unwrap();
        let frame = timeout(SOON, body.frame()).await.unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event, "each event by itself");
    }
    let request = stub.proxy.requests().remove(0);
    assert!(request.is_watch());
    assert_eq!((request.n, request.counted, request.finished), (1, None, None));

    drop(stub.proxy);
    let end = timeout(SOON, body.frame()).await.unwrap();
    assert!(end.is_none_or(|frame| frame.is_err()), "the client's side is cut");
    timeout(SOON, stub.watches.wait_for(|open| *open == 0)).await.unwrap().unwrap();
}

#[tokio::test]
async fn kills_before_or_after_the_request() {
    for (when, forwarded) in [(When::Before, false), (When::After, true)] {
        let mut stub = Stub::start().await;
        let mut child = sleeper();
        stub.send(Method::GET, "/early", "").await.unwrap();
        stub.proxy.arm(Fault::KillAt { n: 2, pid: child.id(), when }).unwrap();
        stub.send(Method::GET, "/first?watch=1", "").await.unwrap();
        stub.send(Method::GET, "/first", "").await.unwrap();
        assert!(!stub.proxy.armed_hit());
        assert!(child.try_wait().unwrap().is_none());
        stub.forwarded();

        assert_eq!(stub.send(Method::POST, "/second", "x").await, None);
        stub.proxy.wait_hit(SOON).await.unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_eq!(stub.forwarded(), if forwarded { vec!["POST /second"] } else { vec![] });
        assert_eq!(stub.proxy.requests()[2].status, forwarded.then_some(200));

        stub.send(Method::GET, "/third", "").await.expect("fires once");
        assert_eq!(stub.proxy.hits(), 1);
    }
}

/// Waits for a signal to take effect, some time after it was sent.
async fn until_stopped(child: &Child, stopped: bool) {
    let path = format!("/proc/{}/stat", child.id());
    let reached = async {
        while std::fs::read_to_string(&path).unwrap().contains(") T ") != stopped {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, reached).await.unwrap();
}

#[tokio::test]
async fn a_stopped_process_has_its_request_arrive_late() {
    for when in [When::Before, When::After] {
        let mut stub = Stub::start().await;
        let mut child = sleeper();
        let for_ = Duration::from_millis(500);
        stub.proxy.arm(Fault::StopAt { n: 1, pid: child.id(), when, for_ }).unwrap();
        let sent = stub.client.request(stub.request(Method::GET, "/a", ""));
        let sent = tokio::spawn(sent);
        stub.proxy.wait_hit(SOON).await.unwrap();
        until_stopped(&child, true).await;
        assert_eq!(stub.forwarded().len(), usize::from(when == When::After));
        assert!(!sent.is_finished());
        sent.await.unwrap().unwrap();
        until_stopped(&child, false).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn a_pause_ends_when_it_is_told_to() {
    let stub = Stub::start().await;
    let mut child = sleeper();
    let fault = Fault::StopAt { n: 1, pid: child.id(), when: When::Before, for_: SOON * 60 };
    stub.proxy.arm(fault).unwrap();
    let sent = tokio::spawn(stub.client.request(stub.request(Method::GET, "/a", "")));
    stub.proxy.wait_hit(SOON).await.unwrap();
    stub.proxy.resume();
    timeout(SOON, sent).await.unwrap().unwrap().unwrap();
    until_stopped(&child, false).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn dropping_the_proxy_continues_a_stopped_process() {
    let stub = Stub::start().await;
    let mut child = sleeper();
    let fault = Fault::StopAt { n: 1, pid: child.id(), when: When::Before, for_: SOON * 60 };
    stub.proxy.arm(fault).unwrap();
    let sent = tokio::spawn(stub.client.request(stub.request(Method::GET, "/a", "")));
    stub.proxy.wait_hit(SOON).await.unwrap();
    drop(stub.proxy);
    assert!(timeout(SOON, sent).await.unwrap().unwrap().is_err());
    until_stopped(&child, false).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn refuses_with_a_status_object() {
    let mut stub = Stub::start().await;
    stub.proxy.arm(Fault::FailNext { count: 1, status: 429 }).unwrap();
    let (code, body) = stub.send(Method::GET, "/a", "").await.unwrap();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["code"], &body["kind"]), (429, &429.into(), &"Status".into()));
    assert_eq!(body["reason"], "TooManyRequests");
    assert!(stub.forwarded().is_empty());
    assert_eq!(stub.proxy.requests()[0].status, Some(429));
    assert_eq!(stub.send(Method::GET, "/a", "").await.unwrap().0, 200);

    stub.proxy.arm(Fault::FailEvery { every: 2, status: 503 }).unwrap();
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(stub.send(Method::GET, "/a", "").await.unwrap().0);
    }
    assert_eq!(codes, [200, 503, 200, 503]);
    assert_eq!(stub.proxy.hits(), 2);
}

#[tokio::test]
async fn loses_answers_and_repeats_posts() {
    let mut stub = Stub::start().await;
    stub.proxy.arm_counting(Fault::LoseAnswer { every: 1 }, Counted::Writes).unwrap();
    assert!(stub.send(Method::GET, "/a", "").await.is_some());
    assert_eq!(stub.send(Method::PUT, "/a", "x").await, None);
    assert_eq!(stub.forwarded(), ["GET /a", "PUT /a"]);

    stub.proxy.arm_counting(Fault::LoseAnswer { every: 1 }, Counted::Of("GET", "/b")).unwrap();
    assert!(stub.send(Method::GET, "/a?x=/b", "").await.is_some());
    assert!(stub.send(Method::PUT, "/b", "x").await.is_some());
    assert_eq!(stub.send(Method::GET, "/b?x=y", "").await, None);
    stub.forwarded();

    stub.proxy.arm(Fault::Duplicate { every: 1 }).unwrap();
    stub.send(Method::PATCH, "/a", "x").await.unwrap();
    let review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    stub.send(Method::POST, review, "x").await.unwrap();
    assert!(!stub.proxy.armed_hit());
    assert_eq!(stub.send(Method::POST, "/a", "twice").await.unwrap(), (200, "twice".to_owned()));
    assert_eq!(stub.forwarded()[2..], ["POST /a", "POST /a"]);
    assert_eq!(stub.proxy.requests().len(), 3, "the client sent it once");
}

#[tokio::test]
async fn delays() {
    let stub = Stub::start().await;
    stub.proxy.arm(Fault::DelayAll(Duration::from_millis(50))).unwrap();
    stub.send(Method::GET, "/a", "").await.unwrap();
    let request = stub.proxy.requests().remove(0);
    let took = request.finished.unwrap().duration_since(request.started);
    assert!(took.as_millis() >= 50, "{took:?}");
}

#[tokio::test]
async fn unreachable_upstream_is_said() {
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let mut stub = Stub::start().await;
    let server = format!("http://{gone}");
    let upstream = Upstream { server, ca_pem: Vec::new(), token: String::new() };
    stub.proxy = Proxy::start(upstream).await.unwrap();
    let (code, body) = stub.send(Method::GET, "/a", "").await.unwrap();
    assert_eq!(code, 502);
    assert!(body.contains("cannot reach the API server"), "{body}");
}

#[tokio::test]
async fn faults_that_cannot_be_meant_are_not_armed() {
    let stub = Stub::start().await;
    let own = std::process::id();
    for pid in [0, 1, own, u32::MAX, 1 << 31] {
        let error = stub.proxy.arm(Fault::KillAt { n: 1, pid, when: When::Before }).unwrap_err();
        assert!(error.to_string().contains("must not be signalled"), "{error}");
    }
    stub.proxy.arm(Fault::LoseAnswer { every: 0 }).unwrap_err();
    stub.proxy.arm(Fault::FailNext { count: 1, status: 200 }).unwrap_err();
    let error = stub.proxy.wait_hit(Duration::from_millis(10)).await.unwrap_err();
    assert!(error.to_string().contains("did not fire"), "{error}");
}
