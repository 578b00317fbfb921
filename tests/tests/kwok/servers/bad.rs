//! Wrong places of charts. Each release reports its own, and a witness goes
//! on.

use std::{fs, process::Command};

use anyhow::{Result, ensure};
use e2e::{Namespace, kwok, manifests::config_map, message};
use serde_json::{Value, json};
use testkit::servers::{Answer, Certificates, PASSWORD, Registry, Site};

use super::{
    controller, keeps_secrets, login, oci, package, push, repository, scratch, secret, wait_reason,
    wait_revision,
};

/// An index with one version of `shop`, whose archive stands beside it.
fn index(digest: &str) -> Answer {
    Answer::file(format!(
        "apiVersion: v1\nentries:\n  shop:\n  - {{apiVersion: v2, name: shop, version: 1.0.0, \
         urls: [shop-1.0.0.tgz], digest: '{digest}'}}\n"
    ))
}

/// An archive with a file that would be put beside the folder it is unpacked to.
fn leaving_its_folder(namespace: &Namespace) -> Result<Vec<u8>> {
    let folder = scratch(namespace, "leaves")?;
    fs::create_dir_all(folder.join("shop"))?;
    fs::write(folder.join("shop/Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 1.0.0\n")?;
    fs::write(folder.join("evil.yaml"), "evil")?;
    let archive = folder.join("leaves.tgz");
    let made = Command::new("tar")
        .args(["--create", "--gzip", "--absolute-names", "--transform", "s,^evil,../../evil,"])
        .arg("--file")
        .arg(&archive)
        .args(["shop", "evil.yaml"])
        .current_dir(&folder)
        .output()?;
    ensure!(made.status.success(), "tar: {}", String::from_utf8_lossy(&made.stderr));
    Ok(fs::read(archive)?)
}

struct Case {
    name: &'static str,
    spec: Value,
    reason: &'static str,
    says: Vec<String>,
}

fn case(name: &'static str, spec: Value, reason: &'static str, says: &[&str]) -> Case {
    Case { name, spec, reason, says: says.iter().map(|it| (*it).to_owned()).collect() }
}

async fn run(namespace: &Namespace, cases: Vec<Case>) -> Result<()> {
    let controller = controller(namespace)?;
    for case in &cases {
        namespace.release(case.name, &[], case.spec.clone()).await?;
    }
    namespace.release("witness", &[config_map("witness", "1")], json!({})).await?;
    namespace.wait_ready("witness", &controller).await?;
    for Case { name, reason, says, .. } in &cases {
        let release = wait_reason(namespace, &controller, name, reason).await?;
        for part in says {
            let message = message(&release);
            assert!(message.contains(part), "{name}: {part:?} is not in {message:?}");
        }
    }
    keeps_secrets(namespace, &controller)
}

#[tokio::test]
async fn what_is_wrong_with_a_repository_is_said_with_its_url() -> Result<()> {
    let namespace = Namespace::new(kwok(), "bad-repository").await?;
    let site = Site::plain().await?;
    let archive = fs::read(package(&namespace, "1.0.0", "")?)?;
    let at = |folder: &str, more: Value| repository(&format!("{}/{folder}", site.url()), more);
    let put = |folder: &str, index: Answer, archive: Answer| {
        site.put(&format!("/{folder}/index.yaml"), index);
        site.put(&format!("/{folder}/shop-1.0.0.tgz"), archive);
    };
    let good = || Answer::file(archive.clone());
    put("good", index(""), good());
    put("no-yaml", Answer::file("{"), good());
    put("changed", index(&"0".repeat(64)), good());
    put("huge", index(""), Answer::Zeros(100 << 20));
    put("leaves", index(""), Answer::file(leaving_its_folder(&namespace)?));
    put("no-archive", index(""), Answer::file("<html>"));
    let metadata = "http://169.254.169.254/latest/meta-data/";
    put("link-local", Answer::Redirect(metadata.to_owned()), good());
    let api_server = kwok().server();
    put("api-server", index(""), Answer::Redirect(format!("{api_server}/api/v1/secrets")));
    put("broken", Answer::Status(500), good());

    let address = api_server.trim_start_matches("https://");
    let cases = vec![
        case(
            "version",
            at("good", json!({"version": "9.9.9"})),
            "ChartNotFound",
            &["spec.source.chart.repository (http://127.0.0.1:", "/good shop 9.9.9)"],
        ),
        case("range", at("good", json!({"version": ">9"})), "ChartNotFound", &[">9"]),
        case("name", at("good", json!({"name": "other"})), "ChartNotFound", &["other"]),
        case("no-index", at("nowhere", json!({})), "ChartNotFound", &["/nowhere"]),
        case("no-yaml", at("no-yaml", json!({})), "InvalidSource", &["index"]),
        case("changed", at("changed", json!({})), "DigestMismatch", &["index says"]),
        case("huge", at("huge", json!({})), "ChartTooLarge", &["20971520"]),
        case("leaves", at("leaves", json!({})), "InvalidChart", &["evil"]),
        case("no-archive", at("no-archive", json!({})), "InvalidChart", &[]),
        case("link-local", at("link-local", json!({})), "SourceRefused", &["169.254.169.254"]),
        case("redirect", at("api-server", json!({})), "SourceRefused", &[address]),
        case(
            "private",
            repository("http://10.255.255.1", json!({})),
            "SourceRefused",
            &["10.255.255.1", "private network", "--source-allow", "or name another server"],
        ),
        case("itself", repository(api_server, json!({})), "SourceRefused", &[address]),
        case("broken", at("broken", json!({})), "SourceUnreachable", &["500"]),
    ];
    run(&namespace, cases).await
}

#[tokio::test]
async fn what_is_wrong_with_a_registry_or_its_login_is_said() -> Result<()> {
    let namespace = Namespace::new(kwok(), "bad-oci").await?;
    let certificates = Certificates::new()?;
    let (plain, secured) = (Registry::start(None)?, Registry::start(Some(&certificates))?);
    push(&namespace, &plain, &package(&namespace, "1.0.0", "")?, &["--plain-http"])?;
    login(&namespace, "login", PASSWORD).await?;
    login(&namespace, "wrong", "wrong-horse").await?;
    secret(&namespace, "empty", json!({"pass": PASSWORD})).await?;
    secret(&namespace, "config", json!({".dockerconfigjson": "{\"auths\": {}}"})).await?;
    let at = |more: Value| {
        let mut spec = oci(&plain, more);
        spec["source"]["chart"]["oci"]["insecure"] = true.into();
        spec
    };
    let with = |secret: &str, more: Value| {
        let mut spec = at(more);
        spec["source"]["chart"]["oci"]["secretRef"] = json!({"name": secret});
        spec
    };
    let digest = format!("sha256:{}", "1".repeat(64));
    let cases = vec![
        case("tag", with("login", json!({"version": "7.7.7"})), "ChartNotFound", &["7.7.7"]),
        case("range", with("login", json!({"version": "^7"})), "ChartNotFound", &["^7"]),
        case("digest", with("login", json!({"digest": digest})), "ChartNotFound", &[&digest]),
        case("anonymous", at(json!({})), "Unauthorized", &["name a Secret"]),
        case("wrong", with("wrong", json!({})), "Unauthorized", &["correct the user name"]),
        case(
            "missing",
            with("nobody", json!({})),
            "SourceNotFound",
            &["spec.source.chart.oci.secretRef (Secret/nobody): Secret/nobody does not exist"],
        ),
        case(
            "empty",
            with("empty", json!({})),
            "SourceNotFound",
            &["username and password or .dockerconfigjson (there: pass)"],
        ),
        case("config", with("config", json!({})), "InvalidSource", &["no entry for 127.0.0.1:"]),
        case(
            "authority",
            oci(&secured, json!({"secretRef": {"name": "login"}})),
            "SourceUnreachable",
            &["certificate", "certSecretRef"],
        ),
    ];
    run(&namespace, cases).await
}

#[tokio::test]
async fn a_login_that_is_corrected_is_used_at_once() -> Result<()> {
    let namespace = Namespace::new(kwok(), "oci-login").await?;
    let controller = controller(&namespace)?;
    let registry = Registry::start(None)?;
    push(&namespace, &registry, &package(&namespace, "1.0.0", "")?, &["--plain-http"])?;
    login(&namespace, "login", "wrong-horse").await?;
    let mut spec = oci(&registry, json!({"insecure": true, "secretRef": {"name": "login"}}));
    spec["interval"] = "10h".into();
    namespace.release("shop", &[], spec).await?;
    wait_reason(&namespace, &controller, "shop", "Unauthorized").await?;
    login(&namespace, "login", PASSWORD).await?;
    wait_revision(&namespace, &controller, 1).await?;
    keeps_secrets(&namespace, &controller)
}

#[tokio::test]
async fn a_chart_that_is_published_late_is_found_when_it_is_asked_for_again() -> Result<()> {
    let namespace = Namespace::new(kwok(), "oci-late").await?;
    let controller = controller(&namespace)?;
    let registry = Registry::start(None)?;
    login(&namespace, "login", PASSWORD).await?;
    let mut spec = oci(&registry, json!({"insecure": true, "secretRef": {"name": "login"}}));
    spec["interval"] = "10h".into();
    namespace.release("shop", &[], spec).await?;
    wait_reason(&namespace, &controller, "shop", "ChartNotFound").await?;
    push(&namespace, &registry, &package(&namespace, "1.0.0", "")?, &["--plain-http"])?;
    namespace.annotate("shop", "retryAt", "1")?;
    wait_revision(&namespace, &controller, 1).await?;
    Ok(())
}

#[tokio::test]
async fn nothing_is_fetched_from_the_operators_own_machine() -> Result<()> {
    let namespace = Namespace::new(kwok(), "loopback").await?;
    let cache = scratch(&namespace, "")?.join("cache");
    let controller = namespace.controller_with(&["--chart-cache", &cache.to_string_lossy()])?;
    let site = Site::plain().await?;
    site.put("/index.yaml", index(""));
    let url = site.url().replace("127.0.0.1", "localhost");
    for (name, url) in [("address", site.url()), ("name", url)] {
        namespace.release(name, &[], repository(&url, json!({}))).await?;
        let release = wait_reason(&namespace, &controller, name, "SourceRefused").await?;
        assert!(message(&release).contains("own machine"), "{}", message(&release));
    }
    assert_eq!(site.asked(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn clear_text_is_refused_if_the_administrator_forbids_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "https-only").await?;
    let cache = scratch(&namespace, "")?.join("cache");
    let args = ["--source-allow=127.0.0.0/8", "--insecure-allow-http=false", "--chart-cache"];
    let cache = cache.to_string_lossy();
    let controller = namespace.controller_with(&[&args[..], &[&cache]].concat())?;
    let site = Site::plain().await?;
    namespace.release("site", &[], repository(&site.url(), json!({}))).await?;
    let registry = Registry::start(None)?;
    namespace.release("registry", &[], oci(&registry, json!({"insecure": true}))).await?;
    for name in ["site", "registry"] {
        let release = wait_reason(&namespace, &controller, name, "SourceRefused").await?;
        assert!(message(&release).contains("--insecure-allow-http"), "{}", message(&release));
    }
    assert_eq!(site.asked(), [""; 0]);
    Ok(())
}
