//! The release that the files describe, and the errors in its manifest.

use api::{DURATIONS, ReleaseLifecycle, ReleaseLifecycleSpec, SourceKind};
use kube::{Resource as _, ResourceExt as _};
use manifests::placed::Placed;
use serde_json::{Value, json};
use sources::ChartLocation;

use super::{Contents, Found, Material, chart::ChartOrigin, reads::FileReads, resolve};

/// The requests of the command line.
#[derive(Default)]
pub(super) struct Wanted<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
    /// A chart instead of the release's own source.
    pub(super) other: Option<ChartOrigin>,
    /// True if a server may be asked for the release's own chart.
    pub(super) fetches: bool,
}

/// A release among the files: several may have one name, in different namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Its namespace, in the files or by --namespace; `None`: that of the context.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

impl Key {
    fn of(manifest: &Value, asked: Option<&str>) -> Self {
        let written = manifest.pointer("/metadata/namespace").and_then(Value::as_str);
        let namespace = written.or(asked).map(str::to_owned);
        Self { namespace, name: name_of(manifest).to_owned() }
    }

    /// Returns the name, with the namespace if it is known.
    pub(super) fn title(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Returns the release of this name, or the only one there is; if the files hold none, their
/// objects are a release themselves.
pub(super) async fn choose(objects: Vec<Placed>, wanted: Wanted<'_>) -> Found<Material> {
    let Wanted { name, namespace, other, fetches } = wanted;
    let (releases, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_release);
    if releases.is_empty() && other.is_some() {
        let problem = "--chart is for a ReleaseLifecycle, and the files hold none; without one: \
                       `kubectl lifecycle plan [NAME] CHART -f VALUES`";
        return Err(vec![problem.to_owned()]);
    }
    if releases.is_empty() {
        return plain(others, name, namespace);
    }
    let names: Vec<_> = releases.iter().map(|it| name_of(&it.manifest)).collect();
    let fits = |it: &&Placed| name.is_none_or(|name| name_of(&it.manifest) == name);
    let mut chosen: Vec<_> = releases.iter().filter(fits).collect();
    let keys: Vec<_> = chosen.iter().map(|it| Key::of(&it.manifest, namespace)).collect();
    let are_elsewhere = |first: &Key| keys.iter().any(|key| key.namespace != first.namespace);
    let is_name = keys.iter().all(|key| Some(&key.name) == keys.first().map(|it| &it.name));
    if is_name && keys.first().is_some_and(are_elsewhere) {
        if namespace.is_none() {
            let titles: Vec<_> = keys.iter().map(Key::title).collect();
            return Err(vec![format!(
                "the files have the ReleaseLifecycle in several namespaces, name one of them with \
                 --namespace: {}",
                titles.join(", ")
            )]);
        }
        let is_there =
            |it: &&Placed| Key::of(&it.manifest, namespace).namespace.as_deref() == namespace;
        if chosen.iter().any(&is_there) {
            chosen.retain(is_there);
        }
    }
    let release = match (&*chosen, name) {
        ([release], _) => release,
        ([], Some(name)) => {
            let there = names.join(", ");
            return Err(vec![format!("the files have no ReleaseLifecycle {name}; there: {there}")]);
        }
        (several, None) if several.iter().any(|it| name_of(&it.manifest) != names[0]) => {
            let there = names.join(", ");
            return Err(vec![format!(
                "the files have several ReleaseLifecycles, name one of them: {there}"
            )]);
        }
        (several, _) => {
            let places: Vec<_> = several.iter().map(|it| it.place.as_str()).collect();
            return Err(vec![format!(
                "the files have the same ReleaseLifecycle more than once, leave one of them: {}",
                places.join(", ")
            )]);
        }
    };
    let mut object = read(release)?;
    match (&object.metadata.namespace, namespace) {
        (Some(written), Some(asked)) if written != asked => {
            let name = object.name_any();
            return Err(vec![format!(
                "{} (ReleaseLifecycle/{name}): metadata.namespace is {written:?}, and --namespace \
                 {asked:?}; leave one of them out",
                release.place
            )]);
        }
        (None, asked) => object.metadata.namespace = asked.map(str::to_owned),
        _ => {}
    }
    let missing = "is not in these files; name its file with one more -f";
    let absence = match object.spec.source.kind() {
        SourceKind::ObjectsFrom(_) => {
            format!("{missing}, or plan what is in the cluster by leaving out -f")
        }
        SourceKind::Objects(_) | SourceKind::Chart(_) | SourceKind::SourceRef(_) => {
            missing.to_owned()
        }
    };
    let reads = FileReads { objects: &others, absence: &absence };
    match resolve::resolve(object, fetches, other, &reads).await {
        Ok(found) => {
            let place = Some(release.place.clone());
            found.map(|material| Material { place, ..material })
        }
        Err(never) => match never {},
    }
}

/// Returns a release of these objects, with the defaults for everything else.
fn plain(objects: Vec<Placed>, name: Option<&str>, namespace: Option<&str>) -> Found<Material> {
    let object = bare(name.unwrap_or("release"), namespace)?;
    let notes = vec![
        "the files hold no ReleaseLifecycle: this is what one of these objects would do, as \
         `kubectl lifecycle create` writes it"
            .to_owned(),
    ];
    let sources = vec!["the files themselves".to_owned()];
    let contents = Contents::Objects(objects);
    Ok(Material { object, contents, sources, notes, place: None })
}

/// Returns the objects without the other ReleaseLifecycles.
pub(super) fn only(objects: &[Placed], key: &Key, asked: Option<&str>) -> Vec<Placed> {
    let is_other = |it: &Placed| is_release(it) && Key::of(&it.manifest, asked) != *key;
    objects.iter().filter(|it| !is_other(it)).cloned().collect()
}

/// A part of a release that is not among the files.
pub(super) struct Elsewhere {
    pub(super) object: ReleaseLifecycle,
    /// The part that is missing.
    pub(super) missing: Missing,
    /// The place of the ReleaseLifecycle.
    pub(super) own: String,
}

/// The part of a release that is missing.
pub(super) enum Missing {
    /// The place of its chart.
    Chart(String),
    /// The objects with its values.
    Values(Vec<String>),
}

/// Returns the only release of the objects if its chart, or an object that its values are in, is not
/// among them. `has_chart`: another chart was named.
pub(super) fn elsewhere(objects: &[Placed], has_chart: bool) -> Option<Found<Elsewhere>> {
    let mut releases = objects.iter().filter(|it| is_release(it));
    let (placed, None) = (releases.next()?, releases.next()) else { return None };
    let object = match read(placed) {
        Ok(object) => object,
        Err(problems) => return Some(Err(problems)),
    };
    let own = placed.place.clone();
    if !object.spec.source.is_chart() && !has_chart {
        return None;
    }
    let chart = match ChartLocation::of(&object.spec.source) {
        _ if has_chart => None,
        Ok(ChartLocation::Server(server)) => Some(server.place.clone()),
        Ok(ChartLocation::Flux(reference)) => Some(format!("spec.source.sourceRef ({reference})")),
        Ok(ChartLocation::Archive(_)) | Err(_) => None,
    };
    if let Some(chart) = chart {
        return Some(Ok(Elsewhere { object, missing: Missing::Chart(chart), own }));
    }
    let home = object.metadata.namespace.as_deref().unwrap_or_default();
    let is_there = |kind: &str, name: &str| {
        objects.iter().any(|it| {
            let there = it.manifest.pointer("/metadata/namespace").and_then(Value::as_str);
            it.manifest["kind"] == kind
                && name_of(&it.manifest) == name
                && there.is_none_or(|there| home.is_empty() || there == home)
        })
    };
    let values = object.spec.values_from.iter().filter(|from| {
        !from.optional.unwrap_or_default() && !is_there(from.kind.as_str(), &from.name)
    });
    let values: Vec<_> =
        values.map(|from| format!("{}/{}", from.kind.as_str(), from.name)).collect();
    let missing = (!values.is_empty()).then_some(Missing::Values(values))?;
    Some(Ok(Elsewhere { object, missing, own }))
}

/// Returns the ReleaseLifecycles among the objects, each once: those of this name and of this
/// namespace, if they are given. The namespace is that of releases without one.
pub(super) fn keys(objects: &[Placed], name: Option<&str>, namespace: Option<&str>) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for release in objects.iter().filter(|object| is_release(object)) {
        let key = Key::of(&release.manifest, namespace);
        let fits = name.is_none_or(|name| key.name == name)
            && (namespace.is_none() || key.namespace.as_deref() == namespace);
        if fits && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Returns a release without any other details.
pub(super) fn bare(name: &str, namespace: Option<&str>) -> Found<ReleaseLifecycle> {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"source": {}},
    }))
    .map_err(|error| vec![error.to_string()])
}

fn is_release(object: &Placed) -> bool {
    let text = |key| object.manifest.get(key).and_then(Value::as_str).unwrap_or_default();
    let group = text("apiVersion").split('/').next().unwrap_or_default();
    text("kind") == "ReleaseLifecycle" && group == ReleaseLifecycle::group(&())
}

pub(super) fn name_of(manifest: &Value) -> &str {
    manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

/// Returns the object, as the API server would read it; a field that it would refuse or leave out
/// is an error.
fn read(placed: &Placed) -> Found<ReleaseLifecycle> {
    let Placed { place, manifest } = placed;
    let title = format!("{place} (ReleaseLifecycle/{})", name_of(manifest));
    let version = ReleaseLifecycle::api_version(&());
    if manifest["apiVersion"] != *version {
        let found = &manifest["apiVersion"];
        return Err(vec![format!(
            "{title}: apiVersion is {found}; this program knows {version:?}"
        )]);
    }
    let spec = &manifest["spec"];
    let mut problems: Vec<_> = unreadable(spec);
    if problems.is_empty() {
        match serde_json::from_value::<ReleaseLifecycle>(manifest.clone()) {
            Ok(object) => {
                let known = serde_json::to_value(&object.spec).unwrap_or_default();
                unknown("spec", spec, &known, &mut problems);
                problems.extend(inconsistent(&object.spec));
                problems.extend(object.check_schedules().err().map(|error| error.to_string()));
                if problems.is_empty() {
                    return Ok(object);
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    Err(problems.into_iter().map(|problem| format!("{title}: {problem}")).collect())
}

/// Returns the errors that the API server reports for fields that are right by themselves.
fn inconsistent(spec: &ReleaseLifecycleSpec) -> Vec<String> {
    let source = &spec.source;
    let mut problems = Vec::new();
    if source.fields() != 1 {
        let one = "spec.source takes exactly one of objects, objectsFrom, chart and sourceRef";
        problems.push(one.to_owned());
    }
    if source.chart.as_ref().is_some_and(|chart| chart.fields() != 1) {
        let one = "spec.source.chart takes exactly one of oci, repository and archive";
        problems.push(one.to_owned());
    }
    if !source.is_chart() && (spec.values.is_some() || !spec.values_from.is_empty()) {
        problems.push("spec.values and spec.valuesFrom are for charts: remove them".to_owned());
    }
    problems
}

/// Returns the errors of each field of the spec by itself, since the reader stops at the first and
/// does not say where.
fn unreadable(spec: &Value) -> Vec<String> {
    if !spec.is_object() {
        return vec!["spec is missing; it needs at least spec.source".to_owned()];
    }
    // The reader's message on durations is not helpful.
    let (mut readable, mut problems) = (spec.clone(), Vec::new());
    for field in DURATIONS {
        if let Some(problem) = field.problem(spec) {
            problems.push(problem);
            readable.pointer_mut(field.pointer).map(Value::take);
        }
    }
    let read = |key: &str, value: &Value| {
        let mut alone = json!({"source": {}});
        alone[key] = value.clone();
        serde_json::from_value::<ReleaseLifecycleSpec>(alone).err()
    };
    let wrong = |(key, value): (&String, &Value)| {
        read(key, value).map(|error| format!("spec.{key}: {error}"))
    };
    problems.extend(readable.as_object().into_iter().flatten().filter_map(wrong));
    problems
}

/// Finds the fields of `given` that no version of the object has: the API server would leave them
/// out.
fn unknown(path: &str, given: &Value, known: &Value, problems: &mut Vec<String>) {
    match (given, known) {
        // The objects of a release are not of this kind.
        (Value::Object(_) | Value::Array(_), _) if path.ends_with("source.objects") => {}
        (Value::Object(given), known) => {
            for (key, value) in given {
                let path = format!("{path}.{key}");
                match known.get(key) {
                    Some(known) => unknown(&path, value, known, problems),
                    // It counts as absent.
                    None if is_nothing(value) => {}
                    None => problems.push(format!(
                        "{path}: there is no such field; see `kubectl explain rl.spec`"
                    )),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                unknown(&format!("{path}[{index}]"), given, known, problems);
            }
        }
        _ => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn placed(place: &str, manifest: Value) -> Placed {
        Placed { place: place.to_owned(), manifest }
    }

    fn release(name: &str, spec: &Value) -> Placed {
        let manifest = json!({"apiVersion": "releaselifecycle.dev/v1alpha1",
            "kind": "ReleaseLifecycle", "metadata": {"name": name}, "spec": spec});
        placed("a.yaml line 1", manifest)
    }

    /// Does not wait for anything.
    fn chosen(objects: Vec<Placed>, wanted: Wanted<'_>) -> Found<Material> {
        choose(objects, wanted).now_or_never().unwrap()
    }

    fn problems(objects: Vec<Placed>, name: Option<&str>) -> String {
        chosen(objects, Wanted { name, ..Wanted::default() }).map(|_| ()).unwrap_err().join("\n")
    }

    fn found(objects: Vec<Placed>, name: Option<&str>, namespace: Option<&str>) -> Material {
        chosen(objects, Wanted { name, namespace, ..Wanted::default() })
            .unwrap_or_else(|_| panic!())
    }

    fn objects(material: &Material) -> &[Placed] {
        let Contents::Objects(objects) = &material.contents else { panic!("objects") };
        objects
    }

    #[test]
    fn a_release_is_chosen_by_name_or_because_it_is_the_only_one() {
        let inline = json!({"source": {"objects": [{"kind": "A"}]}});
        let two = || vec![release("a", &inline), release("b", &inline)];
        assert_eq!(found(two(), Some("b"), None).object.name_any(), "b");
        assert!(problems(two(), None).ends_with("name one of them: a, b"));
        assert!(problems(two(), Some("c")).ends_with("no ReleaseLifecycle c; there: a, b"));
        let twins = vec![release("a", &inline), release("a", &inline), release("b", &inline)];
        assert!(
            problems(twins, Some("a")).ends_with("leave one of them: a.yaml line 1, a.yaml line 1")
        );
        let at = |namespace: &str| {
            let mut release = release("a", &inline);
            release.manifest["metadata"]["namespace"] = json!(namespace);
            release
        };
        let spread = || vec![at("test"), at("prod"), release("b", &inline)];
        assert!(problems(spread(), Some("a")).ends_with("with --namespace: test/a, prod/a"));
        for namespace in ["prod", "test"] {
            let chosen = found(spread(), Some("a"), Some(namespace));
            assert_eq!(chosen.object.namespace().as_deref(), Some(namespace));
        }
        let titles = |name, namespace| {
            let keys = keys(&spread(), name, namespace);
            keys.iter().map(Key::title).collect::<Vec<_>>()
        };
        assert_eq!(titles(None, None), ["test/a", "prod/a", "b"]);
        assert_eq!(titles(Some("a"), None), ["test/a", "prod/a"]);
        assert_eq!(titles(None, Some("test")), ["test/a", "test/b"]);
        let key = Key { namespace: Some("prod".to_owned()), name: "a".to_owned() };
        assert_eq!(only(&spread(), &key, None), [at("prod")]);
        let map = placed("m line 1", json!({"kind": "ConfigMap", "metadata": {"name": "m"}}));
        let plain = found(vec![map], None, Some("prod"));
        assert_eq!((objects(&plain).len(), plain.notes.len()), (1, 1));
    }

    #[test]
    fn what_a_source_refers_to_is_found_beside_it() {
        let spec = json!({"source": {"objectsFrom": [{"kind": "ConfigMap", "name": "m"}]}});
        let map = |namespace: &str| {
            let metadata = json!({"name": "m", "namespace": namespace});
            placed(
                "m line 1",
                json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": metadata, "data": {"k": "kind: A"}}),
            )
        };
        let found = found(vec![release("a", &spec), map("prod")], None, Some("prod"));
        assert_eq!(objects(&found)[0].place, "ConfigMap/m key k line 1");
        let wanted = Wanted { namespace: Some("prod"), ..Wanted::default() };
        let elsewhere = chosen(vec![release("a", &spec), map("other")], wanted);
        let text = elsewhere.map(|_| ()).unwrap_err().join("\n");
        assert!(text.contains("(ConfigMap/m): ConfigMap/m is not in these files"), "{text}");
    }

    #[test]
    fn a_part_of_a_release_that_is_not_in_the_files_is_named() {
        let oci = json!({"oci": {"url": "oci://registry.example/shop"}});
        let from = |name: &str| json!({"kind": "Secret", "name": name});
        let mut optional = from("no");
        optional["optional"] = json!(true);
        let values = json!([from("keys"), from("gone"), optional]);
        let spec = json!({"source": {"chart": oci}, "valuesFrom": values});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}});
        let objects = [release("a", &spec), placed("s line 1", secret)];
        let missing = |has_chart| {
            let found = elsewhere(&objects, has_chart).map(|it| it.map(|it| it.missing));
            match found {
                Some(Ok(Missing::Chart(chart))) => chart,
                Some(Ok(Missing::Values(values))) => values.join(" "),
                _ => String::new(),
            }
        };
        assert!(missing(false).contains("oci://registry.example/shop"), "{}", missing(false));
        assert_eq!(missing(true), "Secret/gone");
        let inline = release("a", &json!({"source": {"objects": []}}));
        assert!(elsewhere(&[inline], false).is_none());
    }

    #[test]
    fn every_field_that_is_wrong_is_named() {
        let spec = json!({"source": {"objects": [{"anything": 1}]}, "timeout": "soon",
            "onNewSpec": "Never", "deletion": {"objects": "Keep"}});
        let text = problems(vec![release("a", &spec)], None);
        let timeout = "a.yaml line 1 (ReleaseLifecycle/a): spec.timeout must be a duration such as 90s \
                       or 1h30m, and is \"soon\"";
        assert!(text.contains(timeout), "{text}");
        assert!(text.contains("spec.onNewSpec: unknown variant `Never`"), "{text}");
        let spec = json!({"source": {"objects": []}, "interval": 30,
            "deletion": {"timeout": "2 minutes", "objects": "Maybe"}});
        let text = problems(vec![release("a", &spec)], None);
        for expected in [
            "spec.interval must be a duration such as 90s or 1h30m, and is 30",
            "spec.deletion.timeout must be a duration such as 90s or 1h30m, and is \"2 minutes\"",
            "spec.deletion: unknown variant `Maybe`",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        assert!(!text.contains("Go"), "{text}");
        let spec = json!({"source": {"objects": [{"anything": 1}], "objectsFrom": []},
            "serviceAccount": "x", "deletion": {"object": "Keep"}, "suspend": null});
        let text = problems(vec![release("a", &spec)], None);
        assert!(text.contains("spec.serviceAccount: there is no such field"), "{text}");
        assert!(text.contains("spec.deletion.object: there is no such field"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
        let mut elsewhere = release("a", &json!({"source": {"objects": []}}));
        elsewhere.manifest["metadata"]["namespace"] = json!("prod");
        let text = chosen(vec![elsewhere], Wanted { namespace: Some("test"), ..Wanted::default() })
            .map(|_| ())
            .unwrap_err()
            .join("");
        assert!(
            text.contains("metadata.namespace is \"prod\", and --namespace \"test\""),
            "{text}"
        );
        let neither = problems(vec![release("a", &json!({"source": {}}))], None);
        assert!(neither.contains("exactly one of objects, objectsFrom, chart"), "{neither}");
    }
}
