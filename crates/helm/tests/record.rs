//! Release records: those that the real Helm 3 and Helm 4 wrote, and what may go wrong with others.
//!
//! `fixtures/*.json` hold a Secret as the API server returned it and the JSON that Python read out of
//! it. `v1` was installed with values and `--labels`, `v3` is a rollback to it, `v5` a failed upgrade
//! that was uninstalled with its history kept.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use helm::record::{
    ApplyMethod, Chart, Info, MAX_INFLATED_BYTES, Phase, RecordError, Release, Status, decode,
    encode, labels, parse_secret_name, secret_name,
};
use helm::secret::{
    KEY_PLAN, KEY_TEST_PLAN, MAX_SECRET_BYTES, Plans, StorageError, Written, from_config_map,
    from_secret, to_secret,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

const GOLDEN: &[(&str, &str)] = &[
    ("helm3-v1", include_str!("fixtures/helm3-v1.json")),
    ("helm3-v3", include_str!("fixtures/helm3-v3.json")),
    ("helm3-v5", include_str!("fixtures/helm3-v5.json")),
    ("helm4-v1", include_str!("fixtures/helm4-v1.json")),
    ("helm4-v3", include_str!("fixtures/helm4-v3.json")),
    ("helm4-v5", include_str!("fixtures/helm4-v5.json")),
];

fn golden(name: &str) -> (Value, Value) {
    let (_, text) = GOLDEN.iter().find(|(golden, _)| *golden == name).unwrap();
    let mut file: Value = serde_json::from_str(text).unwrap();
    (file["secret"].take(), file["record"].take())
}

fn release(fields: &Value) -> Result<Release, RecordError> {
    let mut record = json!({"name": "shop", "namespace": "prod", "version": 1, "info": {}});
    for (key, value) in fields.as_object().unwrap() {
        record[key] = value.clone();
    }
    decode(STANDARD.encode(record.to_string()).as_bytes())
}

fn json_of(release: &Release) -> Value {
    serde_json::to_value(release).unwrap()
}

/// Helm 3 writes zero times as `""`, Helm 4 leaves them out, and so do we.
fn without_zero_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| {
                value != "" || !["deleted", "started_at", "completed_at"].contains(&key.as_str())
            });
            fields.values_mut().for_each(without_zero_times);
        }
        Value::Array(items) => items.iter_mut().for_each(without_zero_times),
        _ => {}
    }
}

#[test]
fn what_helm_wrote_is_read_and_written_back_without_loss() {
    for (name, _) in GOLDEN {
        let (secret, mut record) = golden(name);
        let (release, plans) = from_secret(&secret).unwrap();
        without_zero_times(&mut record);
        assert_eq!(json_of(&release), record, "{name}");
        assert!(plans.is_empty());

        let labels = [("team".to_owned(), "a".to_owned())];
        assert_eq!(release.labels, labels.into(), "{name}");

        let modified: i64 =
            secret["metadata"]["labels"]["modifiedAt"].as_str().unwrap().parse().unwrap();
        let written = Written::Modified(Timestamp::from_second(modified).unwrap());
        let mut again = to_secret(&release, written, &plans).unwrap();
        assert_eq!(from_secret(&again).unwrap(), (release, plans), "{name}");
        // All but the compressed bytes is as Helm wrote it.
        again["data"] = secret["data"].clone();
        assert_eq!(again, secret, "{name}");
    }
}

#[test]
fn the_fields_mean_what_helm_says() {
    let read = |name| from_secret(&golden(name).0).unwrap().0;
    for (name, apply_method, rollback) in
        [("helm3-v3", None, 0), ("helm4-v3", Some(ApplyMethod::Ssa), 1)]
    {
        let release = read(name);
        assert_eq!((release.name.as_str(), release.version), ("shop", 3));
        assert_eq!(release.apply_method, apply_method, "{name}");
        assert_eq!(release.info.rollback_revision, rollback, "{name}");
        assert_eq!(release.info.status, Status::Superseded);
        assert_eq!(release.info.deleted, None);
        assert_eq!(release.chart.metadata.as_ref().unwrap().app_version, "2.0");
        assert_eq!(release.chart.values.as_ref().unwrap()["ratio"], 0.5);
        assert_eq!(release.config["list"], json!([1, 2.5, null]));
        let [before, clean] = release.hooks.as_slice() else { panic!("two hooks") };
        assert_eq!((before.weight, before.last_run.phase), (-5, Some(Phase::Succeeded)));
        assert!(before.last_run.started_at < before.last_run.completed_at);
        assert_eq!((clean.kind.as_str(), clean.last_run.phase), ("Job", None));
        assert_eq!(clean.events, ["test"]);
        assert_eq!(clean.output_log_policies, ["hook-failed"]);
        let objects = helm::manifest::parse(&release.manifest).unwrap();
        assert_eq!(objects[0]["data"]["message"], "one");
        let hook = helm::manifest::parse(&before.manifest).unwrap();
        assert_eq!(hook[0]["metadata"]["annotations"]["helm.sh/hook-weight"], "-5");
    }
    for name in ["helm3-v5", "helm4-v5"] {
        let info = read(name).info;
        assert_eq!(info.status, Status::Uninstalled);
        assert!(info.deleted > info.last_deployed && info.last_deployed > info.first_deployed);
    }
}

#[test]
fn zero_values_in_every_spelling() {
    for zero in [json!({}), json!(null), json!(""), json!("0001-01-01T00:00:00Z")] {
        let info =
            if zero.is_object() { zero } else { json!({"deleted": zero, "last_deployed": zero}) };
        let info = release(&json!({ "info": info })).unwrap().info;
        assert_eq!((info.deleted, info.last_deployed), (None, None));
    }
    let fields = json!({"chart": null, "config": null, "hooks": null, "apply_method": "", "info": {"status": ""}});
    let read = release(&fields).unwrap();
    assert_eq!(read.chart, Chart::default());
    assert_eq!((read.apply_method, read.info.status), (None, Status::Unknown));
    let zoned = release(&json!({"info": {"deleted": "2020-01-02T03:04:05.678+09:00"}})).unwrap();
    assert_eq!(zoned.info.deleted, "2020-01-01T18:04:05.678Z".parse().ok());
    let hook = release(&json!({"hooks": [{"last_run": {"phase": "", "started_at": ""}}]})).unwrap();
    assert_eq!(json_of(&hook)["hooks"], json!([{"last_run": {"phase": ""}}]));
}

#[test]
fn foreign_fields_and_long_floats_survive() {
    let fields = json!({
        "later": [1], "config": {"ratio": 3.160_605_246_267_248e-172},
        "info": {"later": {"a": 1}}, "chart": {"metadata": {"kubeVersion": ">1"}, "values": null, "files": []},
        "hooks": [{"last_run": {"phase": "Running"}, "later": null}],
    });
    let written = json_of(&decode(&encode(&release(&fields).unwrap()).unwrap()).unwrap());
    for (key, value) in fields.as_object().unwrap() {
        if key == "info" {
            assert_eq!(written["info"]["later"], value["later"]);
        } else {
            assert_eq!(written[key], *value);
        }
    }
}

#[test]
fn statuses() {
    let all = [
        ("unknown", Status::Unknown, false),
        ("deployed", Status::Deployed, false),
        ("uninstalled", Status::Uninstalled, false),
        ("superseded", Status::Superseded, false),
        ("failed", Status::Failed, false),
        ("uninstalling", Status::Uninstalling, false),
        ("pending-install", Status::PendingInstall, true),
        ("pending-upgrade", Status::PendingUpgrade, true),
        ("pending-rollback", Status::PendingRollback, true),
    ];
    for (text, status, pending) in all {
        assert_eq!(status.to_string(), text);
        assert_eq!(serde_json::to_value(status).unwrap(), text);
        assert_eq!(release(&json!({"info": {"status": text}})).unwrap().info.status, status);
        assert_eq!(status.is_pending(), pending);
    }
}

#[test]
fn names_and_labels() {
    assert_eq!(secret_name("shop", 12), "sh.helm.release.v1.shop.v12");
    let cases = [
        ("sh.helm.release.v1.shop.v12", Some(("shop", 12))),
        ("sh.helm.release.v1.a.v1.v2", Some(("a.v1", 2))),
        ("sh.helm.release.v1.shop.v0", None),
        ("sh.helm.release.v1.shop.v01", None),
        ("sh.helm.release.v1.shop.v+1", None),
        ("sh.helm.release.v1.shop.v-1", None),
        ("sh.helm.release.v1.shop.v99999999999", None),
        ("sh.helm.release.v1.shop", None),
        ("sh.helm.release.v1..v1", None),
        ("shop.v1", None),
    ];
    for (name, expected) in cases {
        assert_eq!(parse_secret_name(name), expected, "{name}");
    }
    let labels = labels("shop", Status::PendingUpgrade, 3);
    let expected =
        [("name", "shop"), ("owner", "helm"), ("status", "pending-upgrade"), ("version", "3")];
    assert!(labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected));
}

#[test]
fn a_damaged_record_is_an_error_that_tells_no_secret() {
    let gzip = |bytes: &[u8]| {
        use std::io::Write as _;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let plain = |json: Value| STANDARD.encode(json.to_string());
    let field = |name: &str| RecordError::Field(name.to_owned());
    let bomb = gzip(&vec![b' '; usize::try_from(MAX_INFLATED_BYTES).unwrap() + 1]);
    let cases = [
        ("hunter2!".to_owned(), RecordError::Base64 { at: 7 }),
        ("hunter2".to_owned(), RecordError::Base64 { at: 7 }),
        (STANDARD.encode(bomb), RecordError::TooLarge),
        (STANDARD.encode(&gzip(b"{}")[..15]), RecordError::Gzip(std::io::ErrorKind::UnexpectedEof)),
        (STANDARD.encode(gzip(b"hunter2")), RecordError::Json { line: 1, column: 1 }),
        (String::new(), RecordError::Json { line: 1, column: 0 }),
        (plain(json!("hunter2")), field("(the whole record)")),
        (plain(json!({"version": 1, "info": {}})), field("name")),
        (plain(json!({"name": "a", "version": 1})), field("info")),
        (plain(json!({"name": "a", "version": "hunter2", "info": {}})), field("version")),
        (
            plain(json!({"name": "a", "version": 1, "info": {"status": "hunter2"}})),
            field("info.status"),
        ),
        (
            plain(json!({"name": "a", "version": 1, "info": {"deleted": "hunter2"}})),
            field("info.deleted"),
        ),
        (
            plain(
                json!({"name": "a", "version": 1, "info": {}, "hooks": [{}, {"weight": "hunter2"}]}),
            ),
            field("hooks.1.weight"),
        ),
        (
            plain(json!({"name": "a", "version": 1, "info": {}, "config": "hunter2"})),
            field("config"),
        ),
    ];
    for (data, expected) in cases {
        let error = decode(data.as_bytes()).unwrap_err();
        assert_eq!(error, expected);
        let secret = json!({
            "metadata": {"namespace": "prod", "name": "sh.helm.release.v1.a.v1"},
            "data": {"release": STANDARD.encode(data)},
        });
        let message = from_secret(&secret).unwrap_err().to_string();
        assert!(message.starts_with("Secret prod/sh.helm.release.v1.a.v1: "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn base64_may_be_wrapped_and_json_plain() {
    let mut release = release(&json!({"manifest": "x".repeat(500)})).unwrap();
    release.config = Map::from_iter([("a".to_owned(), json!(1))]);
    let encoded = encode(&release).unwrap();
    let wrapped: Vec<u8> = encoded.chunks(20).flat_map(|line| [line, b"\n"].concat()).collect();
    assert_eq!(decode(&wrapped), Ok(release.clone()));
    let plain = STANDARD.encode(serde_json::to_vec(&release).unwrap());
    assert_eq!(decode(plain.as_bytes()), Ok(release.clone()));
    assert!(!format!("{release:?}").contains("xxx"));
}

#[test]
fn a_secret_holds_the_plans_and_the_users_labels() {
    let mut release = release(
        &json!({"chart": serde_json::to_value(Chart::synthetic("shop", "0.1.0")).unwrap()}),
    )
    .unwrap();
    release.labels =
        [("team", "a"), ("status", "mine")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let time = Timestamp::from_second(1_700_000_000).unwrap();
    let plans = Plans::from([KEY_PLAN, KEY_TEST_PLAN].map(|key| (key, b"\x00plan".to_vec())));
    let secret = to_secret(&release, Written::Created(time), &plans).unwrap();
    assert_eq!(secret["type"], "helm.sh/release.v1");
    assert_eq!(
        secret["metadata"],
        json!({
            "name": "sh.helm.release.v1.shop.v1", "namespace": "prod",
            "labels": {"name": "shop", "owner": "helm", "status": "unknown", "version": "1",
                "createdAt": "1700000000", "team": "a"},
        })
    );
    release.labels.remove("status");
    assert_eq!(from_secret(&secret), Ok((release, plans)));
}

/// Returns what holds a record of revision 1 of release shop.
fn holder(data: Value) -> Value {
    let mut holder =
        json!({"metadata": {"namespace": "prod", "name": "sh.helm.release.v1.shop.v1"}});
    holder["data"] = data;
    holder
}

#[test]
fn a_secret_that_is_none() {
    let object = "Secret prod/sh.helm.release.v1.shop.v1".to_owned();
    let error = |data| from_secret(&holder(data)).unwrap_err();
    let none = StorageError::NoRecord { object: object.clone() };
    assert_eq!(error(json!({})), none);
    assert_eq!(error(json!(null)), none);
    let value = |key| StorageError::Value { object: object.clone(), key };
    assert_eq!(error(json!({"release": "*"})), value("release"));
    assert_eq!(error(json!({"release": 1})), value("release"));
    let good = STANDARD.encode(encode(&release(&json!({})).unwrap()).unwrap());
    assert_eq!(error(json!({"release": good, "plan": "*"})), value("plan"));
}

#[test]
fn a_record_under_another_name_was_copied_by_hand() {
    let secret = |fields: Value| {
        let record = encode(&release(&fields).unwrap()).unwrap();
        from_secret(&holder(json!({"release": STANDARD.encode(record)})))
    };
    secret(json!({})).unwrap();
    for (fields, same_release, revision) in
        [(json!({"version": 2}), true, 2), (json!({"name": "store"}), false, 1)]
    {
        let object = "Secret prod/sh.helm.release.v1.shop.v1".to_owned();
        let expected = StorageError::OfAnother { object, same_release, revision };
        assert_eq!(secret(fields).unwrap_err(), expected);
    }
}

#[test]
fn the_label_says_what_the_status_is_and_the_holder_where() {
    let record = release(&json!({"info": {"status": "deployed"}, "namespace": "before"})).unwrap();
    let mut secret = holder(json!({"release": STANDARD.encode(encode(&record).unwrap())}));
    for (label, status) in [
        (json!("superseded"), Status::Superseded),
        (json!("pending-upgrade"), Status::PendingUpgrade),
        (json!("hunter2"), Status::Deployed),
        (json!(null), Status::Deployed),
    ] {
        secret["metadata"]["labels"]["status"] = label;
        let (read, _) = from_secret(&secret).unwrap();
        assert_eq!(read.info.status, status);
        assert_eq!(read.namespace, "prod");
        let written = Written::Modified(Timestamp::UNIX_EPOCH);
        let again = to_secret(&read, written, &Plans::new()).unwrap();
        assert_eq!(again["metadata"]["labels"]["status"], status.as_str());
        let rewritten = again["data"]["release"].as_str().unwrap();
        let rewritten = decode(&STANDARD.decode(rewritten).unwrap()).unwrap();
        assert_eq!(rewritten.info.status, status, "both say the same again");
    }
}

/// The text that Helm writes with `HELM_DRIVER=configmap` is the same, encoded once.
#[test]
fn a_config_map_holds_the_same_record() {
    for (name, _) in GOLDEN {
        let (secret, _) = golden(name);
        let mut config_map = secret.clone();
        let encoded = STANDARD.decode(secret["data"]["release"].as_str().unwrap()).unwrap();
        config_map["data"] = json!({"release": String::from_utf8(encoded).unwrap()});
        let (expected, _) = from_secret(&secret).unwrap();
        assert_eq!(from_config_map(&config_map), Ok(expected), "{name}");
    }
    let object = "ConfigMap prod/sh.helm.release.v1.shop.v1".to_owned();
    let none = StorageError::NoRecord { object: object.clone() };
    assert_eq!(from_config_map(&holder(json!({}))), Err(none));
    let error = RecordError::Base64 { at: 0 };
    let expected = StorageError::Record { object, error };
    assert_eq!(from_config_map(&holder(json!({"release": "*"}))), Err(expected));
}

/// Text that no compression makes smaller.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 40) % 90).unwrap())
    };
    (0..bytes).map(|_| next()).filter(|c| *c != '"' && *c != '\\').collect()
}

#[test]
fn what_does_not_fit_is_told_part_by_part() {
    let record = release(&json!({})).unwrap();
    let size = encode(&record).unwrap().len();
    let written = Written::Created(Timestamp::UNIX_EPOCH);
    let fits = vec![0; MAX_SECRET_BYTES - size];
    let beside = |plan: Vec<u8>| Plans::from([(KEY_PLAN, plan)]);
    to_secret(&record, written, &beside(fits.clone())).unwrap();
    let error = to_secret(&record, written, &beside([fits, vec![0]].concat())).unwrap_err();
    let expected = StorageError::TooLarge {
        object: "Secret prod/sh.helm.release.v1.shop.v1".to_owned(),
        total: MAX_SECRET_BYTES + 1,
        parts: vec![("plan", MAX_SECRET_BYTES + 1 - size)],
    };
    assert_eq!(error, expected);

    let fields = json!({
        "manifest": noise(900_000), "config": {"a": noise(300_000)},
        "chart": {"values": {"b": noise(100_000)}}, "info": {"notes": noise(20_000)},
    });
    let error =
        to_secret(&release(&fields).unwrap(), written, &beside(vec![0; 200_000])).unwrap_err();
    let StorageError::TooLarge { total, parts, .. } = &error else { panic!("{error}") };
    let names: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["manifest", "user values", "plan", "chart values", "notes"]);
    let sum: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    assert!(sum.abs_diff(*total) < total / 50, "{sum} is not about {total}");
    let text = error.to_string();
    assert!(text.contains(&format!("would hold {total} bytes")), "{text}");
    assert!(text.contains(&format!("manifest {}, user values ", parts[0].1)), "{text}");
}

/// A record of Helm's that leaves no room for a plan gives up what nobody reads.
#[test]
fn templates_make_room_where_there_is_none() {
    let metadata = json!({"name": "shop", "version": "1.0.0", "dependencies": [{"name": "db"}]});
    let values = json!({"a": 1});
    let chart = |bytes: usize| {
        json!({"chart": {
            "metadata": metadata, "values": values, "schema": null, "lock": {"digest": "x"},
            "templates": [{"name": "templates/a.yaml", "data": noise(bytes)}], "files": [],
        }})
    };
    let written = Written::Modified(Timestamp::UNIX_EPOCH);
    let plans = Plans::from([(KEY_PLAN, vec![0; 1000])]);
    let chart_after = |bytes| {
        let record = release(&chart(bytes)).unwrap();
        let secret = to_secret(&record, written, &plans).unwrap();
        json_of(&from_secret(&secret).unwrap().0)["chart"].take()
    };
    assert_eq!(chart_after(1000), chart(1000)["chart"]);
    assert_eq!(chart_after(MAX_SECRET_BYTES), json!({"metadata": metadata, "values": values}));
}

/// The paths of all fields in `value`, also of those in lists.
fn fields(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                fields(value, &path, found);
                found.push(path);
            }
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| fields(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// Go reads null, and what is missing, as nothing. What must be there is named.
#[test]
fn no_field_of_a_real_record_is_needed_but_three() {
    let read = |record: &Value| decode(STANDARD.encode(record.to_string()).as_bytes());
    for (name, _) in GOLDEN {
        let (_, record) = golden(name);
        let mut paths = Vec::new();
        fields(&record, "", &mut paths);
        assert!(paths.len() > 50, "{name} has {} fields", paths.len());
        for path in paths {
            let mut without = record.clone();
            *without.pointer_mut(&path).unwrap() = Value::Null;
            let null = read(&without);
            let (parent, key) = path.rsplit_once('/').unwrap();
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
            for (what, result) in [("null", null), ("missing", read(&without))] {
                if ["/name", "/version", "/info"].contains(&&*path) {
                    assert_eq!(result, Err(RecordError::Field(key.to_owned())), "{name} {what}");
                } else {
                    result.unwrap_or_else(|error| panic!("{name}{path} {what}: {error}"));
                }
            }
        }
    }
}

#[test]
fn values_that_would_fill_the_memory_are_refused_before_they_are_read() {
    let crowd = |item: &str, count: usize| {
        let list = vec![item; count].join(",");
        let json = format!(r#"{{"name":"a","version":1,"info":{{}},"config":{{"a":[{list}]}}}}"#);
        decode(STANDARD.encode(json).as_bytes())
    };
    crowd("{}", 1000).unwrap();
    assert_eq!(crowd("{}", 250_000), Err(RecordError::TooLarge));
    // Text is not counted as if it were structure.
    let text = format!("\"{}\"", "{[,:\\\"".repeat(1000));
    crowd(&text, 200).unwrap();
    // Nor is written what could not be read.
    let mut record = release(&json!({})).unwrap();
    record.config = Map::from_iter([("a".to_owned(), json!(vec![0; 2_200_000]))]);
    assert_eq!(encode(&record), Err(RecordError::TooLarge));
}

/// The least record that every command of both Helms takes; `helm-hooks.md` has the list.
#[test]
fn a_record_of_our_own() {
    let info: Info =
        serde_json::from_value(json!({"status": "deployed", "description": "Install complete"}))
            .unwrap();
    let mut own = release(&json!({})).unwrap();
    own.info = info;
    own.chart = Chart::synthetic("shop", "0.1.0");
    assert_eq!(
        json_of(&own),
        json!({
            "name": "shop", "namespace": "prod", "version": 1,
            "info": {"status": "deployed", "description": "Install complete"},
            "chart": {"metadata": {"apiVersion": "v2", "name": "shop", "version": "0.1.0"}, "values": null},
        })
    );
}
