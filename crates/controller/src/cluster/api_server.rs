//! The addresses at which the API server itself listens, beside those of its Service: no chart is
//! fetched from there.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, error::Error};
use tokio::{sync::Mutex, time::timeout};

/// The `EndpointSlice` that the API server itself writes, and its namespace.
const SLICE: (&str, &str) = ("default", "kubernetes");
/// The time for which the addresses are known: control planes move.
const FRESH: Duration = Duration::from_mins(1);
/// The time limit of a read.
const LIMIT: Duration = Duration::from_secs(10);

/// The addresses, read when a chart is fetched.
pub(crate) struct Endpoints {
    client: Client,
    known: Mutex<Option<(Instant, BTreeSet<IpAddr>)>>,
}

impl Endpoints {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, known: Mutex::new(None) }
    }

    /// Returns the addresses; `None` if they are unknown for now. Without the right to read them,
    /// none are known, and a warning says so.
    pub(crate) async fn addresses(&self) -> Option<BTreeSet<IpAddr>> {
        let mut known = self.known.lock().await;
        if let Some((at, addresses)) = &*known
            && at.elapsed() < FRESH
        {
            return Some(addresses.clone());
        }
        let slices = Api::<EndpointSlice>::namespaced(self.client.clone(), SLICE.0);
        let found = match timeout(LIMIT, slices.get_opt(SLICE.1)).await {
            Ok(Ok(slice)) => slice.map(addresses).unwrap_or_default(),
            Ok(Err(Error::Api(status))) if status.code == 403 => {
                if known.is_none() {
                    tracing::warn!(
                        "the API server's own addresses cannot be read, and so charts from them \
                         are not refused: EndpointSlice {}/{}: {}",
                        SLICE.0,
                        SLICE.1,
                        status.message
                    );
                }
                BTreeSet::new()
            }
            Ok(Err(error)) => {
                tracing::warn!("read EndpointSlice {}/{}: {error}", SLICE.0, SLICE.1);
                return None;
            }
            Err(_) => return None,
        };
        *known = Some((Instant::now(), found.clone()));
        Some(found)
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
