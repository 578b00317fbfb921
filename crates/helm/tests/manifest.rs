//! Manifest text against Go's reader: our own round trip, checked-in answers of Go, and, where the
//! cluster's binaries are built, the real `helm` and `helm3`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking and print what they skip"
)]

mod cases;

use cases::{Go, READ, object, same, texts};
use helm::manifest::{MAX_DEPTH, ManifestError, parse, parse_within, render, to_yaml};
use manifests::memory::Memory;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

fn parse_one(yaml: &str) -> Value {
    match parse(yaml) {
        Ok(objects) if objects.len() == 1 => objects[0].clone(),
        other => panic!("{other:?} of:\n{yaml}"),
    }
}

#[test]
fn every_text_survives_as_key_as_value_and_in_a_list() {
    for text in texts() {
        let value = json!({ text.clone(): 1, "a": {"b": text}, "c": [text, {text.clone(): [text]}], "d": text });
        let yaml = to_yaml(&value);
        assert_eq!(parse_one(&yaml), value, "{yaml}");
        assert_eq!(parse_one(yaml.trim_end()), value, "trimmed, as Helm 3 does: {yaml}");
        assert!(yaml.ends_with('\n') && !yaml.ends_with("\n\n"), "{yaml:?}");
    }
}

#[test]
fn reads_as_go_does() {
    for (yaml, expected) in READ {
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(parse_one(yaml), expected, "{yaml:?}");
    }
}

#[test]
fn readable_text_stays_readable() {
    let cases = [
        (
            json!({"script": "#!/bin/sh\nset -e\n", "z": 1}),
            "script: |\n  #!/bin/sh\n  set -e\nz: 1\n",
        ),
        (
            json!({"a": "on", "b": "0777", "c": "shop", "d": "80:80"}),
            "a: \"on\"\nb: \"0777\"\nc: shop\nd: 80:80\n",
        ),
        (json!({"y": {"on": []}}), "\"y\":\n  \"on\": []\n"),
        (json!({"metadata": {"name": "a b"}, "count": 2}), "count: 2\nmetadata:\n  name: a b\n"),
    ];
    for (value, yaml) in cases {
        assert_eq!(to_yaml(&value), yaml);
    }
}

#[test]
fn renders_as_helm_does() {
    let objects = [json!({"kind": "A"}), json!({"kind": "B"})];
    let text = render(&objects, "shop/a.yaml");
    assert_eq!(text, "---\n# Source: shop/a.yaml\nkind: A\n---\n# Source: shop/a.yaml\nkind: B\n");
    assert_eq!(parse(&text), Ok(objects.to_vec()));
    assert_eq!(parse(&render(&objects, "a\nkind: C")), Ok(objects.to_vec()));
    assert_eq!(render([], "x"), "");
}

#[test]
fn empty_documents_are_skipped() {
    for text in ["", "---\n", "# note\n---\n---\n# Source: x\n", "null", "~\n---\n"] {
        assert_eq!(parse(text), Ok(vec![]), "{text:?}");
    }
}

#[test]
fn errors_name_document_and_line_and_no_value() {
    let cases = [
        ("a: 1\n---\n\n\nb: [hunter2\n", "document 2 (line 5"),
        ("a: 1\n---\n- hunter2\n", "document 2 (line 3 of the manifest) is a list"),
        ("hunter2", "document 1 (line 1 of the manifest) is a text"),
        ("---\n# c\n---\nb: *hunter2\n", "document 2 (line 4"),
        ("a: 1\nb: hunter2: 3\n", "document 1 (line 2"),
        ("a: .inf\n", "document 1 (line 1"),
        ("? [hunter2]\n: 1\n", "a list or a mapping"),
        ("~: hunter2\n", "a key is null"),
        ("a: !!binary '*hunter2*'\n", "not base64"),
        ("a: \"hunter2\n", "document 1 (line"),
        ("a: 1\n b: hunter2\n", "document 1 (line 2"),
    ];
    for (text, expected) in cases {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn what_would_exhaust_the_reader_is_refused() {
    // The document itself is one level.
    let nested = |depth: usize| format!("a: {}1{}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    let bomb = (0..30).fold("a0: &a0 [x]\n".to_owned(), |text, i| {
        text + &format!("a{}: &a{} [*a{i}, *a{i}]\n", i + 1, i + 1)
    });
    let cases = [
        (nested(MAX_DEPTH + 1), "nested deeper than 64 levels"),
        (nested(100_000), "recursion limit exceeded"),
        (bomb, "too large"),
    ];
    // As deep as serde_json reads.
    let deep = (1..127).fold(json!(1), |value, _| json!({ "a": value }));
    assert!(parse(&to_yaml(&deep)).is_err());
    for (text, expected) in cases {
        let error = parse(&text).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn texts_together_take_no_more_memory_than_a_release() {
    // Six bytes of text are some seven hundred of memory.
    let maps = |count: usize| format!("a: [{}]\n", "{a: 0},".repeat(count));
    let fits = maps(10_000);
    assert!(parse(&fits).is_ok());
    let mut memory = Memory::of_release();
    let texts: Vec<_> = std::iter::repeat_n(fits, 9).collect();
    let refused = texts.iter().position(|text| parse_within(text, &mut memory).is_err());
    assert!(refused.is_some_and(|index| index > 0), "{refused:?}");

    // What is small in one document is not in all of them.
    let replayed = format!("a: &a [{}]\nb: [{}]\n---\n", "{a: 0},".repeat(100), "*a,".repeat(30));
    let scalars = format!("a: &a {}\nb: [{}]\n", "x".repeat(60_000), "*a,".repeat(90));
    for (text, expected) in [
        (maps(50_000), "document 1 (line 1 of the manifest): with it, the objects take more than"),
        (replayed.repeat(20), "with it, the objects take more than the 32 MiB of memory"),
        (replayed.repeat(20) + "a: [", "with it, the objects take"),
        (format!("{scalars}---\n").repeat(7), "with it, the objects take"),
        ("a: 0\n---\n".repeat(30_000), "with it, the objects take"),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(matches!(error, ManifestError::TooLarge { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

proptest! {
    #![proptest_config(Config { cases: 512, failure_persistence: None, ..Config::default() })]

    #[test]
    fn round_trips(value in object()) {
        let yaml = to_yaml(&value);
        let back = parse(&yaml);
        prop_assert!(back.as_ref().is_ok_and(|b| b.len() == 1 && same(&b[0], &value)), "{back:?}\n{yaml}");
        let back = parse(&render([&value, &value], "a/b.yaml"));
        prop_assert!(back.is_ok_and(|b| b.len() == 2 && b.iter().all(|b| same(b, &value))), "{yaml}");
    }

    #[test]
    fn any_text_is_refused_or_read(text in "[-a-z0-9:#|>'\"{}\\[\\] \\n\\t&*!%?]{0,60}") {
        let _ = parse(&text);
    }
}

#[test]
fn the_real_helm_reads_what_is_written() {
    let mut runner = TestRunner::deterministic();
    let mut values: Vec<Value> =
        (0..300).map(|_| object().new_tree(&mut runner).unwrap().current()).collect();
    values.extend(texts().into_iter().map(|t| json!({ t.clone(): 1, "a": [t, {"b": t}], "z": t })));
    let yamls: Vec<String> = values.iter().map(to_yaml).collect();
    for go in Go::found() {
        for (index, (answer, value)) in go.read(&yamls).iter().zip(&values).enumerate() {
            let yaml = &yamls[index];
            assert!(same(answer, value), "{}: {answer}\nof {value}\n{yaml}", go.name());
        }
    }
}

#[test]
fn the_checked_in_answers_are_the_real_helms() {
    let yamls: Vec<String> = READ.iter().map(|(yaml, _)| (*yaml).to_owned()).collect();
    for go in Go::found() {
        for (answer, (yaml, expected)) in go.read(&yamls).iter().zip(READ) {
            let expected: Value = serde_json::from_str(expected).unwrap();
            assert!(same(answer, &expected), "{}: {answer}\nof {yaml:?}", go.name());
        }
    }
}
