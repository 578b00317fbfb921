//! The chart of a ReleaseLifecycle and its values, from what its spec refers to. Pure; no value gets
//! into a message.

use api::{ChartKind, ObjectsFromKind, ReleaseLifecycleSpec, SourceKind};
use engine::protocol::{Origin, Values};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::Value;

use super::{Found, chart::Whence};

/// How somebody gets on whose chart is nowhere to be had.
const NAME_IT: &str = "name the chart with --chart: a folder, an archive or oci://…";

/// A chart, and the values for it.
pub(super) struct Given {
    pub(super) whence: Whence,
    pub(super) values: Vec<Values>,
    pub(super) sources: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// What `spec` refers to. `find` knows the `ConfigMap` or Secret of a name, one that is not there
/// `missing`. Of a chart that a server has, `fetches` says whether it may be asked. `other` is taken
/// instead of the spec's chart.
pub(super) fn resolve<'a>(
    spec: &ReleaseLifecycleSpec,
    missing: &str,
    fetches: bool,
    other: Option<Whence>,
    find: impl Fn(ObjectsFromKind, &str) -> Option<&'a Value>,
) -> Found<Given> {
    let mut problems = Vec::new();
    let mut sources = Vec::new();
    let mut notes = Vec::new();
    let whence = if let Some(other) = other {
        sources.push(format!("--chart {}", other.title()));
        Some(other)
    } else {
        match whence(spec, missing, fetches, &find) {
            Ok((whence, source)) => {
                sources.push(source);
                Some(whence)
            }
            Err(problem) => {
                problems.push(problem);
                None
            }
        }
    };
    let mut values = Vec::new();
    for (index, from) in spec.values_from.iter().enumerate() {
        let place = format!("spec.valuesFrom[{index}] ({from})");
        let holder = format!("{}/{}", from.kind.as_str(), from.name);
        let text = match find(from.kind, &from.name) {
            None => Err(format!("{holder} {missing}")),
            Some(found) => bytes(from.kind, &holder, found, from.key()).and_then(|bytes| {
                String::from_utf8(bytes)
                    .map_err(|_| format!("key {} of {holder} is not text in UTF-8", from.key()))
            }),
        };
        match text {
            Ok(text) => {
                sources.push(format!("{holder} key {}", from.key()));
                values.push(match from.target_path.clone() {
                    Some(target_path) => Values::Target { place, target_path, value: text },
                    None => Values::Yaml { place, yaml: text },
                });
            }
            Err(problem) if from.optional == Some(true) => {
                notes.push(format!("{place} is optional, and left out: {problem}"));
            }
            Err(problem) => problems.push(format!("{place}: {problem}")),
        }
    }
    if let Some(object) = spec.values.clone() {
        sources.push("spec.values".to_owned());
        values.push(Values::Object { place: "spec.values".to_owned(), object });
    }
    match whence {
        Some(whence) if problems.is_empty() => Ok(Given { whence, values, sources, notes }),
        _ => Err(problems),
    }
}

fn whence<'a>(
    spec: &ReleaseLifecycleSpec,
    missing: &str,
    fetches: bool,
    find: &impl Fn(ObjectsFromKind, &str) -> Option<&'a Value>,
) -> Result<(Whence, String), String> {
    let chart = match spec.source.kind() {
        SourceKind::Chart(chart) => chart.kind(),
        SourceKind::SourceRef(reference) => {
            return Err(format!(
                "spec.source.sourceRef ({reference}): what Flux has fetched is known within the \
                 cluster alone; {NAME_IT}"
            ));
        }
        SourceKind::Objects(_) | SourceKind::ObjectsFrom(_) => None,
    };
    let (field, origin, has_secrets) = match chart {
        Some(ChartKind::Archive(from)) => {
            let holder = format!("{}/{}", from.kind.as_str(), from.name);
            let found = find(from.kind, &from.name).ok_or_else(|| {
                format!("spec.source.chart.archive ({from}): {holder} {missing}; or {NAME_IT}")
            })?;
            let title = from.to_string();
            return match bytes(from.kind, &holder, found, &from.key) {
                Ok(bytes) => Ok((Whence::Archive { bytes, title: title.clone() }, title)),
                Err(problem) => Err(format!("spec.source.chart.archive ({from}): {problem}")),
            };
        }
        Some(ChartKind::Oci(oci)) => (
            "oci",
            Origin::Oci {
                url: oci.url.clone(),
                version: oci.version.clone().unwrap_or_default(),
                digest: oci.digest.clone(),
                plain_http: oci.insecure == Some(true),
            },
            oci.secret_ref.is_some() || oci.cert_secret_ref.is_some(),
        ),
        Some(ChartKind::Repository(repository)) => (
            "repository",
            Origin::Repository {
                url: repository.url.clone(),
                name: repository.name.clone(),
                version: repository.version.clone().unwrap_or_default(),
            },
            repository.secret_ref.is_some() || repository.cert_secret_ref.is_some(),
        ),
        None => return Err("spec.source.chart names no chart".to_owned()),
    };
    let whence = Whence::Server(origin);
    let title = whence.title();
    if !fetches {
        return Err(format!(
            "spec.source.chart.{field} ({title}): with -f no server is asked; {NAME_IT}"
        ));
    }
    if has_secrets {
        return Err(format!(
            "spec.source.chart.{field} ({title}): it is fetched with a Secret, which this program \
             does not use; {NAME_IT}, such as one that `helm pull` has fetched"
        ));
    }
    Ok((whence, title))
}

/// The value of a key.
fn bytes(kind: ObjectsFromKind, name: &str, holder: &Value, key: &str) -> Result<Vec<u8>, String> {
    // The reader's own words may quote values.
    let unreadable = |_| format!("{name} is no {}: data holds values by key", kind.as_str());
    let (found, mut keys) = match kind {
        ObjectsFromKind::ConfigMap => {
            let map: ConfigMap = serde_json::from_value(holder.clone()).map_err(unreadable)?;
            let text = map.data.unwrap_or_default();
            let binary = map.binary_data.unwrap_or_default();
            let found = text.get(key).map(|text| text.clone().into_bytes());
            let found = found.or_else(|| binary.get(key).map(|bytes| bytes.0.clone()));
            (found, text.into_keys().chain(binary.into_keys()).collect::<Vec<_>>())
        }
        ObjectsFromKind::Secret => {
            let secret: Secret = serde_json::from_value(holder.clone()).map_err(unreadable)?;
            // As the API server does, which writes the one over the other.
            let text = secret.string_data.unwrap_or_default();
            let data = secret.data.unwrap_or_default();
            let found = text.get(key).map(|text| text.clone().into_bytes());
            let found = found.or_else(|| data.get(key).map(|bytes| bytes.0.clone()));
            (found, text.into_keys().chain(data.into_keys()).collect::<Vec<_>>())
        }
    };
    found.ok_or_else(|| {
        keys.sort_unstable();
        keys.truncate(10);
        let there = match &*keys {
            [] => "it has none".to_owned(),
            keys => format!("there: {}", keys.join(", ")),
        };
        format!("{name} has no key {key} in its data ({there}); add it, or correct the key")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(spec: &Value) -> ReleaseLifecycleSpec {
        serde_json::from_value(spec.clone()).unwrap()
    }

    fn problems(of: &Value, fetches: bool) -> String {
        let found = resolve(&spec(of), "is not there", fetches, None, |_, _| None);
        found.map(|_| ()).unwrap_err().join("\n")
    }

    #[test]
    fn values_come_in_the_order_in_which_later_ones_win() {
        let spec = spec(&json!({
            "source": {"chart": {"archive": {"kind": "Secret", "name": "s", "key": "c.tgz"}}},
            "valuesFrom": [
                {"kind": "Secret", "name": "s"},
                {"kind": "ConfigMap", "name": "m", "valuesKey": "p", "targetPath": "a.b"},
                {"kind": "ConfigMap", "name": "gone", "optional": true},
                {"kind": "ConfigMap", "name": "m", "optional": true},
            ],
            "values": {"a": {"c": 1}},
        }));
        let secret = json!({"data": {"c.tgz": "H4s=", "values.yaml": "YTogMQo="}});
        let map = json!({"data": {"p": "x"}});
        let find = |kind, name: &str| match (kind, name) {
            (ObjectsFromKind::Secret, "s") => Some(&secret),
            (ObjectsFromKind::ConfigMap, "m") => Some(&map),
            _ => None,
        };
        let given = resolve(&spec, "is not there", false, None, find).unwrap();
        let places: Vec<_> =
            given.values.iter().map(|it| serde_json::to_value(it).unwrap()).collect();
        assert_eq!(
            places,
            [
                json!({"place": "spec.valuesFrom[0] (Secret/s key values.yaml)", "yaml": "a: 1\n"}),
                json!({"place": "spec.valuesFrom[1] (ConfigMap/m key p)", "targetPath": "a.b",
                       "value": "x"}),
                json!({"place": "spec.values", "object": {"a": {"c": 1}}}),
            ]
        );
        assert!(matches!(&given.whence, Whence::Archive { bytes, .. } if *bytes == [0x1f, 0x8b]));
        assert_eq!(given.notes.len(), 2, "{:?}", given.notes);
        assert!(given.notes[1].contains("ConfigMap/m has no key values.yaml"), "{:?}", given.notes);
    }

    #[test]
    fn what_cannot_be_known_is_said_with_a_way_on() {
        let archive = json!({"source": {"chart": {"archive":
            {"kind": "Secret", "name": "s", "key": "c.tgz"}}},
            "valuesFrom": [{"kind": "Secret", "name": "v"}]});
        let text = problems(&archive, false);
        assert!(
            text.contains("(Secret/s key c.tgz): Secret/s is not there; or name the"),
            "{text}"
        );
        assert!(text.contains("spec.valuesFrom[0] (Secret/v key values.yaml): Secret/v is not"));
        let oci = json!({"source": {"chart": {"oci": {"url": "oci://a/b", "version": "1"}}}});
        let text = problems(&oci, false);
        assert!(text.contains("spec.source.chart.oci (oci://a/b 1): with -f no server"), "{text}");
        assert!(resolve(&spec(&oci), "", true, None, |_, _| None).is_ok());
        let secret = json!({"source": {"chart": {"repository":
            {"url": "https://a", "name": "b", "secretRef": {"name": "c"}}}}});
        assert!(problems(&secret, true).contains("it is fetched with a Secret"));
        let flux = json!({"source": {"sourceRef": {"kind": "GitRepository", "name": "a"}}});
        let text = problems(&flux, true);
        assert!(text.contains("sourceRef (GitRepository/a): what Flux has fetched"), "{text}");
        let other = Some(Whence::Folder { path: "/shop".into(), title: "./shop".to_owned() });
        let given = resolve(&spec(&flux), "", false, other, |_, _| None).unwrap();
        assert_eq!(given.sources, ["--chart ./shop"]);
    }
}
