use anyhow::{Context, Result, bail};
use api::{ObjectsFrom, ObjectsFromKind};
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map, job},
    message,
};
use serde_json::{Value, json};

use super::Cli;

#[tokio::test]
async fn secrets_stand_apart_and_their_values_are_never_shown() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-secrets").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"},
        "stringData": {"password": "correct horse"}});
    let objects = [config_map("main", "1"), secret, job("migrate").hook("pre-install")];
    let folder = cli.manifests("shop", &objects)?;
    cli.create("shop", &folder, &[])?;
    let release = namespace.wait_ready("shop", &controller).await?;
    let [map, held] = &*release.spec.source.objects_from else { bail!("a ConfigMap and a Secret") };
    assert_eq!((map.kind, held.kind), (ObjectsFromKind::ConfigMap, ObjectsFromKind::Secret));
    let map = namespace.object("ConfigMap", &map.name).await?.context("a ConfigMap")?;
    assert!(!map.to_string().contains("correct horse"));
    let password = namespace.object("Secret", "password").await?.context("the release's Secret")?;
    assert_eq!(password["data"]["password"], "Y29ycmVjdCBob3JzZQ==");
    // From the cluster, and offline from what was applied.
    let online = cli.json(&["plan", "shop"])?;
    let text = cli.good(&["create", "shop", "-f", &folder, "--service-account", "deployer"])?;
    let file = cli.write("shop.yaml", &text)?;
    let offline = cli.json(&["plan", "-f", &file.to_string_lossy()])?;
    assert_eq!(online, offline);
    assert!(!online.to_string().contains("correct horse"));
    // As kubectl hands over what it finds: one List, of which each item counts.
    let list = namespace.kubectl(&["get", "rl,configmap,secret", "-o", "yaml"])?;
    let file = cli.write("list.yaml", &list)?;
    let offline = cli.json(&["plan", "-f", &file.to_string_lossy()])?;
    assert_eq!(online, offline);
    let steps = &online["events"][0]["steps"];
    assert_eq!(steps[0]["name"], "migrate");
    let names = steps[1]["objects"].as_array().into_iter().flatten().map(|it| &it["name"]);
    assert_eq!(names.collect::<Vec<_>>(), ["password", "main"]);

    namespace.kubectl(&["delete", "secret", &held.name])?;
    let said = cli.bad(1, &["plan", "shop"])?;
    let reference = format!("spec.source.objectsFrom[1] ({held})");
    assert!(said.contains(&reference), "{said}");
    assert!(said.contains("does not exist in namespace"), "{said}");
    Ok(())
}

/// More than `kubectl apply` can repeat in the annotation of one object.
#[tokio::test]
async fn a_large_source_is_parted_so_that_plain_apply_takes_it() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-large").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let text = "some text of a line\n".repeat(5_000);
    let objects: Vec<_> = (0..6).map(|i| config_map(&format!("large-{i}"), &text)).collect();
    let folder = cli.manifests("shop", &objects)?;
    cli.create("shop", &folder, &[])?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert!(release.spec.source.objects_from.len() > 2, "{:?}", release.spec.source.objects_from);
    let last = namespace.object("ConfigMap", "large-5").await?.context("the last object")?;
    assert_eq!(last["data"]["value"], text);
    Ok(())
}

/// Returns what holds the objects is never changed in place: `kubectl apply` sends one after the other, and
/// the controller would see the new state of one beside the old one of another.
#[tokio::test]
async fn objects_that_move_from_one_holder_to_another_make_one_upgrade() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-switch").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    let text = "some text of a line\n".repeat(5_000);
    let secret = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"},
            "stringData": {"password": value}})
    };
    let large = |numbers: std::ops::Range<u8>| {
        numbers.map(|i| config_map(&format!("large-{i}"), &text)).collect::<Vec<_>>()
    };
    let hook = job("migrate").hook("pre-upgrade");
    let before = [large(1..5), vec![secret("1"), hook.clone()]].concat();
    let folder = cli.manifests("v1", &before)?;
    cli.create("shop", &folder, &[])?;
    let first = namespace.wait_ready("shop", &controller).await?;
    assert!(first.spec.source.objects_from.len() > 2, "{:?}", first.spec.source.objects_from);
    // One more at the beginning moves all others.
    let after = [large(0..5), vec![secret("2"), hook]].concat();
    let folder = cli.manifests("v2", &after)?;
    cli.create("shop", &folder, &[])?;
    let second = namespace.wait_ready("shop", &controller).await?;
    let holders = &second.spec.source.objects_from;
    assert!(holders.iter().any(|it| !first.spec.source.objects_from.contains(it)), "{holders:?}");
    assert_eq!(second.status.as_ref().and_then(|status| status.revision), Some(2));
    // Once more the same: nothing is left of the first one that could still begin something.
    cli.create("shop", &folder, &[])?;
    let again = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(again.metadata.generation, second.metadata.generation);
    assert_eq!(cli.json(&["history", "shop"])?.as_array().map(Vec::len), Some(2));
    assert_eq!(namespace.tenant_did("delete")?, Vec::<String>::new());
    let hooks = namespace.tenant_did("create")?;
    assert_eq!(hooks.iter().filter(|it| *it == "jobs/migrate").count(), 1, "{hooks:?}");

    // The help says how to be rid of those of the first one.
    let label = "releaselifecycle.dev/source-of=shop";
    let there = || -> Result<Vec<String>> {
        let listed = ["get", "configmap,secret", "-l", label, "-o", "name"];
        Ok(namespace.kubectl(&listed)?.lines().map(str::to_owned).collect())
    };
    assert!(there()?.len() > holders.len(), "{:?}", there()?);
    let create = ["create", "shop", "-f", &folder, "--service-account", "deployer"];
    let file = cli.write("shop.yaml", &cli.good(&create)?)?;
    let help = cli.good(&["create", "--help"])?;
    let command = help.split("kubectl apply -n shop -f shop.yaml").nth(1).context("the command")?;
    let flags = command.split("\nIf the file").next().unwrap_or_default().replace('\\', "");
    let flags: Vec<_> = flags.split_whitespace().collect();
    namespace.kubectl(&[&["apply", "-f", &file.to_string_lossy()], &*flags].concat())?;
    let name = |it: &ObjectsFrom| format!("{}/{}", it.kind.as_str().to_lowercase(), it.name);
    let mut wanted: Vec<_> = holders.iter().map(name).collect();
    wanted.sort();
    let mut left = there()?;
    left.sort();
    assert_eq!(left, wanted);
    Ok(())
}

#[tokio::test]
async fn wrong_files_are_refused_with_everything_that_is_wrong() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-wrong").await?;
    let cli = Cli::new(&namespace)?;
    let notes = cli.write("notes/readme.txt", "no manifest")?;
    let notes = notes.parent().context("a folder")?.to_string_lossy().into_owned();
    for command in [&["create", "shop"][..], &["plan"]] {
        let said = cli.bad(2, &[command, &["-f", &notes]].concat())?;
        assert!(said.contains("has no *.yaml, *.yml or *.json"), "{said}");
        let said = cli.bad(2, &[command, &["-f", "/no/such/file"]].concat())?;
        assert!(said.contains("reading /no/such/file: No such file"), "{said}");
    }
    let broken = cli.write("broken.yaml", "kind: ConfigMap\n---\nkind: {\n")?;
    let broken = broken.to_string_lossy();
    for command in [&["create", "shop"][..], &["plan"]] {
        let said = cli.bad(1, &[command, &["-f", &broken]].concat())?;
        assert!(said.contains("broken.yaml: document 2 (line"), "{said}");
    }
    let folder = cli.manifests(
        "shop",
        &[job("a").hook("pre-instal"), json!({"kind": "ConfigMap", "metadata": {"name": "b"}})],
    )?;
    let said = cli.bad(1, &["create", "Shop_", "-f", &folder])?;
    for part in
        ["the name \"Shop_\": use", "(Job/a): annotation helm.sh/hook", "(ConfigMap/b): apiVersion"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = cli.bad(2, &["plan", "-f", &folder, "--event", "upgrad"])?;
    assert!(said.contains("possible values: install, upgrade"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_release_that_is_not_there_is_told_beside_those_that_are() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-missing").await?;
    namespace.release("store", &[config_map("main", "1")], json!({})).await?;
    let cli = Cli::new(&namespace)?;
    for command in [
        "status", "plan", "history", "retry", "cancel", "test", "rollback", "suspend", "resume",
        "skip",
    ] {
        let said = cli.bad(2, &[command, "shop"])?;
        assert!(said.contains("ReleaseLifecycle shop does not exist in namespace"), "{said}");
        assert!(said.contains("there: store"), "{command}: {said}");
    }
    Ok(())
}

/// `plan` says what runs in the order in which it does run, with patches.
#[tokio::test]
async fn a_plan_is_what_happens() -> Result<()> {
    let namespace = Namespace::new(kwok(), "cli-plan").await?;
    let objects = [
        job("b").hook("pre-install").weight("1"),
        job("c").hook("pre-install").weight("-1"),
        job("a").hook("post-install"),
        config_map("main", "1"),
        job("a2").hook("pre-install").weight("1"),
    ];
    let first = "metadata: {annotations: {helm.sh/hook-weight: \"-7\"}}";
    let patches = json!([{"target": {"kind": "Job", "name": "b"}, "patch": first}]);
    let mut object = json!({
        "apiVersion": "releaselifecycle.dev/v1alpha1",
        "kind": "ReleaseLifecycle",
        "metadata": {"name": "shop", "namespace": namespace.name},
        "spec": {"serviceAccountName": "deployer", "source": {"objects": objects}, "patches": patches},
    });
    let cli = Cli::new(&namespace)?;
    let file = cli.write("shop.json", &object.to_string())?.to_string_lossy().into_owned();
    let plan = cli.json(&["plan", "-f", &file, "--event", "install"])?;
    let steps = plan["events"][0]["steps"].as_array().cloned().unwrap_or_default();
    let hooks = steps.iter().filter(|step| step["step"] == "hook");
    let planned: Vec<_> = hooks.map(|step| format!("jobs/{}", text(&step["name"]))).collect();
    assert_eq!(planned, ["jobs/b", "jobs/c", "jobs/a2", "jobs/a"]);
    let controller = namespace.controller()?;
    namespace.kubectl(&["apply", "-f", &file])?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, planned);

    // What the controller refuses is refused here, in the same words.
    for (patch, problem) in [
        (json!({"target": {"name": "no-such"}, "patch": first}), "no object of the source is"),
        (json!({"patch": "a: ["}), "patch is not readable"),
    ] {
        object["spec"]["patches"] = json!([patch]);
        let file = cli.write("wrong.json", &object.to_string())?.to_string_lossy().into_owned();
        let said = cli.bad(1, &["plan", "-f", &file])?;
        assert!(said.contains("spec.patches[0]: ") && said.contains(problem), "{said}");
        namespace.kubectl(&["apply", "-f", &file])?;
        let refused = namespace
            .wait("shop", &controller, "refused", |now| {
                now.metadata.generation > release.metadata.generation
                    && message(now).contains("spec.patches[0]: ")
                    && message(now).contains(problem)
            })
            .await?;
        let problem = said.trim_start_matches("error: ").trim();
        assert!(message(&refused).contains(problem), "{problem:?}: {:?}", message(&refused));
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
