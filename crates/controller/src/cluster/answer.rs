//! The budget for one answer of the API server: of bytes, before it is parsed, and of memory, while
//! it is parsed.

use std::sync::Arc;

use http::{Request, Response};
use http_body_util::Limited;
use kube::{Client, client::Body};
use manifests::{
    bounded::{Bounded, MOST_LEVELS},
    memory::{Exhausted, Memory},
};
use serde::{Deserialize, Deserializer, de::DeserializeSeed};
use serde_json::Value;
use tower::service_fn;

use crate::cluster::{metrics::Metrics, verb::verb};

/// The number of objects of one page of a list. A page of the largest objects fits into the budget:
/// etcd stores at most 1.5 MiB of one object, which is at most 3 MiB of JSON.
pub(crate) const PAGE: u32 = 20;

/// The maximum size of an answer that is not a watch.
const MOST_BYTES: usize = 64 << 20;

/// The maximum memory of an answer.
pub(crate) const MOST_MEMORY: usize = 64 << 20;

/// Returns a client that counts its requests, and ends an answer that is too large. A watch has no end,
/// and each of its events is one object.
pub(crate) fn limited(client: Client, metrics: Arc<Metrics>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let limited = service_fn(move |request: Request<Body>| {
        let client = client.clone();
        let metrics = Arc::clone(&metrics);
        async move {
            let verb = verb(request.method(), request.uri());
            let most = if verb == "watch" { usize::MAX } else { MOST_BYTES };
            let answer = client.send(request).await;
            metrics.answered(verb, answer.as_ref().ok().map(Response::status));
            Ok::<_, kube::Error>(answer?.map(|body| Limited::new(body, most)))
        }
    });
    Client::new(limited, namespace)
}

/// An answer, unless it takes too much memory.
pub(crate) struct Answer(pub(crate) Result<Value, Exhausted>);

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut memory = Memory::new(MOST_MEMORY);
        let value = Bounded::new(&mut memory, MOST_LEVELS).deserialize(deserializer)?;
        Ok(Self(if memory.is_exhausted() { Err(Exhausted) } else { Ok(value) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_budget_of_memory() {
        let read = |text: &str| serde_json::from_str::<Answer>(text).unwrap().0;
        assert_eq!(read(r#"{"a":[1]}"#), Ok(serde_json::json!({"a": [1]})));
        let text = format!("[{}0]", r#"{"":0},"#.repeat(200_000));
        assert_eq!(read(&text), Err(Exhausted));
    }
}
