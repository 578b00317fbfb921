//! Adopts records that another client has written, and closes a record that a dead client left
//! open.

use helm::{
    record::Status,
    stored::{frozen, key},
};
use lifecycle::{event::Event, plan::Plan};

use super::{Records, Stored};
use crate::cluster::error::Error;

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
