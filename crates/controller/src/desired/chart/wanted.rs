//! Which chart the spec names: where it is, and with which credentials it is asked for.

use api::{OciChart, RepositoryChart};
use engine::protocol::{Credentials, Origin};
use serde::Serialize;

use super::credentials::{self, Named};
use crate::{cluster::error::Error, release::Release};

/// A chart to be fetched.
#[derive(Clone)]
pub(super) struct Wanted {
    /// Where the spec names it, for messages: `spec.source.chart.oci (oci://registry.example/shop)`.
    pub(super) place: String,
    pub(super) origin: Origin,
    pub(super) credentials: Option<Credentials>,
}

/// The server, whatever version of a chart is asked of it.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Server<'a> {
    Registry {
        oci: &'a str,
        plain: bool,
    },
    Repository {
        repository: &'a str,
        name: &'a str,
    },
    /// What a source of Flux has published, which is asked for by its digest alone.
    Artifacts,
}

impl Wanted {
    pub(super) async fn oci(release: &Release<'_>, chart: &OciChart) -> Result<Self, Error> {
        let field = "spec.source.chart.oci";
        let named = Named {
            field,
            secret: chart.secret_ref.as_ref(),
            certificates: chart.cert_secret_ref.as_ref(),
            registry: Some(chart.url.trim_start_matches("oci://")),
        };
        let which = chart.digest.as_deref().or(chart.version.as_deref());
        Ok(Self {
            place: place(field, &chart.url, which),
            credentials: credentials::read(release, &named).await?,
            origin: Origin::Oci {
                url: chart.url.clone(),
                version: chart.version.clone().unwrap_or_default(),
                digest: chart.digest.clone(),
                plain_http: chart.insecure == Some(true),
            },
        })
    }

    pub(super) async fn repository(
        release: &Release<'_>,
        chart: &RepositoryChart,
    ) -> Result<Self, Error> {
        let field = "spec.source.chart.repository";
        let named = Named {
            field,
            secret: chart.secret_ref.as_ref(),
            certificates: chart.cert_secret_ref.as_ref(),
            registry: None,
        };
        let which = format!("{} {}", chart.name, chart.version.as_deref().unwrap_or_default());
        Ok(Self {
            place: place(field, &chart.url, Some(which.trim_end())),
            credentials: credentials::read(release, &named).await?,
            origin: Origin::Repository {
                url: chart.url.clone(),
                name: chart.name.clone(),
                version: chart.version.clone().unwrap_or_default(),
            },
        })
    }

    /// The digest by which it is asked for: then there is nothing to resolve.
    pub(super) fn pinned(&self) -> Option<&str> {
        match &self.origin {
            Origin::Oci { digest, .. } => digest.as_deref(),
            Origin::Artifact { digest, .. } => Some(digest),
            Origin::Repository { .. } => None,
        }
    }

    pub(super) fn server(&self) -> Server<'_> {
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

/// A URL as it may be shown: tokens stand in what precedes the host, and in the query.
pub(super) fn without_secrets(url: &str) -> String {
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
