//! The result of a source: patched, parsed and within bounds.

use std::collections::{HashMap, HashSet};

use engine::protocol::{Document, Rendered};
use helm::{manifest, record};
use lifecycle::reason::Reason;
use lifecycle::{
    hooks, plan,
    source::{Author, Desired, SourceError},
    tidy,
};
use manifests::{
    memory::Memory,
    patches::{self, Patch},
    placed::Placed,
    yaml,
};
use serde_json::{Map, Value};

use crate::{
    objects::{empty, too_large, unreadable},
    problems::Blocked,
    secrets::Secrets,
};

/// The result of a source.
pub struct RenderedRelease {
    /// Its objects and hooks.
    pub desired: Desired,
    /// The chart, if it is one.
    pub chart: Option<plan::Chart>,
    /// The texts of its record in the chart's own words, if it is a chart.
    pub texts: Option<ChartTexts>,
}

/// The texts about a chart in a record.
#[derive(Clone)]
pub struct ChartTexts {
    /// The chart's metadata.
    pub chart: record::Chart,
    /// The values that were given, merged.
    pub config: Map<String, Value>,
    /// Its notes.
    pub notes: String,
    /// The objects, as they were written.
    pub manifest: String,
    /// One for each hook, in their order.
    pub hooks: Vec<Document>,
}

/// Makes the release of objects that a user wrote.
///
/// # Errors
/// Everything that is wrong with them.
pub fn of_objects(
    objects: Vec<Placed>,
    patches: &[Patch],
    namespace: &str,
) -> Result<RenderedRelease, Blocked> {
    let mut objects = patched(patches, objects)?;
    // Digests treat a null as absent; in a ConfigMap's data it would be an empty text.
    for object in &mut objects {
        tidy::remove_nulls(&mut object.manifest);
    }
    let desired = Desired::parse(&objects, namespace, Author::User)
        .map_err(|errors| Blocked::all(Reason::InvalidSource, &errors))?;
    // An empty List, or patches that remove every object.
    if desired.is_empty() {
        return Err(empty("spec.source", "it"));
    }
    Ok(RenderedRelease { desired, chart: None, texts: None })
}

/// Makes the release of a chart of this digest. Nothing that it reports contains `secrets`.
///
/// # Errors
/// Everything that is wrong with its rendered objects.
pub fn of_chart(
    rendered: Rendered,
    digest: String,
    patches: &[Patch],
    namespace: &str,
    secrets: &Secrets,
) -> Result<RenderedRelease, Blocked> {
    made(rendered, digest, patches, namespace, secrets).map_err(|blocked| blocked.without(secrets))
}

fn made(
    rendered: Rendered,
    digest: String,
    patches: &[Patch],
    namespace: &str,
    secrets: &Secrets,
) -> Result<RenderedRelease, Blocked> {
    let mut memory = Memory::of_release();
    for values in [&rendered.chart, &rendered.config] {
        memory.take_fields(values).map_err(|_| {
            let text = "the chart's metadata and values would take too much memory";
            Blocked::new(Reason::SourceTooLarge, text)
        })?;
    }
    let mut written = Written::default();
    let mut objects = Vec::new();
    for hook in rendered.hooks {
        objects.extend(written.read(hook.document, &mut memory)?);
    }
    for document in rendered.objects {
        objects.extend(written.read(document, &mut memory)?);
    }
    let mut crds = Vec::new();
    for Document { path, manifest } in rendered.crds {
        let read = read(&path, &manifest, &mut memory)?;
        crds.extend(read.into_iter().map(|manifest| Placed { place: path.clone(), manifest }));
    }
    let objects = patched(patches, objects)?;
    let mut desired = Desired::parse(&objects, namespace, Author::Chart).map_err(|errors| {
        let errors: Vec<_> =
            errors.into_iter().map(|error| error_without(error, secrets)).collect();
        Blocked::all(Reason::InvalidSource, &errors)
    })?;
    let remarks = std::mem::take(&mut desired.remarks).into_iter();
    desired.remarks = remarks.map(|remark| error_without(remark, secrets)).collect();
    desired
        .add_crds(&crds, namespace)
        .map_err(|errors| Blocked::all(Reason::InvalidChart, &errors))?;
    let (hooks, manifest) = written.texts(&objects);
    let chart: record::Chart =
        serde_json::from_value(Value::Object(rendered.chart)).map_err(|error| {
            Blocked::new(Reason::InvalidChart, format!("the chart's Chart.yaml: {error}"))
        })?;
    let named = chart.metadata.clone().unwrap_or_default();
    let named = plan::Chart {
        name: named.name,
        version: named.version,
        app_version: Some(named.app_version).filter(|version| !version.is_empty()),
        digest,
    };
    let texts =
        ChartTexts { chart, config: rendered.config, notes: rendered.notes, manifest, hooks };
    Ok(RenderedRelease { desired, chart: Some(named), texts: Some(texts) })
}

/// The documents of a chart in their order, as they were written and as they were read.
#[derive(Default)]
struct Written {
    documents: Vec<(Placed, Document)>,
    places: HashSet<String>,
}

impl Written {
    /// Returns the object of a document; `None` if it has only comments, which Helm keeps.
    fn read(&mut self, document: Document, memory: &mut Memory) -> Result<Option<Placed>, Blocked> {
        let mut found = read(&document.path, &document.manifest, memory)?;
        let manifest = found.pop();
        if !found.is_empty() {
            // Helm splits its output into documents.
            let message = format!("{}: it is not one object", document.path);
            return Err(Blocked::new(Reason::TemplateError, message));
        }
        let mut place = document.path.clone();
        let mut number = 1;
        while !self.places.insert(place.clone()) {
            number += 1;
            place = format!("{} document {number}", document.path);
        }
        let object = manifest.map(|manifest| Placed { place: place.clone(), manifest });
        let kept = object.clone().unwrap_or(Placed { place, manifest: Value::Null });
        self.documents.push((kept, document));
        Ok(object)
    }

    /// Returns the texts of the hooks, and that of the other objects: as they were written, except
    /// for those that patches have changed or removed.
    fn texts(self, objects: &[Placed]) -> (Vec<Document>, String) {
        let patched: HashMap<_, _> =
            objects.iter().map(|object| (&*object.place, &object.manifest)).collect();
        let (mut found, mut text) = (Vec::new(), String::new());
        for (before, mut document) in self.documents {
            let now = match patched.get(&*before.place) {
                Some(now) => *now,
                None if before.manifest.is_null() => &before.manifest,
                None => continue,
            };
            if *now != before.manifest {
                document.manifest = manifest::to_yaml(now);
            }
            // Patches may make an object a hook, too.
            if hooks::parse(now).is_ok_and(|hook| hook.is_some()) {
                found.push(document);
            } else {
                let Document { path, manifest } = &document;
                text.extend(["---\n# Source: ", path, "\n", manifest, "\n"]);
            }
        }
        (found, text)
    }
}

fn read(path: &str, text: &str, memory: &mut Memory) -> Result<Vec<Value>, Blocked> {
    manifest::parse_within(text, memory)
        .map(|found| found.into_iter().map(|(_, manifest)| manifest).collect())
        .map_err(|error| unreadable(&format!("{path} as it is rendered"), error))
}

fn patched(patches: &[Patch], objects: Vec<Placed>) -> Result<Vec<Placed>, Blocked> {
    let objects = patches::apply(patches, objects)
        .map_err(|errors| Blocked::all(Reason::InvalidPatch, &errors))?;
    check_bounds(&objects)?;
    Ok(objects)
}

/// Returns the error without the values that it quotes, if some of the chart's values are secret: a
/// template may change them in any way.
fn error_without(mut error: SourceError, secrets: &Secrets) -> SourceError {
    if secrets.is_empty() {
        return error;
    }
    error.object = secrets.hide(&error.object);
    error.without_values()
}

/// Refuses objects that could be recorded, but not be read from the record.
fn check_bounds(objects: &[Placed]) -> Result<(), Blocked> {
    let mut memory = Memory::of_release();
    for Placed { place, manifest } in objects {
        if yaml::is_too_deep(manifest) {
            let message =
                format!("{place}: the object is nested deeper than {} levels", yaml::MAX_DEPTH);
            return Err(Blocked::new(Reason::InvalidSource, message));
        }
        // In the record the items of a `List` are separate.
        let items = manifest["items"].as_array().map_or(1, Vec::len);
        if memory.take_value(manifest).is_err() || (0..items).any(|_| memory.take_object().is_err())
        {
            return Err(too_large(place));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(value: Value) -> Rendered {
        let mut whole = json!({"chart": {"metadata": {"name": "shop", "version": "1.2.3",
                                                      "appVersion": "9"}}});
        whole.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn of(value: Value, patches: &[Patch]) -> Result<RenderedRelease, Blocked> {
        of_chart(rendered(value), "sha256:1".into(), patches, "prod", &Secrets::default())
    }

    fn map(name: &str) -> String {
        format!("# by hand\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
    }

    fn patch(value: Value) -> Vec<Patch> {
        vec![serde_json::from_value(value).unwrap()]
    }

    fn document(path: &str, manifest: &str) -> Value {
        json!({"path": format!("shop/templates/{path}"), "manifest": manifest})
    }

    #[test]
    fn the_record_has_the_charts_own_text() {
        let comment = document("note.yaml", "# only a comment\n");
        let release =
            of(json!({"objects": [document("a.yaml", &map("a")), comment], "notes": "hello"}), &[]);
        let release = release.ok().unwrap();
        let texts = release.texts.unwrap();
        assert!(texts.manifest.starts_with("---\n# Source: shop/templates/a.yaml\n# by hand\n"));
        assert!(texts.manifest.contains("# only a comment"), "{}", texts.manifest);
        assert_eq!((texts.notes.as_str(), release.desired.objects.len()), ("hello", 1));
        let chart = release.chart.unwrap();
        assert_eq!((chart.name.as_str(), chart.app_version.as_deref()), ("shop", Some("9")));
    }

    #[test]
    fn a_patched_object_is_recorded_as_it_is_applied() {
        let objects = json!({"objects": [document("a.yaml", &map("a")),
                                         document("b.yaml", &map("b"))]});
        let hook = json!({"target": {"name": "a"}, "patch":
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  annotations:\n    helm.sh/hook: pre-install\n"});
        let release = of(objects.clone(), &patch(hook)).ok().unwrap();
        let texts = release.texts.unwrap();
        assert_eq!(texts.hooks[0].path, "shop/templates/a.yaml");
        assert!(texts.hooks[0].manifest.contains("helm.sh/hook: pre-install"));
        assert!(!texts.manifest.contains("name: a") && texts.manifest.contains("name: b"));

        let delete = json!({"target": {"name": "a"}, "patch":
            "$patch: delete\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"});
        let texts = of(objects, &patch(delete)).ok().unwrap().texts.unwrap();
        assert!(!texts.manifest.contains("name: a") && texts.manifest.contains("name: b"));
    }

    #[test]
    fn documents_of_one_template_are_told_apart() {
        let (one, two) = (document("a.yaml", &map("a")), document("a.yaml", &map("a")));
        let blocked = of(json!({"objects": [one, two]}), &[]).err().unwrap();
        assert!(blocked.to_string().contains("shop/templates/a.yaml document 2"), "{blocked}");
    }

    #[test]
    fn errors_quote_no_value_that_may_be_secret() {
        let secrets = Secrets::default();
        secrets.add_data(&json!({"data": {"a": "aHVudGVyMi1hbmQtbW9yZQ=="}}));
        let odd = map("a").replace("ConfigMap", "Job") + "spec: {hook: hunter2-and-more}\n";
        let annotated =
            odd.replace("{name: a}", "{name: a, annotations: {helm.sh/hook: hunter2-and-more}}");
        let value = json!({"hooks": [document("a.yaml", &annotated)]});
        let blocked = of_chart(rendered(value), "d".into(), &[], "prod", &secrets).err().unwrap();
        assert!(!blocked.to_string().contains("hunter2"), "{blocked}");
    }

    #[test]
    fn objects_that_cannot_be_read_again_are_refused() {
        let mut deep = json!(1);
        for _ in 0..=yaml::MAX_DEPTH {
            deep = json!({"a": deep});
        }
        let placed = |manifest| vec![Placed { place: "here".into(), manifest }];
        let blocked = of_objects(placed(deep), &[], "prod").err().unwrap();
        assert!(blocked.to_string().contains("here: the object is nested deeper"), "{blocked}");
        let none = of_objects(placed(json!({"kind": "List", "items": []})), &[], "prod");
        assert!(none.err().unwrap().to_string().contains("there is no object"));
    }
}
