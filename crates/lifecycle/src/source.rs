//! The desired objects of a release, parsed: what is a hook, what is the release's, what is wrong.

use serde_json::Value;
use thiserror::Error;

use crate::{
    hooks::{self, DeletePolicy, HookError, HookEvent},
    order,
    plan::{ObjectRef, PlannedObject},
};

/// The objects of a source, parted into hooks and the release's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// In the order of the source.
    pub hooks: Vec<Hook>,
    /// In Helm's install order.
    pub objects: Vec<PlannedObject>,
}

/// A hook as its source describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// Names its object.
    pub object: ObjectRef,
    /// The events it runs at.
    pub events: Vec<HookEvent>,
    /// Its weight.
    pub weight: i64,
    /// Its effective delete policies.
    pub delete_policies: Vec<DeletePolicy>,
    /// Its object.
    pub manifest: Value,
}

/// What is wrong with one object of a source. `place` says where it stands, such as
/// `spec.source.objects[2]`, and `object` is as much of `Kind/name` as is known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place} ({object}): {problem}")]
pub struct SourceError {
    /// Where the object stands.
    pub place: String,
    /// As much of its name as is known.
    pub object: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A field without which the object cannot be named.
    #[error("{field} is missing or not a string; every object needs it")]
    Missing {
        /// The field's path.
        field: &'static str,
    },
    /// The object would get its name from the API server.
    #[error("metadata.generateName is {prefix:?}, which is not served yet; give metadata.name")]
    GenerateName {
        /// The prefix.
        prefix: String,
    },
    /// It would lead to another place of the API than the object's own.
    #[error("{field} is {value:?}, which cannot stand in a URL; use letters, digits, '-' and '.'")]
    NotInUrls {
        /// The field's path.
        field: &'static str,
        /// What stands there.
        value: String,
    },
    /// Two objects of one name would overwrite each other.
    #[error("the same object stands at {other} already; remove one or rename it")]
    Duplicate {
        /// Where the other stands.
        other: String,
    },
    /// Its hook annotations cannot be understood.
    #[error(transparent)]
    Hook(#[from] HookError),
}

impl Desired {
    /// Parses `objects`. The namespace of an object that names none is `namespace`; whether its
    /// kind has one at all is for the caller to correct, who can ask the cluster.
    ///
    /// # Errors
    /// Every problem of every object.
    pub fn parse(objects: &[Value], namespace: &str) -> Result<Self, Vec<SourceError>> {
        let mut desired = Self::default();
        let mut errors = Vec::new();
        let mut seen: Vec<(ObjectRef, Vec<HookEvent>, String)> = Vec::new();
        for (index, manifest) in objects.iter().enumerate() {
            let place = format!("spec.source.objects[{index}]");
            let parsed = parse_object(manifest, namespace).and_then(|(object, hook)| {
                let events = hook.as_ref().map_or_else(Vec::new, |hook| hook.events.clone());
                let twin = seen.iter().find(|(other, other_events, _)| {
                    other.is_same_object(&object)
                        && (events.iter().any(|event| other_events.contains(event))
                            // As hook and as object of the release it would be made twice.
                            || events.is_empty()
                            || other_events.is_empty())
                });
                if let Some((_, _, other)) = twin {
                    return Err(Problem::Duplicate { other: other.clone() });
                }
                seen.push((object.clone(), events, place.clone()));
                Ok((object, hook))
            });
            match parsed {
                Ok((object, Some(hook))) => desired.hooks.push(Hook {
                    object,
                    events: hook.events,
                    weight: hook.weight,
                    delete_policies: hook.delete_policies,
                    manifest: manifest.clone(),
                }),
                Ok((object, None)) => {
                    desired.objects.push(PlannedObject { object, manifest: manifest.clone() });
                }
                Err(problem) => {
                    errors.push(SourceError { place, object: describe(manifest), problem });
                }
            }
        }
        desired.objects.sort_by(|a, b| {
            order::install_rank(&a.object.kind).cmp(&order::install_rank(&b.object.kind))
        });
        if errors.is_empty() { Ok(desired) } else { Err(errors) }
    }

    /// Every object, hooks first.
    pub fn refs_mut(&mut self) -> impl Iterator<Item = &mut ObjectRef> {
        let hooks = self.hooks.iter_mut().map(|hook| &mut hook.object);
        hooks.chain(self.objects.iter_mut().map(|object| &mut object.object))
    }
}

fn parse_object(
    manifest: &Value,
    namespace: &str,
) -> Result<(ObjectRef, Option<hooks::HookAnnotations>), Problem> {
    let text = |field: &'static str, pointer: &str| {
        manifest
            .pointer(pointer)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .ok_or(Problem::Missing { field })
    };
    let api_version = text("apiVersion", "/apiVersion")?;
    let kind = text("kind", "/kind")?;
    if let (Err(_), Ok(prefix)) = (text("", "/metadata/name"), text("", "/metadata/generateName")) {
        return Err(Problem::GenerateName { prefix: prefix.to_owned() });
    }
    let name = text("metadata.name", "/metadata/name")?;
    let namespace = text("", "/metadata/namespace").unwrap_or(namespace);
    let (group, version) = api_version.split_once('/').unwrap_or(("v1", api_version));
    for (field, part, value) in [
        ("apiVersion", group, api_version),
        ("apiVersion", version, api_version),
        ("metadata.namespace", namespace, namespace),
        ("metadata.name", name, name),
    ] {
        if !stands_in_urls(part) {
            return Err(Problem::NotInUrls { field, value: value.to_owned() });
        }
    }
    let object = ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    };
    Ok((object, hooks::parse(manifest)?))
}

/// Whether `part` is one segment of a path; what names are valid besides, the API server says.
fn stands_in_urls(part: &str) -> bool {
    let breaks = |c: char| c.is_whitespace() || c.is_control() || ['/', '?', '#', '%'].contains(&c);
    part != "." && part != ".." && !part.contains(breaks)
}

fn describe(manifest: &Value) -> String {
    let text = |pointer: &str, unknown: &str| {
        let text = manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() { unknown.to_owned() } else { text.to_owned() }
    };
    format!("{}/{}", text("/kind", "no kind"), text("/metadata/name", "no name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(kind: &str, name: &str, hook: Option<&str>) -> Value {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        if let Some(hook) = hook {
            object["metadata"]["annotations"] = json!({"helm.sh/hook": hook});
        }
        object
    }

    #[test]
    fn hooks_are_parted_from_the_objects_of_the_release() {
        let desired = Desired::parse(
            &[
                object("Deployment", "shop", None),
                object("Job", "migrate", Some("pre-install,pre-upgrade")),
                object("ConfigMap", "shop", None),
            ],
            "prod",
        )
        .unwrap();
        let kinds: Vec<_> = desired.objects.iter().map(|o| o.object.kind.as_str()).collect();
        assert_eq!(kinds, ["ConfigMap", "Deployment"]);
        assert_eq!(desired.hooks[0].events, [HookEvent::PreInstall, HookEvent::PreUpgrade]);
        assert_eq!(desired.hooks[0].object.namespace.as_deref(), Some("prod"));
    }

    #[test]
    fn every_problem_is_named_with_its_place_object_field_and_value() {
        let errors = Desired::parse(
            &[
                json!({"apiVersion": "v1", "metadata": {"name": "a"}}),
                json!({"kind": "Job", "metadata": {"name": "a"}}),
                json!({"apiVersion": "v1", "kind": "ConfigMap"}),
                object("ConfigMap", "twin", None),
                object("ConfigMap", "twin", None),
                object("Job", "hook", Some("pre-instal")),
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-"}}),
            ],
            "prod",
        )
        .unwrap_err();
        let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            text[..4],
            [
                "spec.source.objects[0] (no kind/a): kind is missing or not a string; every object \
                 needs it",
                "spec.source.objects[1] (Job/a): apiVersion is missing or not a string; every \
                 object needs it",
                "spec.source.objects[2] (ConfigMap/no name): metadata.name is missing or not a \
                 string; every object needs it",
                "spec.source.objects[4] (ConfigMap/twin): the same object stands at \
                 spec.source.objects[3] already; remove one or rename it",
            ]
        );
        assert!(text[4].contains("unknown hook event \"pre-instal\""), "{}", text[4]);
        assert!(text[5].contains("generateName is \"x-\""), "{}", text[5]);
    }

    #[test]
    fn no_name_leads_elsewhere_in_the_api() {
        let object = |version: &str, namespace: &str, name: &str| {
            json!({"apiVersion": version, "kind": "Role",
                   "metadata": {"name": name, "namespace": namespace}})
        };
        let good = [object("rbac.authorization.k8s.io/v1", "prod", "system:reader.x")];
        assert!(Desired::parse(&good, "prod").is_ok());
        let errors = Desired::parse(
            &[
                object("v1", "prod", "a?dryRun=All"),
                object("v1", "prod/pods", "a"),
                object("apps/v1/namespaces", "prod", "a"),
                object("v1", "..", "a"),
            ],
            "prod",
        )
        .unwrap_err();
        let fields: Vec<_> = errors
            .iter()
            .map(|error| match &error.problem {
                Problem::NotInUrls { field, .. } => *field,
                _ => "",
            })
            .collect();
        assert_eq!(
            fields,
            ["metadata.name", "metadata.namespace", "apiVersion", "metadata.namespace"]
        );
        assert_eq!(
            errors[0].to_string(),
            "spec.source.objects[0] (Role/a?dryRun=All): metadata.name is \"a?dryRun=All\", which \
             cannot stand in a URL; use letters, digits, '-' and '.'"
        );
    }

    #[test]
    fn one_name_may_stand_in_several_events() {
        let objects =
            [object("Job", "job", Some("pre-install")), object("Job", "job", Some("post-install"))];
        assert_eq!(Desired::parse(&objects, "prod").unwrap().hooks.len(), 2);
        let objects = [object("Job", "job", Some("test")), object("Job", "job", Some("test"))];
        assert!(Desired::parse(&objects, "prod").is_err());
    }
}
