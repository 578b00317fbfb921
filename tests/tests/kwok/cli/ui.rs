//! `ui`: who is answered, what follows the cluster, and what a request does; `report` and `version`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::Child,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
};
use serde_json::{Value, json};

use super::Cli;

/// The longest time for what follows from a change.
const PATIENCE: Duration = Duration::from_mins(1);

/// The running page.
struct Page {
    child: Child,
    host: String,
    token: String,
}

impl Page {
    fn open(cli: &Cli<'_>) -> Result<Self> {
        let mut child = cli.start(&["ui"])?;
        let out = child.stdout.take().context("its output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let url = line.split_whitespace().last().context("an address")?;
        let rest = url.strip_prefix("http://").with_context(|| line.clone())?;
        let (host, token) = rest.split_once("/?token=").with_context(|| line.clone())?;
        Ok(Self { child, host: host.to_owned(), token: token.to_owned() })
    }

    fn send(&self, method: &str, path: &str, headers: &[String], body: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(&self.host)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        Ok(stream)
    }

    /// Returns the head of the answer, and its body.
    fn asked(
        &self,
        method: &str,
        path: &str,
        headers: &[String],
        body: &str,
    ) -> Result<(String, String)> {
        let mut answer = String::new();
        self.send(method, path, headers, body)?.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
        Ok((head.to_owned(), body.to_owned()))
    }

    fn own(&self) -> Vec<String> {
        vec![
            format!("Host: {}", self.host),
            format!("Origin: http://{}", self.host),
            format!("Authorization: Bearer {}", self.token),
            "Content-Type: application/json".to_owned(),
        ]
    }

    /// Returns the first line of a stream that `is` accepts.
    fn line(&self, path: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let stream = BufReader::new(self.send("GET", path, &self.own(), "")?);
        let begun = Instant::now();
        for line in stream.lines() {
            let line = line?;
            if let Ok(value) = serde_json::from_str::<Value>(&line)
                && is(&value)
            {
                return Ok(value);
            }
            ensure!(begun.elapsed() < PATIENCE, "the last line of {path} is {line}");
        }
        anyhow::bail!("{path} ended");
    }

    fn request(&self, release: &str, request: &Value) -> Result<Value> {
        let path = format!("{release}/request");
        let (head, body) = self.asked("POST", &path, &self.own(), &request.to_string())?;
        serde_json::from_str(&body).with_context(|| format!("{head}\n{body}"))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_page_follows_the_releases_and_sends_requests() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ui").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let objects = [job("migrate").hook("pre-install").never_ends(), config_map("main", "1")];
    namespace.release("shop", &objects, json!({})).await?;
    let page = Page::open(&cli)?;

    let releases = "/api/releases";
    let runs =
        page.line(releases, |line| line["release"]["message"] == "pre-install Job/migrate")?;
    assert_eq!(runs["release"]["mood"], "busy", "{runs}");
    let shop = format!("/api/releases/{}/shop", namespace.name);
    let detail = page.line(&shop, |line| {
        let steps = line["detail"]["steps"].as_array();
        steps.is_some_and(|steps| steps.iter().any(|step| step["doing"] == "running"))
    })?;
    let detail = &detail["detail"];
    let offered: Vec<_> = detail["actions"].as_array().context("actions")?.iter().collect();
    ensure!(offered.iter().any(|it| it["action"] == "cancel"), "{detail:#}");
    ensure!(!offered.iter().any(|it| it["action"] == "test"), "{detail:#}");

    let (uid, operation) = (&detail["release"]["uid"], &detail["release"]["operation"]);
    let before = json!({"action": "cancel", "uid": uid, "operation": "another"});
    let refused = page.request(&shop, &before)?;
    assert_eq!(refused["isGood"], false, "{refused}");
    ensure!(refused["output"].to_string().contains("another operation has begun"), "{refused}");
    let cancel = json!({"action": "cancel", "uid": uid, "operation": operation});
    let done = page.request(&shop, &cancel)?;
    assert_eq!(done["isGood"], true, "{done}");
    page.line(releases, |line| line["release"]["ready"] == "Ready=False Cancelled")?;
    namespace.wait_stalled("shop", &controller).await?;

    for (part, expected) in [("plan", "migrate"), ("events", "Cancelled"), ("history", "failed")] {
        let (_, body) = page.asked("GET", &format!("{shop}/{part}"), &page.own(), "")?;
        ensure!(body.contains(expected), "{part}: {body}");
    }
    namespace.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
    page.line(releases, |line| line["type"] == "listed")?;
    namespace.wait_released("shop", &controller).await?;
    page.line(&shop, |line| line["type"] == "gone")?;
    Ok(())
}

#[tokio::test]
async fn the_page_answers_nobody_else() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ui-guard").await?;
    let cli = Cli::new(&namespace)?;
    let page = Page::open(&cli)?;
    let host = format!("Host: {}", page.host);
    let token = format!("Authorization: Bearer {}", page.token);
    let with_token = format!("/?token={}", page.token);
    let foreign = "Origin: http://evil.example".to_owned();
    let own = format!("Origin: http://{}", page.host);
    for (method, path, headers, code) in [
        ("GET", &*with_token, vec![host.clone()], "200"),
        ("GET", "/", vec![host.clone()], "401"),
        ("GET", &with_token, vec!["Host: evil.example".to_owned()], "421"),
        ("GET", "/api/releases", vec![host.clone()], "401"),
        ("GET", "/api/releases", vec![host.clone(), token.clone(), foreign], "403"),
        ("POST", "/api/releases/a/b/request", vec![host.clone(), token.clone()], "403"),
        ("GET", "/api/releases/a/--help/plan", vec![host.clone(), token.clone()], "502"),
        ("GET", "/api/releases/a/b/delete", vec![host.clone(), token.clone()], "404"),
        ("POST", "/api/releases/a/b/request", vec![host.clone(), token.clone(), own], "415"),
    ] {
        let (head, _) = page.asked(method, path, &headers, "{}")?;
        let found = head.split(' ').nth(1);
        assert_eq!(found, Some(code), "{method} {path} {headers:?}: {head}");
        let head = head.to_ascii_lowercase();
        ensure!(head.contains("content-security-policy: default-src 'none'"), "{head}");
        ensure!(!head.contains("access-control-allow"), "{head}");
    }
    let (head, body) = page.asked("POST", "/api/releases/a/b/request", &page.own(), "{}")?;
    ensure!(head.contains(" 422 "), "{head}\n{body}");
    let long = format!("\"{}\"", "x".repeat(20_000));
    let (head, _) = page.asked("POST", "/api/releases/a/b/request", &page.own(), &long)?;
    ensure!(head.contains(" 413 "), "{head}");
    Ok(())
}

#[tokio::test]
async fn a_report_and_the_versions_are_written() -> Result<()> {
    let namespace = Namespace::new(kwok(), "report").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let hostile = config_map("main", "</script><script>alert(1)</script>");
    let objects = [job("migrate").hook("pre-install").fails(), hostile];
    namespace.release("shop", &objects, json!({})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    let page = cli.run(&["report", "shop"])?;
    assert_eq!(page.code, Some(0), "{}", page.err);
    for part in ["Content-Security-Policy", "Job/migrate", "\"revision\":1", "HookFailed"] {
        ensure!(page.out.contains(part), "{part} is missing");
    }
    ensure!(!page.out.contains("alert(1)</script>"), "a text is markup");

    let end = cli.run(&["version"])?;
    let lines: Vec<_> = end.out.lines().collect();
    ensure!(lines.len() >= 3 && lines[0].starts_with("client"), "{}", end.out);
    let definition = lines.last().copied().unwrap_or_default();
    assert_eq!(definition, "definition  v1alpha1  as of this client", "{}", end.out);
    let user = Cli::of_user(&namespace, "jane", "get")?;
    let end = user.run(&["version", "-o", "json"])?;
    let rows: Value = serde_json::from_str(&end.out)?;
    ensure!(rows[1]["version"] == "unknown" && end.code == Some(0), "{rows:#}");
    Ok(())
}
