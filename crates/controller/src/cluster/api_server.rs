//! The addresses at which the API server itself listens, beside those of its Service: no chart is
//! fetched from there.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, error::Error};
use tokio::{sync::watch, time::timeout};

/// The `EndpointSlice` that the API server itself writes, and its namespace.
const SLICE: (&str, &str) = ("default", "kubernetes");
/// The time after which it is read again: control planes move.
const INTERVAL: Duration = Duration::from_mins(1);
/// The time limit of a read, and of the wait for the first one.
const LIMIT: Duration = Duration::from_secs(10);

/// The addresses, as far as they are known.
pub(crate) struct Endpoints {
    known: watch::Sender<Option<BTreeSet<IpAddr>>>,
}

impl Endpoints {
    pub(crate) fn new() -> Self {
        Self { known: watch::Sender::new(None) }
    }

    /// Reads the addresses again and again. Without the right to read them, none are known, and a
    /// warning says so.
    pub(crate) async fn follow(&self, client: &Client) {
        let slices = Api::<EndpointSlice>::namespaced(client.clone(), SLICE.0);
        let mut warned = String::new();
        loop {
            let (found, problem) = match timeout(LIMIT, slices.get_opt(SLICE.1)).await {
                Ok(Ok(slice)) => (Some(slice.map(addresses).unwrap_or_default()), None),
                Ok(Err(error @ Error::Api(_))) => {
                    let is_forbidden = matches!(&error, Error::Api(status) if status.code == 403);
                    (is_forbidden.then(BTreeSet::new), Some(error.to_string()))
                }
                Ok(Err(error)) => (None, Some(error.to_string())),
                Err(_) => (None, Some(format!("no answer within {} s", LIMIT.as_secs()))),
            };
            if let Some(problem) = problem.filter(|problem| *problem != warned) {
                tracing::warn!(
                    "the API server's own addresses cannot be read, and so charts from them are not \
                     refused: EndpointSlice {}/{}: {problem}",
                    SLICE.0,
                    SLICE.1
                );
                warned = problem;
            }
            if let Some(found) = found {
                self.known.send_replace(Some(found));
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Returns the addresses; `None` if they are unknown for now.
    pub(crate) async fn addresses(&self) -> Option<BTreeSet<IpAddr>> {
        let mut known = self.known.subscribe();
        let found = timeout(LIMIT, known.wait_for(Option::is_some)).await.ok()?.ok()?;
        found.clone()
    }
}

fn addresses(slice: EndpointSlice) -> BTreeSet<IpAddr> {
    let texts = slice.endpoints.into_iter().flat_map(|endpoint| endpoint.addresses);
    texts.filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_address_of_every_endpoint_counts() {
        let slice = json!({"metadata": {}, "addressType": "IPv4", "endpoints": [
            {"addresses": ["10.0.0.4", "10.0.0.5"]}, {"addresses": ["fd00::4"]}, {"addresses": ["odd"]}]});
        let found = addresses(serde_json::from_value(slice).unwrap());
        let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.4", "10.0.0.5", "fd00::4"]);
    }
}
