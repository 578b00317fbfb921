//! Logins and certificates for servers that have charts.

use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{Namespace, kwok, message, target};
use serde_json::{Value, json};
use testkit::servers::{Answer, Certificates, Site, Takes, USERNAME};

use super::{Canaries, printed, put};

#[tokio::test]
async fn of_servers() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-servers").await?;
    let cache = target().join("tmp/charts").join(&namespace.name).join("cache");
    let args = ["--source-allow=127.0.0.0/8", "--chart-cache", &cache.to_string_lossy()];
    let controller = namespace.controller_with(&args)?;
    let mut canaries = Canaries::new();
    let certificates = Certificates::new()?;
    let (plain, login) = (Site::plain().await?, Site::start(None, Takes::Login).await?);
    let secured = Site::start(Some(&certificates), Takes::Certificate).await?;
    plain.put("/index.yaml", Answer::Status(500));
    let address = plain.url().replace("http://", "");
    let c = &mut canaries;
    let password = c.odd("password");
    let config = |entry: Value| json!({".dockerconfigjson": json!({"auths": {&*address: entry}}).to_string()});
    let secrets: Vec<(&str, Value)> = vec![
        ("wrong", json!({"username": USERNAME, "password": password})),
        ("user", json!({"username": c.odd("user"), "password": c.lines("password of two lines")})),
        ("no-user", json!({"pass": c.odd("no user")})),
        ("no-pem", json!({"ca.crt": c.odd("ca.crt")})),
        ("no-pem-2", json!({"tls.crt": c.odd("tls.crt"), "tls.key": c.odd("tls.key")})),
        (
            "no-pem-3",
            json!({"ca.crt": format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                            STANDARD.encode(c.plain("PEM")))}),
        ),
        ("half", json!({"tls.key": c.odd("half")})),
        ("config", json!({".dockerconfigjson": c.odd("no JSON")})),
        ("config-2", config(json!({"auth": STANDARD.encode(c.plain("auth without a colon"))}))),
        ("config-3", config(json!({"auth": c.odd("auth that is no base64")}))),
        ("config-4", config(json!({"username": c.odd("user"), "password": c.odd("password")}))),
        ("keys", json!({"cosign.pub": c.odd("cosign.pub"), "cosign.key": c.odd("cosign.key")})),
        (
            "policy",
            json!({"trustpolicy.json": c.odd("trustpolicy.json"), "ca.crt": c.odd("authority")}),
        ),
        ("ring", json!({"ring.gpg": c.odd("ring.gpg"), "other.asc": c.odd("other.asc")})),
    ];
    let keys = |provider: &str, name: &str| {
        json!({"source": {"chart": {"oci": {"url": format!("oci://{address}/shop"), "insecure": true,
            "verify": {"provider": provider, "secretRef": {"name": name}}}}}})
    };
    for (name, data) in &secrets {
        put(&namespace, name, data.clone()).await?;
    }
    let repository = |url: &str, more: Value| {
        let mut repository = json!({"url": url, "name": "shop"});
        for (key, value) in more.as_object().into_iter().flatten() {
            repository[key] = value.clone();
        }
        json!({"source": {"chart": {"repository": repository}}})
    };
    let secret = |name: &str| json!({"secretRef": {"name": name}});
    let certificate = |name: &str| json!({"certSecretRef": {"name": name}});
    let oci = |name: &str| {
        json!({"source": {"chart": {"oci": {"url": format!("oci://{address}/shop"), "insecure": true,
                                            "secretRef": {"name": name}}}}})
    };
    let query = format!("{}/?token={}", plain.url(), c.plain("query of the URL"));
    let cases = [
        ("wrong", repository(&login.url(), secret("wrong"))),
        ("user", repository(&login.url(), secret("user"))),
        ("no-user", repository(&login.url(), secret("no-user"))),
        ("broken", repository(&plain.url(), secret("wrong"))),
        ("no-pem", repository(&secured.url(), certificate("no-pem"))),
        ("no-pem-2", repository(&secured.url(), certificate("no-pem-2"))),
        ("no-pem-3", repository(&secured.url(), certificate("no-pem-3"))),
        ("half", repository(&secured.url(), certificate("half"))),
        ("config", oci("config")),
        ("config-2", oci("config-2")),
        ("config-3", oci("config-3")),
        ("config-4", oci("config-4")),
        ("query", repository(&query, json!({}))),
        ("keys", keys("cosign", "keys")),
        ("policy", keys("notation", "policy")),
        ("ring", keys("helm", "ring")),
        ("no-ring", keys("helm", "keys")),
    ];
    for (name, spec) in &cases {
        namespace.release(name, &[], spec.clone()).await?;
    }
    for (name, _) in &cases {
        let is = |release: &api::ReleaseLifecycle| {
            let said = message(release);
            said.contains("spec.source.chart") && !said.contains("is being fetched")
        };
        namespace.wait(name, &controller, "refused", is).await?;
    }
    let printed = printed(&namespace, cases.iter().map(|case| case.0))?;
    canaries.check(&namespace, &controller, &printed)
}
