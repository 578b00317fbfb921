//! The request to Helm's engine, and its refusals.

use engine::protocol::{self, Capabilities, FailureKind, Render};
use lifecycle::plan::Crds;
use lifecycle::reason::Reason;

use crate::{
    chart::{Content, ResolvedChart},
    problems::Blocked,
    secrets::Secrets,
};

impl ResolvedChart {
    /// Returns the request to render it for `release`. With `capabilities`, templates may look up
    /// objects in a cluster.
    pub fn request<'a>(
        &'a self,
        release: protocol::Release<'a>,
        capabilities: Option<Capabilities>,
        crds: Crds,
    ) -> Render<'a> {
        Render {
            chart: match &self.content {
                Content::Archive(archive) => protocol::Chart::Archive(archive),
                Content::Folder(path) => protocol::Chart::Folder(path),
            },
            path: self.path.as_deref(),
            values: &self.values,
            release,
            cluster: capabilities.is_some(),
            capabilities,
            add_crds: crds != Crds::Skip,
        }
    }
}

/// Returns the problems that only a change of the chart or of its values solves.
pub fn refusal(failure: &protocol::Failure, secrets: &Secrets) -> Blocked {
    let reason = match failure.kind {
        FailureKind::InvalidValues | FailureKind::SchemaViolation => Reason::InvalidValues,
        FailureKind::TemplateError | FailureKind::NotYaml | FailureKind::Lookup => {
            Reason::TemplateError
        }
        _ => Reason::InvalidChart,
    };
    Blocked::new(reason, format!("the chart cannot be rendered: {}", failure.message))
        .without(secrets)
}
