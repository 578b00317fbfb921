//! From a chart to what it renders to: what the templates are told of the cluster, what they look
//! up in it as the tenant, and what is said when they fail.

use std::collections::BTreeSet;

use engine::{
    Answer, Breach, EngineError,
    protocol::{self, Capabilities, Failure, FailureKind, Lookup, Render, Rendered},
};
use kube::{
    core::discovery::v2::{APIGroupDiscovery, APISubresourceDiscovery},
    discovery::Scope,
};
use lifecycle::{event::Event, journal::Begin, plan::ObjectRef, source::stands_in_urls};
use serde_json::Value;

use crate::{
    chart::{Chart, Secrets},
    client::{ApiError, Cause},
    error::Error,
    release::Release,
};

/// As much as a lookup may find, as text.
const MOST_FOUND: usize = 8 << 20;

/// Renders the chart for an install or an upgrade.
pub(crate) async fn render(
    release: &Release<'_>,
    chart: &Chart,
    begin: &Begin,
) -> Result<Rendered, Error> {
    let capabilities = capabilities(release).await?;
    let request = Render {
        chart: protocol::Chart::Archive(&chart.archive),
        path: chart.path.as_deref(),
        values: &chart.values,
        release: protocol::Release {
            name: &release.name,
            namespace: &release.namespace,
            revision: begin.revision,
            upgrade: begin.event == Event::Upgrade,
        },
        capabilities: Some(capabilities),
        cluster: true,
        add_crds: begin.event == Event::Install,
    };
    let identity = &release.tenant.identity;
    let found = |asked: Lookup| look_up(release, asked);
    let rendered = release.ctx.engines.render(identity, &request, found).await?;
    let rendered = rendered.map_err(|error| refusal(error, &chart.secrets))?;
    for warning in &rendered.warnings {
        release.warn("ChartWarning", chart.secrets.hide(warning));
    }
    Ok(rendered)
}

async fn capabilities(release: &Release<'_>) -> Result<Capabilities, Error> {
    let (version, groups) = release.tenant.discover().await?;
    Ok(Capabilities {
        kube_version: version.git_version,
        major: version.major,
        minor: version.minor,
        api_versions: api_versions(&groups),
    })
}

/// Every version of every group, and every kind of it, as Helm's `GetVersionSet` lists them.
fn api_versions(groups: &[APIGroupDiscovery]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for group in groups {
        let name = group.metadata.as_ref().and_then(|it| it.name.as_deref()).unwrap_or_default();
        // Helm leaves out what is announced and not served.
        let served = group.versions.iter().filter(|it| it.freshness.as_deref() != Some("Stale"));
        for version in served {
            let number = version.version.as_deref().unwrap_or_default();
            let api_version = match name {
                "" => number.to_owned(),
                name => format!("{name}/{number}"),
            };
            let of_subresource = |sub: &APISubresourceDiscovery| sub.response_kind.clone();
            let kinds = version.resources.iter().flat_map(|resource| {
                let subresources = resource.subresources.iter().filter_map(of_subresource);
                resource.response_kind.clone().into_iter().chain(subresources)
            });
            let kinds = kinds.filter_map(|kind| kind.kind).filter(|kind| !kind.is_empty());
            found.extend(kinds.map(|kind| format!("{api_version}/{kind}")));
            found.insert(api_version);
        }
    }
    found.into_iter().collect()
}

/// Helm's `lookup`: one object or all of them, as the tenant. What waiting may help is no answer.
async fn look_up(release: &Release<'_>, asked: Lookup) -> Result<Answer, Error> {
    let Lookup { api_version, kind, namespace, name } = asked;
    let parts = api_version.split('/').chain([&*kind, &*namespace, &*name]);
    if let Some(part) = parts.into_iter().find(|part| !stands_in_urls(part)) {
        return Ok(Answer::Failed(format!("lookup: {part:?} cannot stand in a URL")));
    }
    let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
    let object = ObjectRef { api_version, kind, namespace, name };
    let Some(kind) = release.tenant.kind(&object).await? else {
        // For Helm such a kind has no objects, and only an unknown apiVersion is an error.
        let (_, groups) = release.tenant.discover().await?;
        if api_versions(&groups).contains(&object.api_version) {
            return Ok(Answer::Found(Value::Null));
        }
        return Ok(Answer::Failed(format!(
            "lookup of {object}: the cluster does not know apiVersion {:?}",
            object.api_version
        )));
    };
    let found = if object.name.is_empty() {
        release.tenant.list_whole(&object).await
    } else if kind.scope == Scope::Cluster || object.namespace.is_some() {
        release.tenant.get(&object).await.map(|found| found.unwrap_or(Value::Null))
    } else {
        // The API server knows no such object where no namespace is named.
        return Ok(Answer::Found(Value::Null));
    };
    match found {
        Ok(found) if found.to_string().len() > MOST_FOUND => Ok(Answer::Failed(format!(
            "lookup of {object}: what is there is more than {} MiB; name one object",
            MOST_FOUND >> 20
        ))),
        Ok(found) => Ok(Answer::Found(found)),
        Err(ApiError { cause: Cause::NotFound(_), .. }) => Ok(Answer::Found(Value::Null)),
        Err(error @ ApiError { cause: Cause::Refused { .. }, .. }) => {
            Ok(Answer::Failed(error.to_string()))
        }
        Err(error) => Err(Error::Api(error)),
    }
}

/// What only a change mends, of the chart or of its values; the rest is tried again.
fn refusal(error: EngineError, secrets: &Secrets) -> Error {
    match error {
        EngineError::Failed(Failure { kind, message, .. }) => {
            let message = secrets.hide(&message);
            Error::blocked(reason(kind), format!("the chart cannot be rendered: {message}"))
        }
        EngineError::Breach(breach) => {
            let remedy = match breach {
                Breach::Answer(_) => "split the chart",
                Breach::Stack => "correct the chart",
                Breach::Memory(_) | Breach::Cpu(_) | Breach::Time(_) => {
                    "correct the chart, or its values; the operator's flags --engine-* say what a \
                     chart may take"
                }
            };
            let message = format!("the chart cannot be rendered: {breach}; {remedy}");
            Error::blocked("RenderLimit", message)
        }
        EngineError::Start { .. } | EngineError::Broken { .. } => Error::Api(ApiError {
            what: "render the chart".to_owned(),
            cause: Cause::Unavailable(error.to_string()),
        }),
    }
}

fn reason(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::InvalidValues | FailureKind::SchemaViolation => "InvalidValues",
        FailureKind::TemplateError | FailureKind::NotYaml | FailureKind::Lookup => "TemplateError",
        _ => "InvalidChart",
    }
}
