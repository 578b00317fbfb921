//! Charts on servers: their place, and the credentials for their requests.

use api::{OciChart, RepositoryChart};
use engine::protocol::{Credentials, Origin, Verify};
use serde::Serialize;

use crate::{
    credentials::{self, Named},
    problems::Error,
    reads::Reads,
};

/// A chart of a registry or a repository, as the spec names it.
pub struct ServerChart<'a> {
    /// The place of the chart.
    pub origin: Origin,
    /// The field of the spec that names it, for messages: `spec.source.chart.oci
    /// (oci://registry.example/shop)`.
    pub place: String,
    named: Named<'a>,
}

impl<'a> ServerChart<'a> {
    pub(crate) fn oci(chart: &'a OciChart) -> Self {
        let field = "spec.source.chart.oci";
        let which = chart.digest.as_deref().or(chart.version.as_deref());
        Self {
            place: place(field, &chart.url, which),
            origin: Origin::Oci {
                url: chart.url.clone(),
                version: chart.version.clone().unwrap_or_default(),
                digest: chart.digest.clone(),
                plain_http: chart.insecure == Some(true),
            },
            named: Named {
                field,
                secret: chart.secret_ref.as_ref(),
                certificates: chart.cert_secret_ref.as_ref(),
                verify: chart.verify.as_ref(),
                registry: Some(chart.url.trim_start_matches("oci://")),
            },
        }
    }

    pub(crate) fn repository(chart: &'a RepositoryChart) -> Self {
        let field = "spec.source.chart.repository";
        let which = format!("{} {}", chart.name, chart.version.as_deref().unwrap_or_default());
        Self {
            place: place(field, &chart.url, Some(which.trim_end())),
            origin: Origin::Repository {
                url: chart.url.clone(),
                name: chart.name.clone(),
                version: chart.version.clone().unwrap_or_default(),
            },
            named: Named {
                field,
                secret: chart.secret_ref.as_ref(),
                certificates: chart.cert_secret_ref.as_ref(),
                verify: chart.verify.as_ref(),
                registry: None,
            },
        }
    }

    /// Returns the field of the spec that names it.
    pub fn field(&self) -> &'static str {
        self.named.field
    }

    /// Returns the tool that must have signed it, and the Secret with the keys: `cosign, by the keys
    /// of Secret/keys`.
    pub fn signed(&self) -> Option<String> {
        let verify = self.named.verify?;
        Some(format!("{}, by the keys of Secret/{}", verify.provider, verify.secret_ref.name))
    }

    /// Returns the keys of those who may have signed it; `None` if nobody has to.
    ///
    /// # Errors
    /// They are missing.
    pub async fn verification<R: Reads>(
        &self,
        namespace: &str,
        reads: &R,
    ) -> Result<Option<Verify>, Error<R::Error>> {
        credentials::verification(reads, namespace, &self.named).await
    }

    /// Returns whether the spec names Secrets, without which it cannot be fetched.
    pub fn needs_secrets(&self) -> bool {
        self.named.secret.is_some() || self.named.certificates.is_some()
    }

    /// Returns the chart to fetch, with the credentials of the Secrets.
    ///
    /// # Errors
    /// They are missing, or hold something else.
    pub async fn wanted<R: Reads>(
        self,
        namespace: &str,
        reads: &R,
    ) -> Result<WantedChart, Error<R::Error>> {
        let credentials = credentials::read(reads, namespace, &self.named).await?;
        let verify = self.verification(namespace, reads).await?;
        Ok(WantedChart { place: self.place, origin: self.origin, credentials, verify })
    }
}

/// A chart to be fetched.
#[derive(Clone)]
pub struct WantedChart {
    /// The field of the spec that names it, for messages.
    pub place: String,
    /// The place of the chart.
    pub origin: Origin,
    /// The credentials for the server.
    pub credentials: Option<Credentials>,
    /// The keys of those who may have signed it; `None` if nobody has to.
    pub verify: Option<Verify>,
}

/// The server, whatever version of a chart is requested.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Server<'a> {
    /// A registry.
    Registry {
        /// The URL of the chart.
        oci: &'a str,
        /// True if it is requested without TLS.
        plain: bool,
    },
    /// A repository with an index.
    Repository {
        /// Its URL.
        repository: &'a str,
        /// The name of the chart.
        name: &'a str,
    },
    /// The artifacts that a source of Flux has published; each is requested by its digest alone.
    Artifacts,
}

impl WantedChart {
    /// Returns the digest by which it is requested: then there is nothing to resolve.
    pub fn pinned(&self) -> Option<&str> {
        match &self.origin {
            Origin::Oci { digest, .. } => digest.as_deref(),
            Origin::Artifact { digest, .. } => Some(digest),
            Origin::Repository { .. } => None,
        }
    }

    /// Returns the server that has it.
    pub fn server(&self) -> Server<'_> {
        match &self.origin {
            Origin::Oci { url, plain_http, .. } => {
                Server::Registry { oci: url, plain: *plain_http }
            }
            Origin::Repository { url, name, .. } => Server::Repository { repository: url, name },
            Origin::Artifact { .. } => Server::Artifacts,
        }
    }
}

fn place(field: &str, url: &str, which: Option<&str>) -> String {
    let url = without_secrets(url);
    which.map_or_else(|| format!("{field} ({url})"), |which| format!("{field} ({url} {which})"))
}

/// Returns a URL as it may be shown: tokens may be in the part before the host, and in the query.
pub fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let cases = [
            ("https://charts.example/a/b", "https://charts.example/a/b"),
            ("https://me:pass@charts.example/a@b?token=x#y", "https://charts.example/a@b"),
            ("https://me:p@ss@charts.example", "https://charts.example"),
            ("oci://registry.example:5000/shop", "oci://registry.example:5000/shop"),
        ];
        for (url, shown) in cases {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
