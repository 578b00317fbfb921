//! The desired objects of a release, parsed: the hooks, the release's own objects, the errors.

use std::collections::HashMap;

use manifests::placed::{Placed, describe, is_list};
use serde_json::Value;
use thiserror::Error;

use crate::{
    annotations::{Meaningless, meaningless},
    event::HookEvent,
    hooks::{self, DeletePolicy, HookAnnotations, HookError},
    object::{Identity, ObjectRef, PlannedObject},
    order,
};

/// The objects of a source, separated into hooks and the release's own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// The objects in a chart's `crds/`: made before the first hook runs, as [`crate::plan::Crds`]
    /// says.
    pub crds: Vec<PlannedObject>,
    /// In the order of the source.
    pub hooks: Vec<Hook>,
    /// In Helm's install order.
    pub objects: Vec<PlannedObject>,
    /// The parts of the objects that have no effect, though the objects can be run and applied.
    pub remarks: Vec<SourceError>,
}

/// The author of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// The user: parts of hooks without effect are refused.
    User,
    /// The author of a chart, which has to work as in Helm: parts without effect are remarked.
    Chart,
}

/// The most remarks that are kept.
const MOST_REMARKS: usize = 50;

/// A hook as its source describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// Names its object; a `List` needs no name.
    pub object: ObjectRef,
    /// The objects that are run, one after the other: its object, or the items of a `List`.
    pub parts: Vec<PlannedObject>,
    /// The events it runs at.
    pub events: Vec<HookEvent>,
    /// Its weight.
    pub weight: i64,
    /// Its effective delete policies.
    pub delete_policies: Vec<DeletePolicy>,
    /// Its object as the source has it.
    pub manifest: Value,
}

impl Hook {
    /// Its place among the hooks of an event.
    pub(crate) fn rank(&self) -> impl Ord + '_ {
        // A `List`, and an object whose name the API server generates, have none when Helm sorts.
        let name = self.manifest.pointer("/metadata/name").and_then(Value::as_str);
        order::hook_rank(self.weight, name.unwrap_or_default(), &self.object.kind)
    }
}

/// A problem of one object of a source. `place` says where it is, such as `spec.source.objects[2]`,
/// and `object` is as much of `Kind/name` as is known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place} ({object}): {problem}")]
pub struct SourceError {
    /// The place of the object.
    pub place: String,
    /// As much of its name as is known.
    pub object: String,
    /// The problem.
    pub problem: Problem,
}

impl SourceError {
    fn new(place: &str, manifest: &Value, problem: Problem) -> Self {
        let error = Self { place: place.to_owned(), object: describe(manifest), problem };
        // An object that is in a Secret consists of the Secret's data.
        if place.starts_with("Secret/") { error.without_values() } else { error }
    }

    /// Returns the same without the values of the object that it quotes.
    #[must_use]
    pub fn without_values(self) -> Self {
        Self { problem: self.problem.without_values(), ..self }
    }
}

/// The possible problems of an object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A field without which the object cannot be named.
    #[error("{field} is missing or not a string; every object needs it")]
    Missing {
        /// The field's path.
        field: &'static str,
    },
    /// The object would get another name each time it is applied.
    #[error(
        "metadata.generateName is {prefix:?}, but only a hook can have a new name each time; give \
         metadata.name"
    )]
    GenerateName {
        /// The prefix.
        prefix: String,
    },
    /// A `List` among the items of another.
    #[error("{kind} {item:?} is among the items of a List; put its items there")]
    NestedList {
        /// Its kind.
        kind: String,
        /// Its name, if it has one.
        item: String,
    },
    /// The field would lead to a place of the API other than the object's own.
    #[error(
        "{field} is {value:?}, which cannot be part of a URL; use letters, digits, '-' and '.'"
    )]
    NotInUrls {
        /// The field's path.
        field: &'static str,
        /// The value of the field.
        value: String,
    },
    /// Two objects of one name would overwrite each other.
    #[error("the same object is already at {other}; remove one or rename it")]
    Duplicate {
        /// The place of the other.
        other: String,
    },
    /// Its hook annotations cannot be parsed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// An annotation, or a word in one, that has no effect.
    #[error(transparent)]
    Meaningless(#[from] Meaningless),
}

impl Problem {
    fn without_values(self) -> Self {
        let hidden = || "…".to_owned();
        match self {
            Self::GenerateName { .. } => Self::GenerateName { prefix: hidden() },
            Self::NotInUrls { field, .. } => Self::NotInUrls { field, value: hidden() },
            Self::Hook(HookError::UnknownEvent { .. }) => {
                Self::Hook(HookError::UnknownEvent { value: hidden(), annotation: hidden() })
            }
            Self::Hook(HookError::NotAString { name, .. }) => {
                Self::Hook(HookError::NotAString { name, value: hidden() })
            }
            Self::Meaningless(word) => Self::Meaningless(word.without_values()),
            Self::Missing { .. }
            | Self::NestedList { .. }
            | Self::Duplicate { .. }
            | Self::Hook(HookError::TooManyEvents { .. }) => self,
        }
    }
}

impl Desired {
    /// Parses the objects that `author` wrote. The namespace of an object that names none is
    /// `namespace`. Whether its kind is namespaced at all is for the caller to correct, who can ask
    /// the cluster. The items of a `List` are taken one by one, as Helm does.
    ///
    /// # Errors
    /// Every problem of every object.
    pub fn parse(
        objects: &[Placed],
        namespace: &str,
        author: Author,
    ) -> Result<Self, Vec<SourceError>> {
        let mut desired = Self::default();
        let mut errors = Vec::new();
        let mut seen = Seen::default();
        for Placed { place, manifest } in objects {
            for word in meaningless(manifest) {
                let is_wrong = author == Author::User && word.is_refused();
                let found = if is_wrong { &mut errors } else { &mut desired.remarks };
                if is_wrong || found.len() < MOST_REMARKS {
                    found.push(SourceError::new(place, manifest, word.into()));
                }
            }
            let parsed = hooks::parse(manifest).map_err(Problem::from).and_then(|hook| {
                let parts = parts(manifest, namespace, hook.is_some())?;
                let events = hook.as_ref().map_or(&[][..], |hook| &hook.events);
                seen.add(&parts, events, place)?;
                Ok((parts, hook))
            });
            match parsed {
                Ok((parts, Some(hook))) => desired.hooks.push(Hook {
                    object: reference(manifest, &parts, namespace),
                    parts,
                    events: hook.events,
                    weight: hook.weight,
                    delete_policies: hook.delete_policies,
                    manifest: manifest.clone(),
                }),
                Ok((parts, None)) => desired.objects.extend(parts),
                Err(problem) => errors.push(SourceError::new(place, manifest, problem)),
            }
        }
        desired.sort();
        if errors.is_empty() { Ok(desired) } else { Err(errors) }
    }

    /// Returns the objects and the hooks of a record, whose annotations its writer has read
    /// already. `place` says which record.
    ///
    /// # Errors
    /// Every problem of every object.
    pub fn recorded(
        objects: &[Value],
        hooks: Vec<(Value, HookAnnotations)>,
        namespace: &str,
        place: &str,
    ) -> Result<Self, Vec<SourceError>> {
        let mut desired = Self::default();
        let mut errors = Vec::new();
        let mut wrong = |manifest: &Value, problem: Problem| {
            errors.push(SourceError::new(place, manifest, problem).without_values());
        };
        for manifest in objects {
            match parts(manifest, namespace, false) {
                Ok(parts) => desired.objects.extend(parts),
                Err(problem) => wrong(manifest, problem),
            }
        }
        for (manifest, annotations) in hooks {
            match parts(&manifest, namespace, true) {
                Ok(parts) => desired.hooks.push(Hook {
                    object: reference(&manifest, &parts, namespace),
                    parts,
                    events: annotations.events,
                    weight: annotations.weight,
                    delete_policies: annotations.delete_policies,
                    manifest,
                }),
                Err(problem) => wrong(&manifest, problem),
            }
        }
        desired.sort();
        if errors.is_empty() { Ok(desired) } else { Err(errors) }
    }

    fn sort(&mut self) {
        self.objects.sort_by(|a, b| {
            order::install_rank(&a.object.kind).cmp(&order::install_rank(&b.object.kind))
        });
    }

    /// Adds the objects in a chart's `crds/`.
    ///
    /// # Errors
    /// Every problem of every object.
    pub fn add_crds(&mut self, crds: &[Placed], namespace: &str) -> Result<(), Vec<SourceError>> {
        let mut errors = Vec::new();
        for Placed { place, manifest } in crds {
            match parts(manifest, namespace, false) {
                Ok(parts) => self.crds.extend(parts),
                Err(problem) => errors.push(SourceError::new(place, manifest, problem)),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Returns whether there is nothing to run or to apply.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.hooks.iter().all(|hook| hook.parts.is_empty())
    }

    /// Every object that is run or applied, hooks first.
    pub fn refs_mut(&mut self) -> impl Iterator<Item = &mut ObjectRef> {
        let hooks = self.hooks.iter_mut().flat_map(|hook| &mut hook.parts);
        let parts = self.crds.iter_mut().chain(hooks).chain(&mut self.objects);
        parts.map(|part| &mut part.object)
    }
}

/// The names in use and their places: two objects of one name would overwrite each other.
#[derive(Default)]
struct Seen {
    objects: HashMap<Identity, Vec<(Vec<HookEvent>, String)>>,
}

impl Seen {
    fn add(
        &mut self,
        parts: &[PlannedObject],
        events: &[HookEvent],
        place: &str,
    ) -> Result<(), Problem> {
        for PlannedObject { object, manifest } in parts {
            if is_unnamed(manifest) {
                continue;
            }
            // At most one for each hook event.
            let namesakes = self.objects.entry(object.into()).or_default();
            let twin = namesakes.iter().find(|(other_events, _)| {
                events.iter().any(|event| other_events.contains(event))
                    // As hook and as object of the release it would be made twice.
                    || events.is_empty()
                    || other_events.is_empty()
            });
            if let Some((_, other)) = twin {
                return Err(Problem::Duplicate { other: other.clone() });
            }
            namesakes.push((events.to_vec(), place.to_owned()));
        }
        Ok(())
    }
}

/// Names the object or the list that Helm treats as one hook.
fn reference(manifest: &Value, parts: &[PlannedObject], namespace: &str) -> ObjectRef {
    if let ([part], false) = (parts, is_list(manifest)) {
        return part.object.clone();
    }
    let text = |pointer: &str| {
        manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    ObjectRef {
        api_version: text("/apiVersion"),
        kind: text("/kind"),
        namespace: Some(namespace.to_owned()),
        name: text("/metadata/name"),
    }
}

/// The object itself, or the items of a list of any kind.
fn parts(manifest: &Value, namespace: &str, hook: bool) -> Result<Vec<PlannedObject>, Problem> {
    if !is_list(manifest) {
        let object = parse_object(manifest, namespace, hook)?;
        return Ok(vec![PlannedObject { object, manifest: manifest.clone() }]);
    }
    let items = manifest["items"].as_array().into_iter().flatten();
    items
        .map(|item| {
            if is_list(item) {
                let text = |pointer: &str| {
                    item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                let (kind, item) = (text("/kind"), text("/metadata/name"));
                return Err(Problem::NestedList { kind, item });
            }
            let object = parse_object(item, namespace, hook)?;
            Ok(PlannedObject { object, manifest: item.clone() })
        })
        .collect()
}

fn is_unnamed(manifest: &Value) -> bool {
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
    name.is_none_or(str::is_empty)
}

fn parse_object(manifest: &Value, namespace: &str, hook: bool) -> Result<ObjectRef, Problem> {
    let text = |field: &'static str, pointer: &str| {
        manifest
            .pointer(pointer)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .ok_or(Problem::Missing { field })
    };
    let api_version = text("apiVersion", "/apiVersion")?;
    let kind = text("kind", "/kind")?;
    let name = match (text("metadata.name", "/metadata/name"), text("", "/metadata/generateName")) {
        (Err(_), Ok(prefix)) if hook => prefix,
        (Err(_), Ok(prefix)) => {
            return Err(Problem::GenerateName { prefix: prefix.to_owned() });
        }
        (name, _) => name?,
    };
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
    Ok(ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    })
}

/// Returns whether `part` is one segment of a path; the API server checks names further.
pub fn stands_in_urls(part: &str) -> bool {
    let breaks = |c: char| c.is_whitespace() || c.is_control() || ['/', '?', '#', '%'].contains(&c);
    part != "." && part != ".." && !part.contains(breaks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(objects: &[Value], namespace: &str) -> Result<Desired, Vec<SourceError>> {
        Desired::parse(&Placed::inline(objects), namespace, Author::User)
    }

    fn object(kind: &str, name: &str, hook: Option<&str>) -> Value {
        let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        if let Some(hook) = hook {
            object["metadata"]["annotations"] = json!({"helm.sh/hook": hook});
        }
        object
    }

    #[test]
    fn hooks_are_parted_from_the_objects_of_the_release() {
        let desired = parse(
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
        let errors = parse(
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
                "spec.source.objects[4] (ConfigMap/twin): the same object is already at \
                 spec.source.objects[3]; remove one or rename it",
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
        assert!(parse(&good, "prod").is_ok());
        let errors = parse(
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
             cannot be part of a URL; use letters, digits, '-' and '.'"
        );
    }

    #[test]
    fn meaningless_words_are_refused_of_users_and_remarked_of_charts() {
        let mut hook = object("Job", "hook", Some("pre-install"));
        hook["metadata"]["annotations"]["helm.sh/hook-weight"] = json!("high");
        let mut near = object("Job", "near", None);
        near["metadata"]["annotations"] = json!({"helm.sh/hooks": "pre-install"});
        let objects = Placed::inline(&[hook, near]);
        let of_chart = Desired::parse(&objects, "prod", Author::Chart).unwrap();
        assert_eq!(of_chart.hooks[0].weight, 0);
        let remarks: Vec<_> = of_chart.remarks.iter().map(ToString::to_string).collect();
        let expected = [
            "spec.source.objects[0] (Job/hook): annotation helm.sh/hook-weight: \"high\" is no whole \
             number, and Helm takes it for 0; use one such as \"-5\" or \"10\"",
            "spec.source.objects[1] (Job/near): annotation helm.sh/hooks: there is no such key; did \
             you mean helm.sh/hook?",
        ];
        assert_eq!(remarks, expected);
        let errors = Desired::parse(&objects, "prod", Author::User).unwrap_err();
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected[..1]);
        let of_user = Desired::parse(&objects[1..], "prod", Author::User).unwrap();
        assert_eq!(of_user.remarks.len(), 1);
    }

    #[test]
    fn of_an_object_in_a_secret_no_value_is_told() {
        let object = |metadata: Value| {
            json!({"apiVersion": "v1", "kind": "Job",
                                              "metadata": metadata})
        };
        let annotated =
            |annotations: Value| object(json!({"name": "a", "annotations": annotations}));
        let secret = "hunter2";
        for manifest in [
            object(json!({"generateName": secret})),
            object(json!({"name": "a", "namespace": format!("a/{secret}")})),
            annotated(json!({"a": [secret]})),
            annotated(json!({"helm.sh/hook": secret})),
            annotated(json!({"helm.sh/hook": "test", "helm.sh/hook-weight": secret})),
            annotated(json!({"helm.sh/hook": "test", "helm.sh/hook-delete-policy": secret})),
            annotated(json!({"helm.sh/resource-policy": secret})),
        ] {
            for (place, is_shown) in [("Secret/b key c line 1", false), ("a.yaml", true)] {
                let placed = Placed { place: place.to_owned(), manifest: manifest.clone() };
                let said = match Desired::parse(&[placed], "prod", Author::User) {
                    Ok(desired) => desired.remarks,
                    Err(errors) => errors,
                };
                let said = said.iter().map(ToString::to_string).collect::<String>();
                assert_eq!(said.contains(secret), is_shown, "{said}");
            }
        }
    }

    #[test]
    fn one_name_may_stand_in_several_events() {
        let objects =
            [object("Job", "job", Some("pre-install")), object("Job", "job", Some("post-install"))];
        assert_eq!(parse(&objects, "prod").unwrap().hooks.len(), 2);
        let objects = [object("Job", "job", Some("test")), object("Job", "job", Some("test"))];
        assert!(parse(&objects, "prod").is_err());
    }
}
