//! The source of a release, as the operator resolves it, and the parts that this program leaves to
//! the operator. No value gets into a message.

use api::{ReleaseLifecycle, SourceKind};
use kube::ResourceExt as _;
use lifecycle::reason::Reason;
use sources::{ChartLocation, Error, Reads, chart, objects, values};

use super::{Contents, Found, Material, chart::ChartOrigin};

/// The advice if the chart is not available.
const NAME_IT: &str = "name the chart with --chart: a folder, an archive or oci://…";

/// Reads the objects to which the spec of `object` refers. `fetches` says whether a server may be
/// asked for its chart. `other` is taken instead of the spec's source.
///
/// # Errors
/// Something could not be read.
pub(super) async fn resolve<R: Reads>(
    object: ReleaseLifecycle,
    fetches: bool,
    other: Option<ChartOrigin>,
    reads: &R,
) -> Result<Found<Material>, R::Error> {
    let namespace = object.namespace().unwrap_or_default();
    let source = object.spec.source.kind();
    let (found, sources) = match source {
        _ if other.is_some() => return of_chart(object, fetches, other, reads).await,
        SourceKind::Chart(_) | SourceKind::SourceRef(_) => {
            return of_chart(object, fetches, other, reads).await;
        }
        SourceKind::Objects(written) => {
            (objects::inline(written), vec!["spec.source.objects".to_owned()])
        }
        SourceKind::ObjectsFrom(holders) => {
            match or_problems(objects::read(holders, &namespace, reads).await)? {
                Ok(texts) => {
                    let origins = texts.origins().map(str::to_owned).collect();
                    (texts.parse(), origins)
                }
                Err(problems) => return Ok(Err(problems)),
            }
        }
    };
    Ok(match found {
        Ok(objects) => {
            let contents = Contents::Objects(objects);
            Ok(Material { object, contents, sources, notes: Vec::new(), place: None })
        }
        Err(blocked) => Err(blocked.problems),
    })
}

async fn of_chart<R: Reads>(
    object: ReleaseLifecycle,
    fetches: bool,
    other: Option<ChartOrigin>,
    reads: &R,
) -> Result<Found<Material>, R::Error> {
    let namespace = object.namespace().unwrap_or_default();
    let mut notes = Vec::new();
    let located = match other {
        Some(other) => {
            if let Ok(ChartLocation::Server(server)) = ChartLocation::of(&object.spec.source)
                && let Some(signed) = server.signed()
            {
                notes.push(format!(
                    "the chart of --chart is not verified; the operator verifies that of the spec: \
                     {signed}"
                ));
            }
            let title = format!("--chart {}", other.title());
            Ok((other, title))
        }
        None => locate(&object, &namespace, fetches, reads).await?,
    };
    let values = or_problems(values::read(&object.spec, &namespace, reads).await)?;
    Ok(match (located, values) {
        (Ok((origin, title)), Ok(values)) => {
            let sources = std::iter::once(title).chain(values.origins.iter().cloned()).collect();
            let left_out = values.left_out.iter();
            notes.extend(left_out.map(|why| format!("optional, and left out: {why}")));
            let contents = Contents::Chart { origin: Box::new(origin), values };
            Ok(Material { object, contents, sources, notes, place: None })
        }
        (located, values) => {
            Err([located.err(), values.err()].into_iter().flatten().flatten().collect())
        }
    })
}

/// Returns the place of the spec's chart, and that in words.
async fn locate<R: Reads>(
    object: &ReleaseLifecycle,
    namespace: &str,
    fetches: bool,
    reads: &R,
) -> Result<Found<(ChartOrigin, String)>, R::Error> {
    let problem = match ChartLocation::of(&object.spec.source) {
        Err(blocked) => return Ok(Err(blocked.problems)),
        Ok(ChartLocation::Archive(from)) => match chart::archive(from, namespace, reads).await {
            Ok(bytes) => {
                let title = from.to_string();
                return Ok(Ok((ChartOrigin::Archive { bytes, title: title.clone() }, title)));
            }
            Err(Error::Blocked(blocked)) if blocked.reason == Reason::SourceNotFound => {
                format!("{}; or {NAME_IT}", blocked.problems.join("; "))
            }
            Err(error) => return or_problems(Err(error)),
        },
        Ok(ChartLocation::Flux(reference)) => format!(
            "spec.source.sourceRef ({reference}): the artifact that Flux has fetched is known \
             only in the cluster; {NAME_IT}"
        ),
        Ok(ChartLocation::Server(server)) if !fetches => {
            format!("{}: with -f no server is contacted; {NAME_IT}", server.place)
        }
        Ok(ChartLocation::Server(server)) if server.needs_secrets() => format!(
            "{}: it is fetched with a Secret, which this program does not use; {NAME_IT}, such as \
             one that `helm pull` has fetched",
            server.place
        ),
        Ok(ChartLocation::Server(server)) => {
            let verify = match or_problems(server.verification(namespace, reads).await)? {
                Ok(verify) => verify,
                Err(problems) => return Ok(Err(problems)),
            };
            let origin = ChartOrigin::Server { origin: server.origin, verify };
            let title = origin.title();
            return Ok(Ok((origin, title)));
        }
    };
    Ok(Err(vec![problem]))
}

/// Returns the result, or its problems; an error means that it could not be read.
fn or_problems<T, E>(found: Result<T, Error<E>>) -> Result<Found<T>, E> {
    Ok(match found {
        Ok(found) => Ok(found),
        Err(Error::Blocked(blocked)) => Err(blocked.problems),
        Err(Error::NotReady(failure)) => Err(vec![failure.message]),
        Err(Error::Unread(error)) => return Err(error),
    })
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use manifests::placed::Placed;
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::reads::FileReads;

    fn release(spec: &Value) -> ReleaseLifecycle {
        serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap()
    }

    fn held(kind: &str, name: &str, more: &Value) -> Placed {
        let mut manifest = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        for (key, value) in more.as_object().unwrap() {
            manifest[key] = value.clone();
        }
        Placed { place: String::new(), manifest }
    }

    fn resolved(
        spec: &Value,
        fetches: bool,
        other: Option<ChartOrigin>,
        objects: &[Placed],
    ) -> Found<Material> {
        let reads = FileReads { objects, absence: "is not there" };
        // Does not wait for anything.
        let found = resolve(release(spec), fetches, other, &reads).now_or_never().unwrap();
        found.unwrap_or_else(|never| match never {})
    }

    fn problems(spec: &Value, fetches: bool) -> String {
        resolved(spec, fetches, None, &[]).map(|_| ()).unwrap_err().join("\n")
    }

    #[test]
    fn values_come_in_the_order_in_which_later_ones_win() {
        let spec = json!({
            "source": {"chart": {"archive": {"kind": "Secret", "name": "s", "key": "c.tgz"}}},
            "valuesFrom": [
                {"kind": "Secret", "name": "s"},
                {"kind": "ConfigMap", "name": "m", "valuesKey": "p", "targetPath": "a.b"},
                {"kind": "ConfigMap", "name": "gone", "optional": true},
                {"kind": "ConfigMap", "name": "m", "optional": true},
            ],
            "values": {"a": {"c": 1}},
        });
        let secret = json!({"data": {"c.tgz": "H4s=", "values.yaml": "YTogMQo="}});
        let map = json!({"data": {"p": "x"}});
        let objects = [held("Secret", "s", &secret), held("ConfigMap", "m", &map)];
        let given = resolved(&spec, false, None, &objects).unwrap_or_else(|it| panic!("{it:?}"));
        let Contents::Chart { origin, values } = given.contents else { panic!("a chart") };
        let places: Vec<_> =
            values.merged.iter().map(|it| serde_json::to_value(it).unwrap()).collect();
        assert_eq!(
            places,
            [
                json!({"place": "spec.valuesFrom[0] (Secret/s key values.yaml)", "yaml": "a: 1\n"}),
                json!({"place": "spec.valuesFrom[1] (ConfigMap/m key p)", "targetPath": "a.b",
                       "value": "x"}),
                json!({"place": "spec.values", "object": {"a": {"c": 1}}}),
            ]
        );
        assert!(matches!(&*origin, ChartOrigin::Archive { bytes, .. } if *bytes == [0x1f, 0x8b]));
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
        assert!(resolved(&oci, true, None, &[]).is_ok());
        let secret = json!({"source": {"chart": {"repository":
            {"url": "https://a", "name": "b", "secretRef": {"name": "c"}}}}});
        assert!(problems(&secret, true).contains("it is fetched with a Secret"));
        let flux = json!({"source": {"sourceRef": {"kind": "GitRepository", "name": "a"}}});
        let text = problems(&flux, true);
        assert!(
            text.contains("sourceRef (GitRepository/a): the artifact that Flux has fetched"),
            "{text}"
        );
        let other = Some(ChartOrigin::Folder { path: "/shop".into(), title: "./shop".to_owned() });
        let given = resolved(&flux, false, other, &[]).unwrap_or_else(|it| panic!("{it:?}"));
        assert_eq!(given.sources, ["--chart ./shop"]);
    }

    #[test]
    fn a_chart_that_has_to_be_signed_is_fetched_with_the_keys_or_said_not_to_be_verified() {
        let verify = json!({"provider": "cosign", "secretRef": {"name": "keys"}});
        let chart = json!({"oci": {"url": "oci://registry.example/shop", "verify": verify}});
        let spec = json!({"source": {"chart": chart}});
        let text = problems(&spec, true);
        assert!(text.contains("oci.verify.secretRef (Secret/keys): Secret/keys is not"), "{text}");
        let keys = held("Secret", "keys", &json!({"data": {"cosign.pub": "a2V5"}}));
        let given = resolved(&spec, true, None, &[keys]).unwrap_or_else(|it| panic!("{it:?}"));
        let Contents::Chart { origin, .. } = given.contents else { panic!("a chart") };
        let ChartOrigin::Server { verify, .. } = *origin else { panic!("a server's chart") };
        let verify = verify.unwrap();
        assert_eq!((verify.provider, &*verify.files[0].data), ("cosign", &b"key"[..]));
        let other = Some(ChartOrigin::Folder { path: "/shop".into(), title: "./shop".to_owned() });
        let given = resolved(&spec, true, other, &[]).unwrap_or_else(|it| panic!("{it:?}"));
        let note = &given.notes[0];
        assert!(
            note.contains("not verified") && note.contains("cosign, by the keys of Secret/keys")
        );
    }

    #[test]
    fn keys_are_read_in_order_and_each_object_knows_its_place() {
        let map = json!({"data": {"b.yaml": "kind: B\n", "a.yaml": "\nkind: A\n---\nkind: C\n"}});
        let secret = json!({"data": {"s": "a2luZDogUwo=", "t": "eA=="}});
        let objects = [held("ConfigMap", "shop", &map), held("Secret", "shop", &secret)];
        let spec = json!({"source": {"objectsFrom": [
            {"kind": "ConfigMap", "name": "shop"}, {"kind": "Secret", "name": "shop", "key": "s"},
        ]}});
        let found = resolved(&spec, false, None, &objects).unwrap_or_else(|it| panic!("{it:?}"));
        let Contents::Objects(objects) = found.contents else { panic!("objects") };
        let places: Vec<_> = objects.iter().map(|it| it.place.as_str()).collect();
        let expected = [
            "ConfigMap/shop key a.yaml line 2",
            "ConfigMap/shop key a.yaml line 4",
            "ConfigMap/shop key b.yaml line 1",
            "Secret/shop key s line 1",
        ];
        assert_eq!(places, expected);
        assert_eq!(found.sources.len(), 3);
    }

    #[test]
    fn all_that_is_wrong_is_said_without_the_values_of_a_secret() {
        let from =
            |name: &str, key: Option<&str>| json!({"kind": "Secret", "name": name, "key": key});
        let spec = json!({"source": {"objectsFrom": [
            from("gone", None), from("odd", None), from("keys", Some("c")), from("broken", None),
        ]}});
        let odd = json!({"data": {"password": "hunter2!"}});
        let keys = json!({"stringData": {"a": "hunter2", "b": ""}});
        let broken = json!({"stringData": {"a": "kind: Secret\nhunter2: [\n"}});
        let objects = [("odd", odd), ("keys", keys), ("broken", broken)]
            .map(|(name, it)| held("Secret", name, &it));
        let problems = resolved(&spec, false, None, &objects).map(|_| ()).unwrap_err();
        let text = problems.join("\n");
        assert_eq!(problems.len(), 4, "{text}");
        assert!(text.contains("objectsFrom[0] (Secret/gone): Secret/gone is not there"), "{text}");
        assert!(text.contains("Secret/keys has no key c in its data (there: a, b)"), "{text}");
        assert!(text.contains("key password of Secret/odd is not text"), "{text}");
        assert!(text.contains("Secret/broken key a: document 1 (line"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
