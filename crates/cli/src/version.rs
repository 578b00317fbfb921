//! `version`: of this program, of the operator, and of the definition in the cluster.

use k8s_openapi::{
    api::apps::v1::Deployment,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    Outcome,
    args::{Format, Version},
    cluster::{Asked, Cluster},
    format, installed, screen,
    words::{Look, aligned, printable},
};

const OURS: &str = env!("CARGO_PKG_VERSION");

/// A component, its version, and what else is known of it.
type Row = [String; 3];

pub(crate) async fn version(args: &Version) -> anyhow::Result<Outcome> {
    let mut rows = vec![row("client", OURS, "")];
    if !args.client {
        let cluster = Cluster::find(&args.place).await?;
        let (deployments, definition) =
            tokio::try_join!(installed::deployments(&cluster), installed::definition(&cluster))?;
        rows.extend(operators(&deployments));
        rows.push(of_definition(&definition));
    }
    let value = || rows.iter().map(as_value).collect::<Value>();
    screen::write(&match args.output {
        Format::Json => format::json(&value()),
        Format::Yaml => format::yaml(&value()),
        Format::Table => render(&rows),
    })?;
    Ok(Outcome::Good)
}

fn row(component: &str, version: &str, more: &str) -> Row {
    [component, version, more].map(printable)
}

fn operators(deployments: &Asked<Vec<Deployment>>) -> Vec<Row> {
    match deployments {
        Asked::Refused(why) => vec![row("operator", "unknown", why)],
        Asked::Known(all) if all.is_empty() => vec![row("operator", "none", "no Deployment")],
        Asked::Known(all) => all
            .iter()
            .map(|deployment| {
                let namespace = deployment.namespace().unwrap_or_default();
                let name = deployment.name_any();
                let version = tag(installed::image(deployment));
                row("operator", version, &format!("Deployment {namespace}/{name}"))
            })
            .collect(),
    }
}

/// Returns the tag of an image, or its digest if it has no tag.
fn tag(image: &str) -> &str {
    let (named, digest) = image.split_once('@').unwrap_or((image, "unknown"));
    // A port comes before a slash.
    let last = named.rsplit_once('/').map_or(named, |(_, last)| last);
    last.split_once(':').map_or(digest, |(_, tag)| tag)
}

fn of_definition(definition: &Asked<Option<CustomResourceDefinition>>) -> Row {
    let live = match definition {
        Asked::Refused(why) => return row("definition", "unknown", why),
        Asked::Known(None) => {
            return row("definition", "none", "ReleaseLifecycle is not installed");
        }
        Asked::Known(Some(live)) => live,
    };
    let versions: Vec<_> = live.spec.versions.iter().map(|it| &*it.name).collect();
    let more = if installed::is_of_this_client(live) {
        "as of this client"
    } else {
        "another one than this client's; see `kubectl lifecycle doctor`"
    };
    row("definition", &versions.join(","), more)
}

fn as_value([component, version, more]: &Row) -> Value {
    json!({"component": component, "version": version, "message": more})
}

fn render(rows: &[Row]) -> String {
    aligned(rows.iter().map(|row| row.to_vec()).collect(), Look::PLAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_an_image_is_its_tag() {
        for (image, expected) in [
            ("releaselifecycle-controller:0.1.0", "0.1.0"),
            ("registry:5000/a/controller:0.2.0@sha256:ab", "0.2.0"),
            ("registry:5000/a/controller@sha256:ab", "sha256:ab"),
            ("registry:5000/a/controller", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }

    #[test]
    fn each_component_is_a_line() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "rl", "namespace": "ops"},
            "spec": {"selector": {}, "template": {"spec": {"containers": [
                {"name": "controller", "image": "x/controller:0.1.0"}]}}},
        }))
        .unwrap();
        let mut rows = vec![row("client", "0.1.0", "")];
        rows.extend(operators(&Asked::Known(vec![deployment])));
        rows.push(of_definition(&Asked::Known(Some(api::crd()))));
        let expected = "\
client      0.1.0
operator    0.1.0     Deployment ops/rl
definition  v1alpha1  as of this client
";
        assert_eq!(render(&rows), expected);
        let refused = Asked::Refused("deployments.apps is forbidden".to_owned());
        assert_eq!(operators(&refused)[0][1..], ["unknown", "deployments.apps is forbidden"]);
        assert_eq!(operators(&Asked::Known(vec![]))[0][1], "none");
        assert_eq!(of_definition(&Asked::Known(None))[1], "none");
    }
}
