//! The manifests for a release: its source, and its values separately. Pure; no value gets into a
//! message.

use anyhow::{Context as _, bail};
use api::SourceRefKind;
use helm::{adopt, manifest, record::Release};
use lifecycle::source::{Author, Desired};
use manifests::placed::Placed;
use serde_json::{Value, json};

use crate::{
    args::{Adopt, AdoptedSource},
    create::{
        is_name,
        package::{self, Options, Package},
    },
    plan::Found,
};

/// The key that the operator reads if `valuesFrom` names none.
const VALUES_KEY: &str = "values.yaml";

/// Returns `spec.source` of a chart; `None` if the objects themselves are to be written.
///
/// # Errors
/// Flags of which no `ReleaseLifecycle` could be made.
pub(super) fn chart(source: &AdoptedSource, record: &Release) -> anyhow::Result<Option<Value>> {
    let metadata = record.chart.metadata.clone().unwrap_or_default();
    let version = source.version.clone().unwrap_or(metadata.version);
    let mut from = if let Some(url) = &source.chart {
        let Some(path) = url.strip_prefix("oci://") else {
            bail!(
                "--chart {url}: a chart in a registry is wanted, oci://…; for a repository with an \
                 index give --repo"
            );
        };
        if path.rsplit('/').next().is_some_and(|name| name.contains([':', '@'])) {
            bail!("--chart {url}: leave out the tag, and give it as --version");
        }
        json!({"oci": {"url": url, "version": version}})
    } else if let Some(url) = &source.repo {
        if url.starts_with("oci://") {
            bail!("--repo {url}: this is a registry; name the chart in it with --chart");
        }
        if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))
            || url.contains('@')
        {
            bail!(
                "--repo {url}: an address http://… or https://… without a login is wanted; a login \
                 goes into a Secret, which --secret-ref names"
            );
        }
        if metadata.name.is_empty() {
            bail!("--repo {url}: the record does not say of which chart the release is");
        }
        json!({"repository": {"url": url, "name": metadata.name, "version": version}})
    } else if let Some(reference) = &source.source_ref {
        let (kind, name) = reference.split_once('/').with_context(|| {
            format!("--source-ref {reference}: KIND/NAME is wanted, such as HelmChart/shop")
        })?;
        let kind: SourceRefKind = serde_json::from_value(json!(kind)).with_context(|| {
            format!("--source-ref {reference}: {kind} is none of the kinds of Flux's sources")
        })?;
        let mut reference = json!({"kind": kind, "name": name});
        if let Some(path) = &source.path {
            reference["path"] = json!(path);
        }
        return Ok(Some(json!({"sourceRef": reference})));
    } else {
        if source.version.is_some() || source.secret_ref.is_some() {
            bail!("--version and --secret-ref are for a chart that --chart or --repo names");
        }
        return Ok(None);
    };
    for place in ["oci", "repository"] {
        let Some(chart) = from.get_mut(place) else { continue };
        if let Some(name) = &source.secret_ref {
            chart["secretRef"] = json!({"name": name});
        }
        if source.plain_http {
            chart["insecure"] = json!(true);
        }
    }
    Ok(Some(json!({"chart": from})))
}

/// Returns the name of the Secret for the values.
pub(super) fn values_secret(args: &Adopt) -> String {
    args.values_secret.clone().unwrap_or_else(|| format!("{}-values", args.release))
}

/// Returns the text of the record's values, if it has any.
pub(super) fn values(record: &Release) -> Option<String> {
    (!record.config.is_empty()).then(|| manifest::to_yaml(&json!(record.config)))
}

/// Returns whether a Secret of the cluster has these values already; applying them would remove
/// others.
pub(super) fn holds(secret: &Value, values: &str) -> bool {
    let read: Result<k8s_openapi::api::core::v1::Secret, _> =
        serde_json::from_value(secret.clone());
    let data = read.ok().and_then(|secret| secret.data).unwrap_or_default();
    data.get(VALUES_KEY).is_some_and(|bytes| bytes.0 == values.as_bytes())
}

/// Returns the manifests for `record`, with `chart` or otherwise with its objects.
///
/// # Errors
/// All objections to them.
pub(super) fn package(
    args: &Adopt,
    namespace: &str,
    record: &Release,
    chart: Option<Value>,
) -> Found<Package> {
    check_names(args)?;
    let mut spec = json!({});
    if let Some(account) = &args.service_account {
        spec["serviceAccountName"] = json!(account);
    }
    let Some(source) = chart else {
        let options = Options {
            name: &args.release,
            namespace: Some(namespace),
            source_name: format!("{}-source", args.release),
            spec,
            exact: true,
        };
        return package::package(&options, &objects(namespace, record)?);
    };
    spec["source"] = source;
    let (mut documents, mut notes) = (Vec::new(), Vec::new());
    if let Some(values) = values(record) {
        let name = values_secret(args);
        notes.extend(package::remark_on_size(&format!("Secret/{name}"), &values));
        spec["valuesFrom"] = json!([{"kind": "Secret", "name": name}]);
        documents.push(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": {VALUES_KEY: values},
        }));
    }
    documents.push(json!({
        "apiVersion": "releaselifecycle.dev/v1alpha1",
        "kind": "ReleaseLifecycle",
        "metadata": {"name": args.release, "namespace": namespace},
        "spec": spec,
    }));
    Ok(Package { documents, notes })
}

fn check_names(args: &Adopt) -> Found<()> {
    let given = [
        ("--service-account", &args.service_account),
        ("--values-secret", &args.values_secret),
        ("--secret-ref", &args.source.secret_ref),
    ];
    let wrong = given.into_iter().filter_map(|(flag, name)| {
        let name = name.as_ref().filter(|name| !is_name(name) || name.len() > 253)?;
        Some(format!("{flag} {name:?} is no name of an object"))
    });
    let wrong: Vec<_> = wrong.collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Returns the objects and the hooks of the record, in the form that a source may have.
fn objects(namespace: &str, record: &Release) -> Found<Vec<Placed>> {
    let (release, revision) = (&record.name, record.version);
    let recorded = adopt::desired(record, namespace).map_err(|error| vec![error.to_string()])?;
    let hooks = recorded.hooks.into_iter().map(|hook| ("hook", hook.manifest));
    let objects = recorded.objects.into_iter().map(|it| ("object", it.manifest));
    let placed = |(index, (what, manifest)): (usize, (&str, Value))| Placed {
        place: format!("revision {revision} of release {release}, {what} {}", index + 1),
        manifest,
    };
    let objects: Vec<_> =
        hooks.enumerate().map(placed).chain(objects.enumerate().map(placed)).collect();
    // A ReleaseLifecycle may not contain all that Helm accepts.
    Desired::parse(&objects, namespace, Author::User).map_err(|errors| {
        let remedy = "change the release with Helm first, or adopt it with its chart if that is \
                      correct by now (--chart, --repo, --source-ref)";
        let errors = errors.iter().map(|error| format!("{error}; {remedy}"));
        errors.collect::<Vec<_>>()
    })?;
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn args(line: &str) -> Box<Adopt> {
        let words = ["kubectl-lifecycle", "adopt", "shop"].into_iter();
        let words = words.chain(line.split_whitespace());
        let Command::Adopt(args) = Cli::parse_from(words).command else { panic!("an adoption") };
        args
    }

    fn record(config: &Value) -> Release {
        let migrate = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: \
                       {helm.sh/hook: pre-upgrade}}\n";
        serde_json::from_value(json!({
            "name": "shop", "namespace": "prod", "version": 4,
            "info": {"status": "deployed"},
            "chart": {"metadata": {"name": "shop", "version": "1.4.2"}},
            "config": config,
            "manifest": "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\n",
            "hooks": [{"kind": "Job", "name": "migrate", "events": ["pre-upgrade"],
                       "manifest": migrate}],
        }))
        .unwrap()
    }

    fn written(line: &str, record: &Release) -> Vec<Value> {
        let args = args(line);
        let chart = chart(&args.source, record).unwrap();
        let package = package(&args, "prod", record, chart);
        package.unwrap_or_else(|problems| panic!("{problems:?}")).documents
    }

    #[test]
    fn a_chart_has_the_recorded_version_and_its_values_stand_apart() {
        let config = json!({"a": {"b": "0777"}, "n": null, "big": 1.0e21, "s": "yes"});
        let record = record(&config);
        let documents = written("--chart oci://r.example/shop --service-account deployer", &record);
        let [secret, release] = &*documents else { panic!("{documents:?}") };
        assert_eq!(secret["metadata"], json!({"name": "shop-values", "namespace": "prod"}));
        let text = secret["stringData"][VALUES_KEY].as_str().unwrap();
        assert_eq!(manifest::parse(text).unwrap(), [config]);
        let expected = json!({
            "serviceAccountName": "deployer",
            "source": {"chart": {"oci": {"url": "oci://r.example/shop", "version": "1.4.2"}}},
            "valuesFrom": [{"kind": "Secret", "name": "shop-values"}],
        });
        assert_eq!(release["spec"], expected);

        let line = "--repo https://r.example --version 1.5 --secret-ref login --values-secret v";
        let documents = written(line, &record);
        assert_eq!(
            documents[1]["spec"]["source"]["chart"]["repository"],
            json!({
            "url": "https://r.example", "name": "shop", "version": "1.5",
            "secretRef": {"name": "login"}})
        );
        assert_eq!(documents[1]["spec"]["valuesFrom"][0]["name"], "v");
    }

    #[test]
    fn values_that_plain_apply_does_not_bear_are_remarked_on() {
        let args = args("--chart oci://r.example/shop");
        let record = record(&json!({"a": "x".repeat(250 << 10)}));
        let chart = chart(&args.source, &record).unwrap();
        let notes = package(&args, "prod", &record, chart).unwrap_or_else(|_| panic!()).notes;
        assert!(notes[0].contains("Secret/shop-values is too large for plain"), "{notes:?}");
    }

    #[test]
    fn without_values_there_is_no_secret() {
        let documents = written("--source-ref GitRepository/shop --path ./c", &record(&json!({})));
        let [release] = &*documents else { panic!("{documents:?}") };
        let source = json!({"sourceRef": {"kind": "GitRepository", "name": "shop", "path": "./c"}});
        assert_eq!(release["spec"], json!({"source": source}));
    }

    #[test]
    fn without_a_chart_the_objects_and_the_hooks_are_written() {
        let documents = written("", &record(&json!({"password": "hunter2"})));
        let [release] = &*documents else { panic!("{documents:?}") };
        let objects = release["spec"]["source"]["objects"].as_array().unwrap();
        let names: Vec<_> = objects.iter().map(|it| it["metadata"]["name"].as_str()).collect();
        assert_eq!(names, [Some("migrate"), Some("shop")]);
        assert!(!release.to_string().contains("hunter2"));
    }

    #[test]
    fn objects_that_only_helm_accepts_are_reported_with_a_remedy() {
        let mut record = record(&json!({}));
        record.manifest += "---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\n";
        let problems = package(&args(""), "prod", &record, None).map(|_| ()).unwrap_err();
        let text = problems.join("\n");
        assert!(text.contains("revision 4 of release shop, object 2 (Job/migrate): the same"));
        assert!(text.contains("already at revision 4 of release shop, hook 1;"), "{text}");
        assert!(text.contains("(--chart, --repo, --source-ref)"), "{text}");
    }

    #[test]
    fn flags_of_which_nothing_can_be_made_are_refused() {
        for (line, part) in [
            ("--chart ./shop", "a chart in a registry is wanted"),
            ("--chart oci://r.example:5000/shop:1.2", "leave out the tag"),
            ("--repo oci://r.example/shop", "name the chart in it with --chart"),
            ("--repo https://me:pw@r.example", "without a login"),
            ("--source-ref shop", "KIND/NAME is wanted"),
            ("--source-ref HelmRelease/shop", "none of the kinds of Flux's sources"),
            ("--version 1", "for a chart that --chart or --repo names"),
        ] {
            let error = chart(&args(line).source, &record(&json!({}))).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
        let problems = package(&args("--service-account A"), "prod", &record(&json!({})), None);
        assert!(
            problems.map(|_| ()).unwrap_err()[0].contains("--service-account \"A\" is no name")
        );
    }

    #[test]
    fn a_secret_is_told_from_another_of_its_name() {
        let secret = |data: Value| json!({"kind": "Secret", "data": data});
        assert!(holds(&secret(json!({"values.yaml": "YTogMQo="})), "a: 1\n"));
        assert!(!holds(&secret(json!({"values.yaml": "YTogMgo="})), "a: 1\n"));
        assert!(!holds(&secret(json!({})), "a: 1\n"));
    }
}
