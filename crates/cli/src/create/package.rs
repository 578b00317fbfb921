//! The packaging of objects into manifests that `kubectl apply` takes as they are. Pure.

use api::names::SOURCE_OF_LABEL;
use helm::manifest;
use lifecycle::tidy::Tidy;
use manifests::placed::{Placed, is_list};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::args::Create;

/// The most bytes of inline objects. They share the 256 KiB that `kubectl apply` has for its
/// annotation with everything else, and each change of them is a copy in etcd.
const MOST_INLINE_BYTES: usize = 128 * 1024;
/// The custom resource's own limit.
const MOST_INLINE: usize = 1000;
/// The most bytes of a text as JSON, in the same annotation of a `ConfigMap` or a Secret.
const MOST_APPLIED_BYTES: usize = 240 * 1024;
/// The most bytes that a `ConfigMap` or a Secret may hold.
const MOST_HELD_BYTES: usize = 1024 * 1024;
/// The custom resource's own limit, too.
const MOST_SOURCES: usize = 32;
const KEY: &str = "objects.yaml";
/// The length of the hash in a name, as in kustomize.
const HASH_BYTES: usize = 5;

pub(crate) struct Options<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: Option<&'a str>,
    /// The prefix of the names of the `ConfigMaps` and the Secrets.
    pub(crate) source_name: String,
    /// The spec without the source.
    pub(crate) spec: Value,
    /// True if each object is to be read from it exactly as it is here, except for parts that count
    /// as absent. The API server removes more from inline objects: it removes `namespace: ""`.
    pub(crate) exact: bool,
}

pub(crate) struct Package {
    pub(crate) documents: Vec<Value>,
    /// The notes for the reader.
    pub(crate) notes: Vec<String>,
}

/// Returns the fields of the spec that the command line sets.
pub(super) fn spec(args: &Create) -> Value {
    let mut spec = json!({});
    if let Some(account) = &args.service_account {
        spec["serviceAccountName"] = json!(account);
    }
    if let Some(release) = &args.release_name {
        spec["releaseName"] = json!(release);
    }
    if let Some(timeout) = args.timeout {
        spec["timeout"] = json!(kube::core::Duration::from(timeout));
    }
    if args.no_wait {
        spec["wait"] = json!(false);
    }
    if args.test {
        spec["test"] = json!({"enable": true});
    }
    spec
}

/// Returns the manifests of a release of these objects, or all objections to them.
pub(crate) fn package(options: &Options<'_>, objects: &[Placed]) -> Result<Package, Vec<String>> {
    let tidied: Vec<_> = objects.iter().map(|object| tidied(object, options.exact)).collect();
    let objects = &*tidied;
    let (secrets, others): (Vec<_>, Vec<_>) = objects.iter().partition(|it| holds_secret(it));
    let manifests: Vec<_> = objects.iter().map(|object| &object.manifest).collect();
    let bytes = manifests.iter().map(|it| it.to_string().len()).sum::<usize>();
    let fits = bytes <= MOST_INLINE_BYTES && objects.len() <= MOST_INLINE;
    let tidied = options.exact && !manifests.iter().all(|it| is_tidy(it));
    let mut notes = Vec::new();
    let (mut documents, source) = if secrets.is_empty() && fits && !tidied {
        (Vec::new(), json!({"objects": manifests}))
    } else {
        let mut remarks = Vec::new();
        let maps = hold(options, "ConfigMap", &others, &mut remarks);
        let held = hold(options, "Secret", &secrets, &mut remarks);
        let holders = match (maps, held) {
            (Ok(maps), Ok(held)) => [maps, held].concat(),
            (maps, held) => {
                return Err([maps.err(), held.err()].into_iter().flatten().flatten().collect());
            }
        };
        if holders.len() > MOST_SOURCES {
            return Err(vec![format!(
                "{} KiB of objects need {} ConfigMaps and Secrets, and spec.source.objectsFrom \
                 takes {MOST_SOURCES}: split the release",
                bytes / 1024,
                holders.len()
            )]);
        }
        let names = holders.iter().map(title).collect::<Vec<_>>().join(", ");
        notes.push(if fits && !secrets.is_empty() {
            format!(
                "note: Secrets are not in the ReleaseLifecycle itself; its objects are in {names}"
            )
        } else if fits {
            format!(
                "note: the objects are in {names}: the API server would tidy up the metadata of \
                 those in the ReleaseLifecycle itself, and that would be a change"
            )
        } else {
            format!(
                "note: {} objects of {} KiB are too much for the ReleaseLifecycle itself; \
                 they are in {names}",
                objects.len(),
                bytes / 1024,
            )
        });
        notes.append(&mut remarks);
        let reference =
            |it: &Value| json!({"kind": it["kind"], "name": it["metadata"]["name"], "key": KEY});
        let references: Vec<_> = holders.iter().map(reference).collect();
        (holders, json!({"objectsFrom": references}))
    };
    let mut spec = options.spec.clone();
    spec["source"] = source;
    documents.push(json!({
        "apiVersion": "releaselifecycle.dev/v1alpha1",
        "kind": "ReleaseLifecycle",
        "metadata": metadata(options, options.name),
        "spec": spec,
    }));
    Ok(Package { documents, notes })
}

/// Returns the object without the parts that `kubectl create --dry-run` writes and no author
/// intends: nulls, empty maps of metadata, and a status, which is never applied. With them Argo CD
/// would never find the release in sync.
fn tidied(object: &Placed, exact: bool) -> Placed {
    let mut manifest = Tidy(&object.manifest).to_value();
    if !exact {
        without_status(&mut manifest);
    }
    Placed { place: object.place.clone(), manifest }
}

fn without_status(manifest: &mut Value) {
    if let Value::Object(fields) = manifest {
        fields.remove("status");
    }
    if is_list(manifest)
        && let Some(Value::Array(items)) = manifest.get_mut("items")
    {
        items.iter_mut().for_each(without_status);
    }
}

/// Returns whether the API server keeps its metadata unchanged if it is embedded.
fn is_tidy(manifest: &Value) -> bool {
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let texts = |value: &Value| {
        let entries = value.as_object().filter(|entries| !entries.is_empty());
        entries.is_some_and(|entries| entries.values().all(Value::is_string))
    };
    manifest["metadata"].as_object().is_some_and(|metadata| {
        metadata.iter().all(|(key, value)| match key.as_str() {
            "name" | "generateName" | "namespace" => text(value),
            "labels" | "annotations" => texts(value),
            _ => false,
        })
    })
}

/// Returns whether it holds a Secret. A `List` with a Secret among its items is one hook, or one
/// document, and stays together.
fn holds_secret(object: &Placed) -> bool {
    let items = object.manifest["items"].as_array().into_iter().flatten();
    let mut all = items.chain([&object.manifest]);
    all.any(|it| it["kind"] == "Secret" && it["apiVersion"] == "v1")
}

/// Returns a title such as `ConfigMap/shop-source-0123456789`.
fn title(holder: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text(&holder["kind"]), text(&holder["metadata"]["name"]))
}

/// Returns the `ConfigMaps` or the Secrets that hold these objects, each as full as `kubectl apply`
/// allows.
fn hold(
    options: &Options<'_>,
    kind: &str,
    objects: &[&Placed],
    notes: &mut Vec<String>,
) -> Result<Vec<Value>, Vec<String>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut problems = Vec::new();
    for object in objects {
        let text = manifest::render([&object.manifest], &object.place);
        if text.len() > MOST_HELD_BYTES {
            let bytes = text.len();
            problems.push(format!(
                "{}: this object has {bytes} bytes, and a {kind} holds {MOST_HELD_BYTES}: make it \
                 smaller",
                object.place
            ));
        }
        match parts.last_mut() {
            Some(last) if applied(&last.text) + applied(&text) <= MOST_APPLIED_BYTES => {
                last.text.push_str(&text);
                last.manifests.push(&object.manifest);
            }
            _ => parts.push(Part { text, manifests: vec![&object.manifest] }),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let field = if kind == "Secret" { "stringData" } else { "data" };
    let holder = |(index, part): (usize, &Part<'_>)| {
        let name = format!("{}-{}", options.source_name, part.hash(index));
        notes.extend(remark_on_size(&format!("{kind}/{name}"), &part.text));
        let mut metadata = metadata(options, &name);
        metadata["labels"] = json!({SOURCE_OF_LABEL: options.name});
        json!({"apiVersion": "v1", "kind": kind, "metadata": metadata,
            field: {KEY: part.text.trim_end()}})
    };
    Ok(parts.iter().enumerate().map(holder).collect())
}

/// The content of one `ConfigMap` or Secret.
struct Part<'a> {
    text: String,
    manifests: Vec<&'a Value>,
}

impl Part<'_> {
    /// Returns a part of the name, as with kustomize's generators. `kubectl apply` sends one object
    /// after the other, and the controller reconciles each as it comes: if one that a release
    /// refers to changed in place, an upgrade to a mix of old and new objects could begin. So the
    /// referenced objects never change, and the `ReleaseLifecycle`, which is applied last, is the
    /// only switch.
    ///
    /// The hash is over the objects, not the text, whose comments say where they were found:
    /// another folder changes nothing. The index distinguishes parts that hold the same, such as a
    /// hook with a generated name that is there twice.
    fn hash(&self, index: usize) -> String {
        let digest = Sha256::digest(json!([index, self.manifests]).to_string());
        digest.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns what to do if `holder` holds more text than plain `kubectl apply` allows.
pub(crate) fn remark_on_size(holder: &str, text: &str) -> Option<String> {
    (applied(text) > MOST_APPLIED_BYTES).then(|| {
        format!(
            "note: {holder} is too large for plain `kubectl apply`: use `kubectl apply --server-side \
             -f -`"
        )
    })
}

/// Returns the length of a text in the annotation of `kubectl apply`.
fn applied(text: &str) -> usize {
    json!(text).to_string().len()
}

fn metadata(options: &Options<'_>, name: &str) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = options.namespace {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(kind: &str, name: &str, data: &str) -> Placed {
        let manifest = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name},
            "data": {"k": data}});
        Placed { place: format!("{name}.yaml line 1"), manifest }
    }

    fn packed(objects: &[Placed]) -> Result<Package, Vec<String>> {
        let options = Options {
            name: "shop",
            namespace: Some("prod"),
            source_name: "shop-source".to_owned(),
            spec: json!({"serviceAccountName": "deployer"}),
            exact: false,
        };
        package(&options, objects)
    }

    fn names(package: &Package) -> Vec<String> {
        let name =
            |it: &Value| format!("{}/{}", it["kind"], it["metadata"]["name"]).replace('"', "");
        package.documents.iter().map(name).collect()
    }

    #[test]
    fn objects_stand_inline_where_they_fit() {
        let package = packed(&[placed("ConfigMap", "a", "1")]).unwrap_or_else(|_| panic!());
        assert_eq!(names(&package), ["ReleaseLifecycle/shop"]);
        assert!(package.notes.is_empty());
        let spec = &package.documents[0]["spec"];
        assert_eq!(spec["source"]["objects"][0]["metadata"]["name"], "a");
        assert_eq!(spec["serviceAccountName"], "deployer");
        assert_eq!(package.documents[0]["metadata"]["namespace"], "prod");
    }

    #[test]
    fn what_the_api_server_would_tidy_up_stands_apart_where_it_has_to_be_exact() {
        let packed = |metadata: Value| {
            let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
            let objects = [Placed { place: "a".to_owned(), manifest }];
            let options = Options {
                name: "shop",
                namespace: None,
                source_name: "shop-source".to_owned(),
                spec: json!({}),
                exact: true,
            };
            package(&options, &objects).unwrap_or_else(|_| panic!())
        };
        let labels = json!({"a": "b", "c": ""});
        assert_eq!(packed(json!({"name": "a", "labels": labels})).documents.len(), 1);
        for more in [
            json!({"creationTimestamp": null}),
            json!({"labels": {}}),
            json!({"annotations": null}),
            json!({"annotations": {"a": null}}),
        ] {
            let mut metadata = more.clone();
            metadata["name"] = json!("a");
            let package = packed(metadata);
            let object = &package.documents[0]["spec"]["source"]["objects"][0];
            assert_eq!(object["metadata"], json!({"name": "a"}), "{more}");
        }
        for more in [json!({"annotations": {"a": 1}}), json!({"namespace": ""})] {
            let mut metadata = more.clone();
            metadata["name"] = json!("a");
            let package = packed(metadata);
            assert_eq!(package.documents.len(), 2, "{more}");
            assert!(package.notes[0].contains("tidy up"), "{:?}", package.notes);
        }
    }

    /// The objects as `kubectl create --dry-run=client` writes them.
    #[test]
    fn nothing_is_written_that_nobody_means() {
        let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "creationTimestamp": null, "labels": {}, "annotations": {}},
            "spec": {"strategy": {}, "template": {"metadata": {"creationTimestamp": null},
                "spec": {"volumes": [{"name": "v", "emptyDir": {}}],
                    "containers": [{"name": "a", "env": [{"name": "A", "value": null}]}]}}},
            "status": {"replicas": 1}});
        let tidy = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"strategy": {}, "template": {
                "spec": {"volumes": [{"name": "v", "emptyDir": {}}],
                    "containers": [{"name": "a", "env": [{"name": "A"}]}]}}}});
        let list = |item: &Value| {
            let annotations = json!({"helm.sh/hook": "pre-install"});
            json!({"apiVersion": "v1", "kind": "List", "metadata": {"annotations": annotations},
                "items": [item]})
        };
        let place = |manifest: &Value| {
            [Placed { place: "a line 1".to_owned(), manifest: manifest.clone() }]
        };
        let written = |manifest: &Value| {
            let package = packed(&place(manifest)).unwrap_or_else(|_| panic!());
            package.documents[0]["spec"]["source"]["objects"][0].clone()
        };
        assert_eq!(written(&manifest), tidy);
        assert_eq!(written(&list(&manifest)), list(&tidy));
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "data": {"a": "eA=="}});
        let expected = secret.clone();
        secret["metadata"]["creationTimestamp"] = Value::Null;
        let package = packed(&place(&secret)).unwrap_or_else(|_| panic!());
        let text = package.documents[0]["stringData"][KEY].as_str().unwrap();
        assert_eq!(manifest::parse(text).unwrap(), [expected]);
    }

    #[test]
    fn secrets_stand_apart_and_come_back_as_they_were() {
        let objects = [placed("Secret", "s", "eA=="), placed("ConfigMap", "a", "1")];
        let package = packed(&objects).unwrap_or_else(|_| panic!());
        let names = names(&package);
        assert!(names[0].starts_with("ConfigMap/shop-source-"), "{names:?}");
        assert!(names[1].starts_with("Secret/shop-source-"), "{names:?}");
        assert_eq!(names[2..], ["ReleaseLifecycle/shop"]);
        let references = package.documents[2]["spec"]["source"]["objectsFrom"].clone();
        let expected = json!([
            {"kind": "ConfigMap", "name": package.documents[0]["metadata"]["name"], "key": KEY},
            {"kind": "Secret", "name": package.documents[1]["metadata"]["name"], "key": KEY},
        ]);
        assert_eq!(references, expected);
        for holder in &package.documents[..2] {
            assert_eq!(holder["metadata"]["labels"][SOURCE_OF_LABEL], "shop");
        }
        let text = package.documents[1]["stringData"][KEY].as_str().unwrap();
        assert!(text.contains("# Source: s.yaml line 1\n"), "{text}");
        assert_eq!(manifest::parse(text).unwrap(), [objects[0].manifest.clone()]);
        assert!(!package.documents[0].to_string().contains("eA=="));
    }

    #[test]
    fn what_is_too_large_is_split_so_that_apply_takes_it() {
        let objects: Vec<_> =
            (0..5).map(|i| placed("ConfigMap", &format!("m{i}"), &"x\n".repeat(15_000))).collect();
        let package = packed(&objects).unwrap_or_else(|_| panic!());
        let (holders, notes) = (&package.documents[..package.documents.len() - 1], package.notes);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(holders.len() > 1);
        for holder in holders {
            assert!(holder.to_string().len() < 256 * 1024);
        }
        let read: Vec<_> = holders
            .iter()
            .flat_map(|holder| manifest::parse(holder["data"][KEY].as_str().unwrap()).unwrap())
            .collect();
        assert!(read.iter().eq(objects.iter().map(|it| &it.manifest)));
    }

    /// An object that holds a source is never changed in place, and an unchanged one keeps its
    /// name.
    #[test]
    fn a_name_stands_for_what_it_holds() {
        let large = |i: usize| placed("ConfigMap", &format!("m{i}"), &"x".repeat(100_000));
        let before: Vec<_> = (1..6).map(large).collect();
        let documents = |objects: &[Placed]| packed(objects).unwrap_or_else(|_| panic!()).documents;
        assert_eq!(documents(&before), documents(&before));
        // One more at the beginning: objects move from one part to the next.
        let after: Vec<_> = (0..6).map(large).collect();
        let (before, after) = (documents(&before), documents(&after));
        for holder in &before[..before.len() - 1] {
            let same = |it: &&Value| it["metadata"]["name"] == holder["metadata"]["name"];
            assert!(after.iter().find(same).is_none_or(|it| it == holder));
        }
        // Another folder is no change, and an object that is there twice is not lost.
        let hook =
            |place: &str| Placed { place: place.to_owned(), ..placed("Secret", "s", "eA==") };
        let name = |it: &[Value]| it[0]["metadata"]["name"].clone();
        assert_eq!(name(&documents(&[hook("a")])), name(&documents(&[hook("b")])));
        let twice = [0, 0].map(|_| placed("Secret", "s", &"x".repeat(200_000)));
        let twice = documents(&twice);
        assert_ne!(twice[0]["metadata"]["name"], twice[1]["metadata"]["name"]);
    }

    #[test]
    fn what_cannot_be_held_is_said() {
        let problems = |objects: &[Placed]| packed(objects).map(|_| ()).unwrap_err().join("\n");
        let large = problems(&[placed("ConfigMap", "large", &"x".repeat(MOST_HELD_BYTES))]);
        assert!(large.starts_with("large.yaml line 1: this object has 10"), "{large}");
        let many: Vec<_> = (0..MOST_SOURCES + 2)
            .map(|i| placed("ConfigMap", &format!("m{i}"), &"x".repeat(200 * 1024)))
            .collect();
        assert!(problems(&many).contains("split the release"));
        let one = packed(&[placed("ConfigMap", "big", &"x".repeat(500 * 1024))]);
        assert!(one.unwrap_or_else(|_| panic!()).notes[1].contains("--server-side"));
    }
}
