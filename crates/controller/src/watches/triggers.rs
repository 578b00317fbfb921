//! Triggers for releases whose own objects have not changed.

use std::sync::Mutex;

use futures::{Stream, StreamExt as _, channel::mpsc, stream};
use kube_runtime::reflector::ObjectRef;

use crate::{cluster::resource::Tolerant, support::sync::lock};

type Release = ObjectRef<Tolerant>;

pub(crate) struct Triggers {
    sender: Trigger,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Release>>>,
}

#[derive(Clone)]
pub(crate) struct Trigger(mpsc::UnboundedSender<Release>);

impl Default for Triggers {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded();
        Self { sender: Trigger(sender), receiver: Mutex::new(Some(receiver)) }
    }
}

impl Triggers {
    pub(crate) fn trigger(&self) -> &Trigger {
        &self.sender
    }

    /// Returns the triggered releases, for the only listener.
    pub(crate) fn listen(&self) -> impl Stream<Item = Release> + Send + use<> {
        let receiver = lock(&self.receiver).take();
        stream::iter(receiver).flatten()
    }
}

impl Trigger {
    /// Brings back the custom resource of this key, `<namespace>/<name>`.
    pub(crate) fn pull(&self, key: &str) {
        if let Some((namespace, name)) = key.split_once('/') {
            // There is no listener any more once the process ends.
            let _ = self.0.unbounded_send(Release::new(name).within(namespace));
        }
    }
}
