//! Objects in memory, in the place of a cluster; for the tests of this crate.

use std::{
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
};

use lifecycle::object::ObjectRef;
use serde_json::Value;

use crate::reads::Reads;

pub(crate) struct InMemory(pub(crate) Vec<Value>);

impl Reads for InMemory {
    type Error = Infallible;

    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, Infallible> {
        let is_it =
            |it: &&Value| it["kind"] == object.kind && it["metadata"]["name"] == object.name;
        Ok(self.0.iter().find(is_it).cloned())
    }

    async fn serves(&self, _: &ObjectRef) -> Result<bool, Infallible> {
        Ok(true)
    }

    fn absence(&self) -> String {
        "does not exist".to_owned()
    }
}

/// Returns the output of a future that never waits.
pub(crate) fn output<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}
