//! Renders a chart: the facts about the cluster for the templates, the objects that the templates
//! look up as the tenant, and the messages for their failures.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use engine::{
    Answer, Breach, EngineError,
    protocol::{self, Capabilities, Lookup, Rendered},
};
use kube::{
    core::discovery::v2::{APIGroupDiscovery, APISubresourceDiscovery},
    discovery::Scope,
};
use lifecycle::reason::Reason;
use lifecycle::{
    digest::config_digest, event::Event, journal::Failure, object::ObjectRef, plan::Begin,
    source::stands_in_urls,
};
use manifests::json;
use serde_json::Value;
use sources::{ResolvedChart, Secrets, refusal};

use crate::{
    cluster::{
        call::{ApiError, Cause, Refused},
        error::Error,
    },
    release::Release,
    support::{
        backoff::jitter,
        key::{RECHECK, key},
    },
};

/// The time after which a chart that waits for its turn is checked again.
const AGAIN: Duration = Duration::from_secs(2);
/// The maximum size of the result of a lookup, as text.
const MOST_FOUND: usize = 8 << 20;
/// The number of objects of a list that are read at once; each may have 1.5 MiB.
const PAGE: u32 = 10;

/// Renders the chart for an install or an upgrade.
pub(crate) async fn render(
    release: &Release<'_>,
    chart: &ResolvedChart,
    begin: &Begin,
) -> Result<Rendered, Error> {
    let renderers = &release.ctx.rendering.renderers;
    let (who, inputs) = (key(&release.object), inputs(release, chart));
    if let Some(failure) = renderers.breach(&who, &inputs) {
        return Err(Error::Blocked(failure));
    }
    let Some(turn) = renderers.turn(&release.namespace).await else {
        let message =
            "the chart waits to be rendered: other charts are before it (--engine-processes)";
        return Err(Error::RetryAfter(
            Failure::new(Reason::Rendering, message),
            AGAIN.mul_f64(jitter()),
        ));
    };
    let capabilities = capabilities(release).await?;
    let served = capabilities.api_versions.clone();
    let described = protocol::Release {
        name: &release.name,
        namespace: &release.namespace,
        revision: begin.revision,
        upgrade: begin.event == Event::Upgrade,
    };
    let request = chart.request(described, Some(capabilities), release.object.crds(begin.event));
    let identity = &release.tenant.identity;
    let found = |asked: Lookup| look_up(release, &chart.secrets, &served, asked);
    let since = Instant::now();
    let rendered = renderers.render(turn, identity, &request, found).await?;
    let outcome = if rendered.is_ok() { "succeeded" } else { "failed" };
    release.ctx.cluster.metrics.rendered(outcome, since.elapsed());
    if let Err(EngineError::Breach(breach)) = &rendered {
        let failure = too_much(*breach);
        if let Breach::Time(_) = breach {
            return Err(Error::RetryAfter(failure, RECHECK.mul_f64(jitter())));
        }
        renderers.note_breach(&who, &inputs, &failure);
        return Err(Error::Blocked(failure));
    }
    let rendered = rendered.map_err(|error| failed(error, &chart.secrets))?;
    for warning in &rendered.warnings {
        release.warn(Reason::ChartWarning, chart.secrets.hide(warning));
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

/// Returns every version of every group, and every kind of it, as Helm's `GetVersionSet` lists
/// them.
fn api_versions(groups: &[APIGroupDiscovery]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for group in groups {
        let name = group.metadata.as_ref().and_then(|it| it.name.as_deref()).unwrap_or_default();
        // Helm leaves out versions that are announced but not served.
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

/// Helm's `lookup`: one object or all of them, as the tenant. An error that may pass is not an
/// answer.
async fn look_up(
    release: &Release<'_>,
    secrets: &Secrets,
    served: &[String],
    asked: Lookup,
) -> Result<Answer, Error> {
    let Lookup { api_version, kind, namespace, name } = asked;
    let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
    let object = ObjectRef { api_version, kind, namespace, name };
    let is_version = is_api_version(&object.api_version);
    // The kind is not in the URL of the lookup, and neither is an empty name.
    let kind = if is_version && !object.kind.is_empty() {
        release.tenant.kind(&object).await?
    } else {
        None
    };
    let Some(kind) = kind else {
        // For Helm such a kind has no objects, and only an unknown apiVersion is an error.
        if is_version && served.contains(&object.api_version) {
            return Ok(Answer::Found(Value::Null));
        }
        return Ok(Answer::Failed(format!(
            "lookup of {object}: the cluster does not know apiVersion {:?}",
            object.api_version
        )));
    };
    if let Some(why) = misleads(&object, kind.scope == Scope::Namespaced) {
        return Ok(Answer::Failed(format!("lookup of {}: {why}", object.kind)));
    }
    let found = if object.name.is_empty() {
        list(release, &object).await
    } else if kind.scope == Scope::Cluster || object.namespace.is_some() {
        release.tenant.get(&object).await.map(|found| found.unwrap_or(Value::Null))
    } else {
        // The API server finds no such object if no namespace is named.
        return Ok(Answer::Found(Value::Null));
    };
    match found {
        Ok(found) => {
            if object.kind == "Secret" {
                secrets.add_data(&found);
            }
            Ok(Answer::Found(found))
        }
        Err(ApiError { cause: Cause::NotFound(_), .. }) => Ok(Answer::Found(Value::Null)),
        Err(error @ ApiError { cause: Cause::Refused(_), .. }) => {
            Ok(Answer::Failed(error.to_string()))
        }
        Err(error) => Err(Error::Api(error)),
    }
}

/// Returns true if it is a version, or a group and one of its versions, that can be requested.
fn is_api_version(api_version: &str) -> bool {
    !api_version.is_empty()
        && api_version.split('/').count() <= 2
        && api_version.split('/').all(|part| !part.is_empty() && stands_in_urls(part))
}

/// Returns why the namespace or the name would lead to another path of the API, however it is
/// encoded: the same names are an error of Helm's client (`IsValidPathSegmentName`). For all other
/// names the API server reports that there is no such object.
fn misleads(object: &ObjectRef, is_namespaced: bool) -> Option<String> {
    let namespace = object.namespace.as_deref().filter(|_| is_namespaced);
    let parts = [("namespace", namespace), ("resource name", Some(&*object.name))];
    parts.into_iter().find_map(|(what, part)| {
        let part = part?;
        let why = if part == "." || part == ".." {
            format!("may not be '{part}'")
        } else {
            format!("may not contain '{}'", part.chars().find(|c| ['/', '%'].contains(c))?)
        };
        Some(format!("invalid {what} {part:?}: {why}"))
    })
}

/// Returns all objects of a kind, in a namespace if one is named: page by page, so that no more is
/// read than the limit allows.
async fn list(release: &Release<'_>, like: &ObjectRef) -> Result<Value, ApiError> {
    let (mut found, mut size) = (Vec::new(), 0);
    let take = |item: Value| {
        size += item.to_string().len();
        if size > MOST_FOUND {
            let message = format!("it is more than {} MiB; name one object", MOST_FOUND >> 20);
            return Err(ApiError {
                what: format!("look up all objects of kind {}", like.kind),
                cause: Cause::Refused(Refused::own(413, message)),
            });
        }
        found.push(item);
        Ok(())
    };
    let mut whole = release.tenant.each_of_kind(like, PAGE, take).await?;
    if let Some(Value::Object(metadata)) = whole.get_mut("metadata") {
        metadata.remove("continue");
        metadata.remove("remainingItemCount");
    }
    json::set(&mut whole, &["items"], found);
    Ok(whole)
}

/// Returns the inputs of the rendering, and the requests of the user that ask to repeat it.
fn inputs(release: &Release<'_>, chart: &ResolvedChart) -> String {
    let requests = release.object.requests();
    config_digest(b"", &(chart.inputs(), requests.retry, requests.restart))
}

/// Returns the failure of a chart that exceeded a limit.
fn too_much(breach: Breach) -> Failure {
    let remedy = match breach {
        Breach::Answer(_) => "split the chart",
        Breach::Stack => "correct the chart",
        Breach::Memory(_) | Breach::Cpu(_) => {
            "correct the chart, or its values; the operator's flags --engine-* say what a chart may \
             take"
        }
        // Wall-clock time; processor time has its own limit.
        Breach::Time(_) => {
            "the operator is too busy, or what the chart looks up in the cluster takes long \
             (--engine-seconds); it is tried again"
        }
    };
    let message = format!("the chart cannot be rendered: {breach}; {remedy}");
    Failure::new(Reason::RenderLimit, message)
}

/// Returns the error of a rendering: blocked if only a change of the chart or of its values helps;
/// all else is retried.
fn failed(error: EngineError, secrets: &Secrets) -> Error {
    match error {
        EngineError::Failed(failure) => refusal(&failure, secrets).into(),
        EngineError::Start { .. } | EngineError::Broken { .. } | EngineError::Breach(_) => {
            Error::Api(ApiError {
                what: "render the chart".to_owned(),
                cause: Cause::Unavailable(error.to_string()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_in_the_api_is_refused_and_nothing_else() {
        let object = |namespace: &str, name: &str| ObjectRef {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        };
        let good = ["{{ no name }}", "", "A", "a?dryRun=All", "a#b", "ä", "...", "a\nb", "a\\b"];
        for name in good {
            assert_eq!(misleads(&object("prod", name), true), None, "{name}");
            assert_eq!(misleads(&object(name, "a"), true), None, "{name}");
        }
        for (name, why) in [
            ("..", "invalid resource name \"..\": may not be '..'"),
            (".", "invalid resource name \".\": may not be '.'"),
            ("a/b", "invalid resource name \"a/b\": may not contain '/'"),
            ("../secrets/b", "invalid resource name \"../secrets/b\": may not contain '/'"),
            ("a%2Fb", "invalid resource name \"a%2Fb\": may not contain '%'"),
        ] {
            assert_eq!(misleads(&object("prod", name), true).as_deref(), Some(why));
            let why = why.replace("resource name", "namespace");
            assert_eq!(misleads(&object(name, "a"), true), Some(why));
            assert_eq!(misleads(&object(name, "a"), false), None, "it has no namespace");
        }
    }

    #[test]
    fn an_api_version_has_at_most_a_group() {
        for version in ["v1", "apps/v1", "a.example.com/v1beta1"] {
            assert!(is_api_version(version), "{version}");
        }
        for version in ["", "/", "/v1", "v1/", "apps/v1/Deployment", "../v1", "v1?x=y", "a/.."] {
            assert!(!is_api_version(version), "{version}");
        }
    }
}
