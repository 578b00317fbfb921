//! Adopts records that another client has written, and closes a record that a dead client left
//! open.

use helm::record::Status;
use jiff::Timestamp;
use lifecycle::{event::Event, plan::Plan};
use serde_json::Value;

use super::{Records, Stored, frozen::frozen, record::key};
use crate::cluster::error::Error;

impl Stored {
    /// Returns when the Secret was last written, by the API server's clock.
    pub(crate) fn written_at(&self) -> Option<Timestamp> {
        let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
        let fields = self.metadata["managedFields"].as_array().into_iter().flatten();
        let writes = fields.filter_map(|entry| time(&entry["time"]));
        writes.chain(time(&self.metadata["creationTimestamp"])).max()
    }

    /// Returns the record as closed, after its client was given up.
    pub(crate) fn closed(&self, status: Status, description: String) -> Self {
        let mut closed = self.clone();
        let info = &mut closed.release.info;
        info.status = status;
        info.description = description;
        if status == Status::Deployed {
            info.deleted = None;
        }
        closed
    }
}

impl Records<'_> {
    /// Makes the record one of the custom resource of `plan`. Nothing that Helm wrote changes.
    pub(crate) async fn adopt(self, stored: &Stored, plan: &Plan) -> Result<(), Error> {
        let mut stored = stored.clone();
        stored.plans.insert(key(plan.event), frozen(plan));
        for event in [Event::Delete, Event::Test] {
            stored.plans.remove(key(event));
        }
        self.replace(&stored).await
    }

    /// Closes the record of a client that died.
    pub(crate) async fn close_for_helm(
        self,
        stored: &Stored,
        status: Status,
        description: String,
    ) -> Result<(), Error> {
        self.replace(&stored.closed(status, description)).await
    }
}
