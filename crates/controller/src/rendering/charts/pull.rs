//! Fetches one chart, in an engine process that does nothing else, and reports why it failed.

use std::{path::PathBuf, sync::Arc, time::Duration};

use engine::{
    Breach, EngineError, Puller,
    protocol::{self, FailureKind, Origin, Pull},
};
use lifecycle::{digest, journal::Failure, reason::Reason};
use sources::{WantedChart, chart::MOST_BYTES};
use tokio::net::lookup_host;

use super::entry::Problem;
use crate::cluster::{api_server::Endpoints, metrics::Metrics};

/// The maximum time of a fetch.
const TIME: Duration = Duration::from_mins(1);

/// The settings for fetching charts.
pub(crate) struct Settings {
    pub(crate) program: PathBuf,
    /// The servers that charts may come from.
    pub(crate) reach: Reach,
    /// The API server, by each of its names and ports: no chart comes from there.
    pub(crate) api_server: Vec<(String, u16)>,
    /// The addresses at which the API server itself listens.
    pub(crate) endpoints: Endpoints,
    pub(crate) metrics: Arc<Metrics>,
    /// The user agent by which servers recognize this program's requests.
    pub(crate) user_agent: &'static str,
}

/// The servers that charts may come from, beside those of the internet.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// The servers in private networks, and on this machine, that tenants may name.
    pub(crate) allow: Vec<String>,
    /// True if tenants may name all servers in private networks.
    pub(crate) private: bool,
    /// True if registries and repositories must use TLS.
    pub(crate) https_only: bool,
    /// The servers of Flux's artifacts.
    pub(crate) artifact_hosts: Vec<String>,
}

/// The answer of the server.
pub(super) struct Pulled {
    pub(super) digest: String,
    /// `None`: unchanged.
    pub(super) archive: Option<Arc<[u8]>>,
}

pub(super) async fn pull(
    settings: &Settings,
    wanted: &WantedChart,
    known: Option<String>,
) -> Result<Pulled, Problem> {
    let request = Pull {
        from: wanted.origin.clone(),
        credentials: wanted.credentials.clone(),
        verify: wanted.verify.clone(),
        known: known.clone(),
        refuse: addresses(settings).await?,
        allow: settings.reach.allow.clone(),
        private: settings.reach.private,
        https_only: settings.reach.https_only,
        artifact_hosts: settings.reach.artifact_hosts.clone(),
        max_bytes: MOST_BYTES as u64,
        seconds: TIME.as_secs(),
        user_agent: settings.user_agent,
    };
    let pulled = match Puller::start(&settings.program) {
        Ok(mut puller) => puller.pull(&request).await,
        Err(error) => Err(error),
    };
    let pulled = pulled.map_err(|error| problem(wanted, error))?;
    check(wanted, pulled, known.as_deref())
}

/// Returns every address of the API server: on all ports, since other services of a control plane
/// listen there, too; on this machine, where tests run one, on its own port. If one of its names
/// does not resolve for now, nothing is fetched: an unknown address cannot be refused.
async fn addresses(settings: &Settings) -> Result<Vec<String>, Problem> {
    let Some(endpoints) = settings.endpoints.addresses().await else {
        let message =
            "the API server's own addresses are unknown for now; the operator's log says why";
        return Err(Problem::RetryAfter(Failure::new(Reason::SourceUnreachable, message)));
    };
    let mut addresses: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
    for (host, port) in &settings.api_server {
        let found = lookup_host((&**host, *port)).await.map_err(|error| {
            let message = format!("the API server's name {host} has no address for now: {error}");
            Problem::RetryAfter(Failure::new(Reason::SourceUnreachable, message))
        })?;
        addresses.extend(found.map(|address| match address.ip() {
            own if own.is_loopback() => address.to_string(),
            ip => ip.to_string(),
        }));
    }
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

/// Verifies the engine's answer where that is possible.
fn check(
    wanted: &WantedChart,
    pulled: protocol::Pulled,
    known: Option<&str>,
) -> Result<Pulled, Problem> {
    let protocol::Pulled { digest, chart, .. } = pulled;
    let broken = |what: &str| {
        let message = format!("{}: the engine answered {what}", wanted.place);
        Err(Problem::RetryAfter(Failure::new(Reason::SourceUnreachable, message)))
    };
    let Some(archive) = chart else {
        if known != Some(&*digest) {
            return broken("without the chart, which is not known here");
        }
        return Ok(Pulled { digest, archive: None });
    };
    if archive.len() > MOST_BYTES {
        return broken("with more than was asked for");
    }
    // In a registry the digest is that of the manifest, against which the engine has checked the
    // archive.
    if !matches!(wanted.origin, Origin::Oci { .. }) && digest::digest(&archive) != digest {
        return broken("with a chart of another digest");
    }
    if wanted.pinned().is_some_and(|pinned| pinned != digest) {
        return broken("with another chart than that of the digest");
    }
    Ok(Pulled { digest, archive: Some(archive.into()) })
}

/// Returns the problem to report, and its remedy.
fn problem(wanted: &WantedChart, error: EngineError) -> Problem {
    let place = &wanted.place;
    let failure = match error {
        EngineError::Failed(failure) if !failure.transient => failure,
        EngineError::Breach(breach @ (Breach::Memory(_) | Breach::Cpu(_))) => {
            let message = format!(
                "{place}: what the server sends cannot be read: {breach}; publish the chart in a \
                 registry, or in a repository with a smaller index"
            );
            return Problem::Blocked(Failure::new(Reason::ChartTooLarge, message));
        }
        // Such as a missing program: the administrator who installs the operator has to provide it.
        error => {
            return Problem::RetryAfter(Failure::new(
                Reason::SourceUnreachable,
                format!("{place}: {error}"),
            ));
        }
    };
    let (reason, remedy) = match failure.kind {
        FailureKind::ChartNotFound => (
            Reason::ChartNotFound,
            "correct the URL, the name or the version, or publish the chart",
        ),
        FailureKind::Unauthorized => (Reason::Unauthorized, credentials_remedy(wanted)),
        FailureKind::DigestMismatch => (
            Reason::DigestMismatch,
            "it is not used; correct the digest, or find out why the published chart has changed",
        ),
        FailureKind::NotVerified => (
            Reason::VerificationFailed,
            "it is not used; sign the chart, or correct the keys in the Secret that \
             verify.secretRef names",
        ),
        FailureKind::TooLarge => {
            (Reason::ChartTooLarge, "remove the files that the chart does not need")
        }
        FailureKind::Refused => (Reason::SourceRefused, "or name another server"),
        FailureKind::InvalidChart => (Reason::InvalidChart, "package it with `helm package`"),
        // Such as a certificate that is not trusted.
        FailureKind::Unreachable => (
            Reason::SourceUnreachable,
            "correct the URL, or name a Secret with ca.crt by certSecretRef",
        ),
        _ => (Reason::InvalidSource, "correct it"),
    };
    Problem::Blocked(Failure::new(reason, format!("{place}: {}; {remedy}", failure.message)))
}

fn credentials_remedy(wanted: &WantedChart) -> &'static str {
    match (&wanted.origin, &wanted.credentials) {
        (Origin::Artifact { .. }, _) => "the server of a source's artifacts takes no credentials",
        (_, Some(login)) if !login.username.is_empty() => "correct the user name and the password",
        (_, _) => "name a Secret with a user name and a password by secretRef",
    }
}
