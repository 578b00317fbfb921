//! Records as they should not be, and those of Helm's other driver.

use std::{collections::BTreeSet, io::Write};

use ::helm::{
    record::{self, MAX_INFLATED_BYTES},
    secret::{Plans, Written, from_config_map, from_secret, to_secret},
};
use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Namespace,
    helm::{self, HELMS},
    kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use flate2::{Compression, write::GzEncoder};
use futures::future::try_join_all;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

/// Returns what holds revision 1 of a release, labelled as Helm does.
fn holder(kind: &str, release: &str, data: Value) -> Value {
    let name = record::secret_name(release, 1);
    let labels = json!({"name": release, "owner": "helm", "status": "deployed", "version": "1"});
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "data": data,
    })
}

/// A newest record that cannot be read.
struct Case {
    release: &'static str,
    holder: Value,
    says: &'static str,
}

/// A Secret with these bytes as its record, in Helm's own base64.
fn case(release: &'static str, record: &[u8], says: &'static str) -> Case {
    let data = json!({"release": STANDARD.encode(STANDARD.encode(record))});
    Case { release, holder: holder("Secret", release, data), says }
}

fn cases() -> Result<Vec<Case>> {
    let plain = |record: &str| record.as_bytes().to_vec();
    let length = usize::try_from(MAX_INFLATED_BYTES)?;
    let not_base64 = json!({"release": STANDARD.encode("hunter2!")});
    Ok(vec![
        Case {
            release: "no-base64",
            holder: holder("Secret", "no-base64", not_base64),
            says: "the release record is not base64 (from byte 7 on)",
        },
        case("no-json", &gzip(b"hunter2")?, "the release record is not JSON (line 1, column 1)"),
        case("cut-off", &gzip(b"{}")?[..15], "the release record is damaged gzip data"),
        case("bomb", &gzip(&vec![b' '; length + 1])?, "inflates to more than 67108864 bytes"),
        case("no-fields", &plain(r#"{"name":"no-fields","version":1}"#), "field `info` is missing"),
        case(
            "no-status",
            &plain(r#"{"name":"no-status","version":1,"info":{"status":"hunter2"}}"#),
            "field `info.status` is missing or not as Helm 3 and Helm 4 write it",
        ),
        case(
            "renumbered",
            &plain(r#"{"name":"renumbered","version":7,"info":{}}"#),
            "the release record in it is of revision 7, which its name does not say",
        ),
        case(
            "renamed",
            &plain(r#"{"name":"before","version":1,"info":{}}"#),
            "the release record in it is of another release, revision 1",
        ),
        Case {
            release: "no-record",
            holder: holder("Secret", "no-record", json!({"other": "aHVudGVyMg=="})),
            says: "has no data key `release`, so it is not a release record",
        },
        Case {
            release: "in-map",
            holder: holder("ConfigMap", "in-map", json!({"release": "hunter2!"})),
            says: "the release record is not base64 (from byte 7 on)",
        },
    ])
}

#[tokio::test]
async fn a_newest_record_that_cannot_be_read_is_named_and_nothing_runs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "records-bad").await?;
    let cases = cases()?;
    for case in &cases {
        namespace.apply(&case.holder).await?;
    }
    let controller = namespace.controller()?;
    let objects = |release: &str| {
        [config_map(release, ""), job(&format!("{release}-hook")).hook("pre-install")]
    };
    try_join_all(cases.iter().map(async |case| {
        namespace.release(case.release, &objects(case.release), json!({})).await?;
        let release = namespace.wait_stalled(case.release, &controller).await?;
        assert_eq!(reason(&release), "RecordUnreadable", "{}", message(&release));
        let text = message(&release);
        let kind = case.holder["kind"].as_str().unwrap_or_default();
        let name = record::secret_name(case.release, 1);
        for part in [
            case.says,
            &format!("{kind} {}/{name}", namespace.name),
            &format!("kubectl delete {} -n {} {name}", kind.to_lowercase(), namespace.name),
        ] {
            ensure!(text.contains(part), "{part:?} is not in {text:?}");
        }
        ensure!(!text.contains("hunter2"), "{text}");
        Ok(())
    }))
    .await?;
    assert_eq!(namespace.tenant_writes()?, Vec::<String>::new());

    for kind in ["secrets", "configmaps"] {
        namespace.kubectl(&["delete", kind, "-l", "owner=helm"])?;
    }
    namespace.kubectl(&["annotate", "rl", "--all", "test/look=again"])?;
    try_join_all(
        cases.iter().map(async |case| namespace.wait_ready(case.release, &controller).await),
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_older_record_that_cannot_be_read_is_passed_over() -> Result<()> {
    let namespace = Namespace::new(kwok(), "records-older").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let failing = [config_map("main", "2"), job("no").hook("pre-upgrade").fails()];
    namespace.release("shop", &failing, json!({})).await?;
    namespace.wait_stalled("shop", &controller).await?;
    namespace.release("shop", &[config_map("main", "3")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    for revision in ["1", "2"] {
        let name = format!("sh.helm.release.v1.shop.v{revision}");
        let patch = json!({"data": {"release": STANDARD.encode("hunter2!")}}).to_string();
        namespace.kubectl(&["patch", "secret", &name, "--patch", &patch])?;
    }
    namespace.release("shop", &[config_map("main", "4")], json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.and_then(|status| status.revision), Some(4));
    Ok(())
}

/// A Secret of the next record's name that no label tells of is met by the POST.
#[tokio::test]
async fn a_foreign_secret_of_the_next_records_name_is_named_before_a_hook_runs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "records-foreign").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let name = record::secret_name("shop", 2);
    namespace.kubectl(&[
        "create",
        "secret",
        "generic",
        &name,
        "--from-literal=password=hunter2",
    ])?;
    let upgrade = [config_map("main", "2"), job("migrate").hook("pre-upgrade")];
    namespace.release("shop", &upgrade, json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "RecordUnreadable", "{}", message(&release));
    let text = message(&release);
    assert!(text.contains(&format!("Secret {}/{name} has no data key", namespace.name)), "{text}");
    assert!(text.contains(&format!("kubectl delete secret -n {} {name}", namespace.name)));
    assert_eq!(namespace.tenant_did("create")?, ["configmaps/main"; 0]);
    // As the message says; it is looked at again by itself, too, but later.
    namespace.kubectl(&["delete", "secret", &name])?;
    namespace.kubectl(&["annotate", "rl", "shop", "test/look=again"])?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.and_then(|status| status.revision), Some(2));
    assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate"]);
    Ok(())
}

/// Another client's record of the very revision, which its labels do not show.
#[tokio::test]
async fn somebody_elses_record_of_the_next_revision_is_named_before_a_hook_runs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "records-others").await?;
    let controller = namespace.controller()?;
    namespace.release("shop", &[config_map("main", "1")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    let first = namespace.object("Secret", &record::secret_name("shop", 1)).await?;
    let (mut other, _) = from_secret(&first.context("it is there")?)?;
    other.version = 2;
    let mut secret = to_secret(&other, Written::Created(Timestamp::UNIX_EPOCH), &Plans::new())?;
    secret["metadata"]["labels"] = Value::Null;
    namespace.apply(&secret).await?;
    let upgrade = [config_map("main", "2"), job("migrate").hook("pre-upgrade")];
    namespace.release("shop", &upgrade, json!({})).await?;
    let release = namespace.wait_stalled("shop", &controller).await?;
    assert_eq!(reason(&release), "ForeignRelease", "{}", message(&release));
    let text = message(&release);
    let name = record::secret_name("shop", 2);
    assert!(text.contains(&format!("Secret {name}")), "{text}");
    assert_eq!(namespace.tenant_did("create")?, Vec::<String>::new());
    namespace.kubectl(&["delete", "secret", &name])?;
    namespace.annotate("shop", "retryAt", "1")?;
    namespace.wait_ready("shop", &controller).await?;
    assert_eq!(namespace.tenant_did("create")?, ["jobs/migrate"]);
    Ok(())
}

/// The status of a revision as its label and as the record in it has it.
async fn statuses(namespace: &Namespace, revision: i32) -> Result<(String, String)> {
    let name = record::secret_name("shop", revision);
    let secret = namespace.object("Secret", &name).await?.context("it is there")?;
    let label = secret["metadata"]["labels"]["status"].as_str().unwrap_or_default().to_owned();
    let mut unlabelled = secret;
    unlabelled["metadata"]["labels"] = Value::Null;
    Ok((label, from_secret(&unlabelled)?.0.info.status.to_string()))
}

#[tokio::test]
async fn of_two_that_are_deployed_the_highest_counts_and_the_other_is_superseded() -> Result<()> {
    let namespace = Namespace::new(kwok(), "records-two").await?;
    let controller = namespace.controller()?;
    for value in ["1", "2"] {
        namespace.release("shop", &[config_map("main", value)], json!({})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    let first = record::secret_name("shop", 1);
    namespace.kubectl(&["label", "secret", "--overwrite", &first, "status=deployed"])?;
    // Looked at, it is as it should be.
    namespace.annotate("shop", "retryAt", "1")?;
    let release = namespace
        .wait("shop", &controller, "done with the retry", |release| {
            let status = release.status.as_ref();
            status.and_then(|status| status.last_handled_retry_at.as_deref()) == Some("1")
        })
        .await?;
    assert_eq!(reason(&release), "InSync", "{}", message(&release));
    assert_eq!(release.status.and_then(|status| status.revision), Some(2));
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    assert_eq!(statuses(&namespace, 1).await?, pair("deployed", "superseded"));

    namespace.release("shop", &[config_map("main", "3")], json!({})).await?;
    namespace.wait_ready("shop", &controller).await?;
    for revision in [1, 2] {
        assert_eq!(statuses(&namespace, revision).await?, pair("superseded", "superseded"));
    }
    assert_eq!(statuses(&namespace, 3).await?, pair("deployed", "deployed"));
    Ok(())
}

/// Helm asks the label; so does the operator.
#[tokio::test]
async fn the_label_says_that_somebody_is_at_work() -> Result<()> {
    let namespace = Namespace::new(kwok(), "records-label").await?;
    let objects = [config_map("main", "")];
    let folder = helm::chart(&namespace, "shop", &objects.clone().map(|it| it.to_string()))?;
    helm::run(&namespace, "helm", &["install", "shop", &folder.to_string_lossy()])?;
    let name = record::secret_name("shop", 1);
    namespace.kubectl(&["label", "secret", "--overwrite", &name, "status=pending-upgrade"])?;
    let controller = namespace.controller()?;
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace
        .wait("shop", &controller, "waiting for Helm", |release| reason(release) == "HelmAtWork")
        .await?;
    let text = message(&release);
    assert!(text.contains("revision 1 of release shop (pending-upgrade)"), "{text}");
    Ok(())
}

/// Helm with its other driver.
fn with_config_maps(namespace: &Namespace, program: &str, args: &[&str]) -> Result<()> {
    let output =
        helm::command(namespace, program, args)?.env("HELM_DRIVER", "configmap").output()?;
    ensure!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[tokio::test]
async fn records_in_config_maps_are_copied_and_taken_over() -> Result<()> {
    for program in HELMS {
        let namespace = Namespace::new(kwok(), &format!("maps-{program}")).await?;
        let objects =
            |value: &str| [config_map("main", value), job("hook").hook("pre-install,pre-upgrade")];
        let folder = |objects: &[Value]| {
            let templates: Vec<_> = objects.iter().map(Value::to_string).collect();
            helm::chart(&namespace, "shop", &templates)
                .map(|folder| folder.to_string_lossy().into_owned())
        };
        with_config_maps(&namespace, program, &["install", "shop", &folder(&objects("1"))?])?;
        with_config_maps(&namespace, program, &["upgrade", "shop", &folder(&objects("2"))?])?;
        // One that failed, with an object of its own, which is to go.
        let no = job("no").hook("post-upgrade").fails();
        let failing = [config_map("main", "2"), config_map("more", ""), no];
        let upgrade = ["upgrade", "shop", &folder(&failing)?];
        ensure!(with_config_maps(&namespace, program, &upgrade).is_err(), "its hook fails");
        let maps = || namespace.kubectl(&["get", "configmaps", "-l", "owner=helm", "-o", "json"]);
        let before = maps()?;

        let controller = namespace.controller()?;
        namespace.release("shop", &objects("2"), json!({})).await?;
        let release = namespace.wait_ready("shop", &controller).await?;
        assert_eq!(release.status.and_then(|status| status.revision), Some(4), "{program}");
        assert_eq!(namespace.tenant_did("create")?, ["jobs/hook"], "{program}");
        assert_eq!(namespace.object("ConfigMap", "more").await?, None);
        assert_eq!(maps()?, before, "they are left as they are");
        let history = helm::json(&namespace, program, &["history", "shop"])?;
        let states: Vec<_> =
            history.as_array().into_iter().flatten().map(|it| &it["status"]).collect();
        assert_eq!(states, ["superseded", "failed", "deployed"], "{program}");
        let told = namespace.kubectl(&[
            "get",
            "events",
            "--field-selector",
            "reason=RecordsCopied",
            "-o",
            "jsonpath={.items[*].message}",
        ])?;
        assert!(told.contains("kubectl delete configmap -n maps-"), "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn a_copy_that_was_broken_off_is_completed_and_nothing_runs() -> Result<()> {
    let namespace = Namespace::new(kwok(), "maps-half").await?;
    let objects = [config_map("main", "1"), job("hook").hook("pre-install,pre-upgrade")];
    let folder = helm::chart(&namespace, "shop", &objects.clone().map(|it| it.to_string()))?;
    let folder = folder.to_string_lossy();
    with_config_maps(&namespace, "helm", &["install", "shop", &folder])?;
    with_config_maps(&namespace, "helm", &["upgrade", "shop", &folder])?;
    // As though the process had died after its first one.
    let first = namespace.object("ConfigMap", &record::secret_name("shop", 1)).await?;
    let first = from_config_map(&first.context("it is there")?)?;
    let mut copy = to_secret(&first, Written::Created(Timestamp::UNIX_EPOCH), &Plans::new())?;
    copy["metadata"]["annotations"] = json!({api::names::IMPORTED_THROUGH_ANNOTATION: "2"});
    namespace.apply(&copy).await?;

    let controller = namespace.controller()?;
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(reason(&release), "InSync", "{}", message(&release));
    assert_eq!(release.status.and_then(|status| status.revision), Some(2));
    assert_eq!(namespace.tenant_did("create")?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn what_a_dead_client_left_open_in_a_config_map_is_closed_in_the_copy() -> Result<()> {
    let namespace = Namespace::new(kwok(), "maps-pending").await?;
    let objects = [config_map("main", ""), job("hook").hook("pre-upgrade")];
    let folder = helm::chart(&namespace, "shop", &objects.clone().map(|it| it.to_string()))?;
    with_config_maps(&namespace, "helm", &["install", "shop", &folder.to_string_lossy()])?;
    let name = record::secret_name("shop", 1);
    namespace.kubectl(&["label", "configmap", "--overwrite", &name, "status=pending-install"])?;
    let controller = namespace.controller_with(&["--takeover-seconds", "1"])?;
    namespace.release("shop", &objects, json!({})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    // Of an install that failed nothing was deployed.
    assert_eq!(message(&release), "install of revision 2 succeeded with 0 hooks");
    assert_eq!(statuses(&namespace, 1).await?, ("failed".to_owned(), "failed".to_owned()));
    let map = namespace.object("ConfigMap", &name).await?.context("it is left")?;
    assert_eq!(map["metadata"]["labels"]["status"], "pending-install");
    Ok(())
}

/// Who may not list `ConfigMaps` has none of Helm's there.
#[tokio::test]
async fn a_release_needs_no_right_to_list_config_maps() -> Result<()> {
    let namespace = Namespace::new(kwok(), "maps-forbidden").await?;
    namespace.kubectl(&["create", "serviceaccount", "secretive"])?;
    namespace.kubectl(&[
        "create",
        "role",
        "secretive",
        "--verb=get,list,create,update,patch,delete",
        "--resource=secrets",
    ])?;
    let account = format!("--serviceaccount={}:secretive", namespace.name);
    namespace.kubectl(&["create", "rolebinding", "secretive", "--role=secretive", &account])?;
    let controller = namespace.controller()?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "main"}});
    namespace.release("shop", &[secret], json!({"serviceAccountName": "secretive"})).await?;
    namespace.wait_ready("shop", &controller).await?;
    Ok(())
}

/// Returns what Helm has stored of a chart, and nobody reads, is not copied into further revisions.
#[tokio::test]
async fn a_rollback_to_a_record_of_helms_copies_no_files_of_the_chart() -> Result<()> {
    let namespace = Namespace::new(kwok(), "records-lean").await?;
    let objects = |value: &str| [config_map("main", value)];
    let folder = helm::chart(&namespace, "shop", &objects("1").map(|it| it.to_string()))?;
    let mut noise = String::new();
    while noise.len() < 600_000 {
        noise.push_str(&uuid::Uuid::new_v4().simple().to_string());
    }
    std::fs::write(folder.join("noise.txt"), &noise)?;
    std::fs::write(folder.join("values.yaml"), "given: by the chart\n")?;
    let folder = folder.to_string_lossy();
    helm::run(&namespace, "helm", &["install", "shop", &folder, "--set", "mine=1"])?;
    let controller = namespace.controller()?;
    for value in ["1", "2"] {
        namespace.release("shop", &objects(value), json!({})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    namespace.release("shop", &objects("2"), json!({"pinRevision": 1})).await?;
    let release = namespace.wait_ready("shop", &controller).await?;
    assert_eq!(release.status.and_then(|status| status.revision), Some(3));
    let size = async |revision: i32| -> Result<usize> {
        let name = record::secret_name("shop", revision);
        let secret = namespace.object("Secret", &name).await?.context("it is there")?;
        Ok(secret["data"]["release"].as_str().unwrap_or_default().len())
    };
    assert!(size(1).await? > 300_000, "Helm keeps the file");
    assert!(size(3).await? < 10_000, "the copy is {} bytes", size(3).await?);
    for program in HELMS {
        let values = helm::json(&namespace, program, &["get", "values", "shop", "--all"])?;
        assert_eq!(values, json!({"given": "by the chart", "mine": 1}), "{program}");
        let metadata = helm::json(&namespace, program, &["get", "metadata", "shop"])?;
        assert_eq!((&metadata["chart"], &metadata["version"]), (&json!("shop"), &json!("1.2.3")));
        let reused = ["upgrade", "shop", &folder, "--reuse-values", "--dry-run=client"];
        helm::run(&namespace, program, &reused)?;
    }
    // Helm goes back to what we copied.
    helm::run(&namespace, "helm", &["rollback", "shop", "3"])?;
    let main = namespace.object("ConfigMap", "main").await?.context("main stays")?;
    assert_eq!(main["data"]["value"], "1");
    Ok(())
}

#[tokio::test]
async fn a_look_fetches_the_newest_record_alone() -> Result<()> {
    let namespace = Namespace::new(kwok(), "records-few").await?;
    let controller = namespace.controller()?;
    for value in ["1", "2", "3", "4"] {
        namespace.release("shop", &[config_map("main", value)], json!({})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    let before = namespace.audit()?.len();
    namespace.retry("shop", "1", &controller).await?;
    let audit = namespace.audit()?;
    let reads = audit[before..].iter().filter(|event| event.impersonated.is_some());
    let reads = reads.filter(|event| ["secrets", "configmaps"].contains(&&*event.resource));
    let (lists, gets): (Vec<_>, Vec<_>) = reads.partition(|event| event.verb == "list");
    let fetched: BTreeSet<_> = gets.iter().map(|event| event.name.as_deref()).collect();
    assert_eq!(fetched, [Some(&*record::secret_name("shop", 4))].into());
    // The operation before may still look for what to prune.
    assert!(gets.len() <= lists.len(), "a look is a list and a get: {gets:?}");
    assert!(lists.iter().all(|event| event.resource == "secrets"), "{lists:?}");
    Ok(())
}
