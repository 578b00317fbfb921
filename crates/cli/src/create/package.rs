//! How objects are put into manifests that `kubectl apply` takes as they are. Pure.

use helm::manifest;
use lifecycle::source::Placed;
use serde_json::{Value, json};

use crate::args::Create;

/// Inline objects share the 256 KiB that `kubectl apply` has for its annotation with everything
/// else, and each change of them is a copy in etcd.
const MOST_INLINE_BYTES: usize = 128 * 1024;
/// The custom resource's own limit.
const MOST_INLINE: usize = 1000;
/// Of a text as JSON, in the same annotation of a `ConfigMap` or a Secret.
const MOST_APPLIED_BYTES: usize = 240 * 1024;
/// What a `ConfigMap` or a Secret may hold.
const MOST_HELD_BYTES: usize = 1024 * 1024;
/// Of the custom resource, too.
const MOST_SOURCES: usize = 32;
const KEY: &str = "objects.yaml";

pub(super) struct Options<'a> {
    pub(super) name: &'a str,
    pub(super) namespace: Option<&'a str>,
    /// Of the `ConfigMap` and the Secret.
    pub(super) source_name: String,
    /// All of it but the source.
    pub(super) spec: Value,
}

pub(super) struct Package {
    pub(super) documents: Vec<Value>,
    /// What a reader should know.
    pub(super) notes: Vec<String>,
}

/// The fields of the spec that the command line sets.
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

/// The manifests of a release of these objects, or everything that speaks against them.
pub(super) fn package(options: &Options<'_>, objects: &[Placed]) -> Result<Package, Vec<String>> {
    let (secrets, others): (Vec<_>, Vec<_>) = objects.iter().partition(|it| holds_secret(it));
    let manifests: Vec<_> = objects.iter().map(|object| &object.manifest).collect();
    let bytes = manifests.iter().map(|it| it.to_string().len()).sum::<usize>();
    let fits = bytes <= MOST_INLINE_BYTES && objects.len() <= MOST_INLINE;
    let mut notes = Vec::new();
    let (mut documents, source) = if secrets.is_empty() && fits {
        (Vec::new(), json!({"objects": manifests}))
    } else {
        check_names(options, objects)?;
        let name = &options.source_name;
        notes.push(if !fits {
            format!(
                "note: {} objects of {} KiB are too much to stand in the ReleaseLifecycle itself; \
                 they are in objects called {name}",
                objects.len(),
                bytes / 1024,
            )
        } else if others.is_empty() {
            format!("note: everything is in Secret/{name}")
        } else {
            format!("note: Secrets are in Secret/{name}, everything else is in ConfigMap/{name}")
        });
        let maps = hold(options, "ConfigMap", &others, &mut notes);
        let held = hold(options, "Secret", &secrets, &mut notes);
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

/// A `List` with a Secret among its items is one hook, or one document, and stays together.
fn holds_secret(object: &Placed) -> bool {
    let items = object.manifest["items"].as_array().into_iter().flatten();
    let mut all = items.chain([&object.manifest]);
    all.any(|it| it["kind"] == "Secret" && it["apiVersion"] == "v1")
}

/// What holds the source must not be an object of the release, which would overwrite it.
fn check_names(options: &Options<'_>, objects: &[Placed]) -> Result<(), Vec<String>> {
    let name = &options.source_name;
    let is_taken = |it: &&Placed| {
        let kind = it.manifest["kind"].as_str().unwrap_or_default();
        let named = it.manifest["metadata"]["name"].as_str().unwrap_or_default();
        let number =
            named.strip_prefix(name.as_str()).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
        let clashes = number.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
        ["ConfigMap", "Secret"].contains(&kind) && clashes
    };
    let problem = |it: &Placed| {
        format!(
            "{} ({}/{}): what holds the source itself would have this name; choose another with \
             --source-name",
            it.place,
            it.manifest["kind"].as_str().unwrap_or_default(),
            it.manifest["metadata"]["name"].as_str().unwrap_or_default(),
        )
    };
    let problems: Vec<_> = objects.iter().filter(is_taken).map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// The `ConfigMaps` or the Secrets that hold these objects, each as full as `kubectl apply` bears.
fn hold(
    options: &Options<'_>,
    kind: &str,
    objects: &[&Placed],
    notes: &mut Vec<String>,
) -> Result<Vec<Value>, Vec<String>> {
    let mut texts: Vec<String> = Vec::new();
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
        match texts.last_mut() {
            Some(last) if applied(last) + applied(&text) <= MOST_APPLIED_BYTES => {
                last.push_str(&text);
            }
            _ => texts.push(text),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let field = if kind == "Secret" { "stringData" } else { "data" };
    let holder = |(index, text): (usize, &String)| {
        let name = match index {
            0 => options.source_name.clone(),
            index => format!("{}-{}", options.source_name, index + 1),
        };
        if applied(text) > MOST_APPLIED_BYTES {
            notes.push(format!(
                "note: {kind}/{name} is too large for plain `kubectl apply`: use `kubectl apply \
                 --server-side -f -`"
            ));
        }
        json!({"apiVersion": "v1", "kind": kind, "metadata": metadata(options, &name),
            field: {KEY: text.trim_end()}})
    };
    Ok(texts.iter().enumerate().map(holder).collect())
}

/// How long a text is in the annotation of `kubectl apply`.
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
    fn secrets_stand_apart_and_come_back_as_they_were() {
        let objects = [placed("Secret", "s", "eA=="), placed("ConfigMap", "a", "1")];
        let package = packed(&objects).unwrap_or_else(|_| panic!());
        assert_eq!(
            names(&package),
            ["ConfigMap/shop-source", "Secret/shop-source", "ReleaseLifecycle/shop"]
        );
        let references = package.documents[2]["spec"]["source"]["objectsFrom"].clone();
        let expected = json!([
            {"kind": "ConfigMap", "name": "shop-source", "key": KEY},
            {"kind": "Secret", "name": "shop-source", "key": KEY},
        ]);
        assert_eq!(references, expected);
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
        assert!(holders.len() > 1 && holders[1]["metadata"]["name"] == "shop-source-2");
        for holder in holders {
            assert!(holder.to_string().len() < 256 * 1024);
        }
        let read: Vec<_> = holders
            .iter()
            .flat_map(|holder| manifest::parse(holder["data"][KEY].as_str().unwrap()).unwrap())
            .collect();
        assert!(read.iter().eq(objects.iter().map(|it| &it.manifest)));
    }

    #[test]
    fn what_cannot_be_held_is_said() {
        let problems = |objects: &[Placed]| packed(objects).map(|_| ()).unwrap_err().join("\n");
        let large = problems(&[placed("ConfigMap", "large", &"x".repeat(MOST_HELD_BYTES))]);
        assert!(large.starts_with("large.yaml line 1: this object has 10"), "{large}");
        let taken = problems(&[placed("Secret", "shop-source", "")]);
        assert!(
            taken.contains("(Secret/shop-source)") && taken.contains("--source-name"),
            "{taken}"
        );
        let many: Vec<_> = (0..MOST_SOURCES + 2)
            .map(|i| placed("ConfigMap", &format!("m{i}"), &"x".repeat(200 * 1024)))
            .collect();
        assert!(problems(&many).contains("split the release"));
        let one = packed(&[placed("ConfigMap", "big", &"x".repeat(500 * 1024))]);
        assert!(one.unwrap_or_else(|_| panic!()).notes[1].contains("--server-side"));
    }
}
