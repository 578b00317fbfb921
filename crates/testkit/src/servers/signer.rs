use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, body::Incoming, header};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rcgen::{KeyPair, SigningKey as _};
use serde_json::json;

use super::{PASSWORD, Registry, USERNAME};
use crate::cluster::digest;

/// A pair of keys that signs charts as cosign does with `--key`.
pub struct Signer(KeyPair);

impl Signer {
    /// Makes a new pair.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(KeyPair::generate().context("making a pair of keys")?))
    }

    /// Returns the text of `cosign.pub`.
    pub fn public_key(&self) -> String {
        self.0.public_key_pem()
    }

    /// Signs the chart of this digest, in a repository such as `charts/shop` of a registry without
    /// TLS.
    ///
    /// # Errors
    /// If the registry refuses.
    pub async fn sign(
        &self,
        registry: &Registry,
        repository: &str,
        chart: &str,
    ) -> anyhow::Result<()> {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": ""},
                "image": {"docker-manifest-digest": chart},
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string();
        let signature = self.0.sign(payload.as_bytes()).context("signing")?;
        let (size, payload_digest) = (payload.len(), digest(payload.as_bytes()));
        let config = "{}";
        let to = format!("http://{}/v2/{repository}", registry.address());
        for blob in [payload.as_str(), config] {
            let begun = send(Method::POST, &format!("{to}/blobs/uploads/"), "", "").await?;
            let location =
                begun.headers().get(header::LOCATION).context("no place to upload to")?;
            let location = format!("{}&digest={}", location.to_str()?, digest(blob.as_bytes()));
            send(Method::PUT, &location, "application/octet-stream", blob).await?;
        }
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "size": config.len(), "digest": digest(config.as_bytes()),
            },
            "layers": [{
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "size": size, "digest": payload_digest,
                "annotations": {"dev.cosignproject.cosign/signature": STANDARD.encode(signature)},
            }],
        });
        let at = format!("{to}/manifests/{}.sig", chart.replace(':', "-"));
        send(Method::PUT, &at, kind, &manifest.to_string()).await?;
        Ok(())
    }
}

async fn send(
    method: Method,
    to: &str,
    kind: &str,
    body: &str,
) -> anyhow::Result<Response<Incoming>> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let login = STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
    let request = Request::builder()
        .method(method)
        .uri(to)
        .header(header::AUTHORIZATION, format!("Basic {login}"))
        .header(header::CONTENT_TYPE, kind)
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
    let answer = client.request(request).await.with_context(|| format!("asking {to}"))?;
    let is_taken = matches!(answer.status(), StatusCode::ACCEPTED | StatusCode::CREATED);
    ensure!(is_taken, "{to}: {}", answer.status());
    Ok(answer)
}
