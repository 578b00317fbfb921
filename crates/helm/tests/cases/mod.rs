//! Values and texts that YAML readers disagree about, and Helm's reader to ask.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use serde_json::{Map, Value};

/// YAML, and what Go (`sigs.k8s.io/yaml` 1.6.0 in Helm 3.22.0 and 4.3.1) makes of it.
pub(crate) const READ: &[(&str, &str)] = &[
    ("a: yes\nb: on\nc: NO\nd: y\ne: Off", r#"{"a":true,"b":true,"c":false,"d":true,"e":false}"#),
    ("y: 1\nx: 2", r#"{"true":1,"x":2}"#),
    ("on: 1\n'off': 2", r#"{"true":1,"off":2}"#),
    ("a: 0777\nb: 010\nc: 007\nd: 08\ne: 0o17", r#"{"a":511,"b":8,"c":7,"d":8,"e":15}"#),
    ("010: a\n1.0: b\n1e3: c", r#"{"8":"a","1":"b","1000":"c"}"#),
    (
        "a: 1_000\nb: 0x1F\nc: 0b11\nd: 1e3\ne: .5\nf: +1",
        r#"{"a":1000,"b":31,"c":3,"d":1000,"e":0.5,"f":1}"#,
    ),
    ("a: 2.0\nb: -3.0\nc: 1e20\nd: 1.5", r#"{"a":2,"b":-3,"c":1e20,"d":1.5}"#),
    ("a: 12345678901234567890123", r#"{"a":1.2345678901234568e22}"#),
    (
        "a: 18446744073709551615\nb: -9223372036854775808",
        r#"{"a":18446744073709551615,"b":-9223372036854775808}"#,
    ),
    (
        "a: 2001-01-01\nb: 12:30\nc: =\nd: 1:2:3",
        r#"{"a":"2001-01-01","b":"12:30","c":"=","d":"1:2:3"}"#,
    ),
    ("2001-01-01: 1", r#"{"2001-01-01":1}"#),
    ("a: ~\nb: null\nc:\nd: Null\ne: ''", r#"{"a":null,"b":null,"c":null,"d":null,"e":""}"#),
    ("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3", r#"{"a":{"b":1,"c":2},"d":{"b":1,"c":3}}"#),
    ("a: 1\na: 2", r#"{"a":2}"#),
    ("a: !foo bar\nb: !!binary aGVsbG8=\nc: !!str 1", r#"{"a":"bar","b":"hello","c":"1"}"#),
    (
        "a: |\n  x\n\n  y\nb: >\n  x\n  y\nc: |-\n  x\nd: |+\n  x\n\n",
        r#"{"a":"x\n\ny\n","b":"x y\n","c":"x","d":"x\n\n"}"#,
    ),
    ("a: \"\\x41\\u00e9\\n\"\nb: 'it''s'\nc: a b # c", r#"{"a":"Aé\n","b":"it's","c":"a b"}"#),
    ("a:\n- 1\n-   - 2\n- {b: [c, d]}", r#"{"a":[1,[2],{"b":["c","d"]}]}"#),
    ("a: b\r\nc: d\r\n", r#"{"a":"b","c":"d"}"#),
    ("{\"a\": 1, \"b\": [true, null]}", r#"{"a":1,"b":[true,null]}"#),
];

const TOKENS: &[&str] = &[
    "y",
    "Y",
    "n",
    "yes",
    "on",
    "On",
    "NO",
    "off",
    "true",
    "null",
    "Null",
    "~",
    "",
    "=",
    "<<",
    "0777",
    "08",
    "0o17",
    "0x1f",
    "0b1",
    "1e3",
    "1E-3",
    "1_000",
    "_1",
    "+1",
    "-0",
    "-.5",
    "1.",
    ".5",
    ".inf",
    "-.INF",
    ".nan",
    "nan",
    "12:30",
    "190:20:30",
    "1:2:3.5",
    "2001-01-01",
    "2001-1-1 1:2:3.4 +1:00",
    "-",
    "- ",
    "--",
    "---",
    "--- ",
    "---x",
    "...",
    "?",
    "? ",
    ":",
    ": ",
    ":a",
    "a:",
    "a: b",
    "#",
    " #",
    "a #b",
    "!",
    "!x",
    "!!str 1",
    "&a",
    "*a",
    "|",
    "|-",
    ">",
    "%",
    "%YAML",
    "@",
    "`",
    "'",
    "\"",
    "\\",
    "{",
    "}",
    "{}",
    "[",
    "]",
    ",",
    " ",
    "  ",
    " a",
    "a ",
    "\t",
    "\ta",
    "a\t",
    "\n",
    "\n\n",
    "a\n",
    "a\nb",
    "a\nb\n",
    "a\n\n",
    "\na",
    "\n\na\n",
    " \n",
    " a\nb",
    "  \n a\n",
    "\ta\nb",
    "\n\ta\n",
    " \ta\nb",
    "a\n\tb\n",
    "a\n---\nb\n",
    "---\na",
    "a\n...\n",
    "#a\nb",
    "a  \nb ",
    "a\n \nb",
    "- a\n- b",
    "a: b\nc",
    "\r",
    "a\r\nb\r\n",
    "\u{0}",
    "\u{7}",
    "\u{1b}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{ad}",
    "\u{2028}a\nb",
    "\u{2029}",
    "\u{feff}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{e000}",
    "é",
    "日本",
    "😀",
    "{{ .x }}",
    "$(A)",
    "#!/bin/sh\nset -e\n",
    "aGVsbG8=",
    "key.with/slash",
    "100m",
    "1Gi",
    "v1.2.3",
    "0.0.0.0/0",
    "::1",
];

/// Every token, some long texts, and some pairs.
pub(crate) fn texts() -> Vec<String> {
    let mut texts: Vec<String> = TOKENS.iter().map(ToString::to_string).collect();
    texts.extend(["k".repeat(2000), "word ".repeat(400), "é\n".repeat(300), "a: b ".repeat(50)]);
    let pairs = TOKENS.iter().zip(TOKENS.iter().cycle().skip(7));
    texts.extend(pairs.map(|(a, b)| format!("{a}{b}")));
    texts
}

/// Arbitrary JSON objects, with more trouble in them than chance would bring.
pub(crate) fn object() -> impl Strategy<Value = Value> {
    let text = || {
        let token = || prop::sample::select(TOKENS).prop_map(str::to_owned);
        prop_oneof![
            3 => token(),
            2 => prop::collection::vec(token(), 0..6).prop_map(|parts| parts.concat()),
            1 => any::<String>(),
            1 => "[ -~\\n\\t]{0,40}",
        ]
    };
    let leaf = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ];
    let fields = move |inner: BoxedStrategy<Value>| {
        prop::collection::vec((text(), inner), 0..4)
            .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()))
    };
    let value = leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            fields(inner.boxed())
        ]
    });
    fields(value.boxed())
}

/// Equal as JSON: 1.0 is 1, and integers beyond 2^53 are compared as Helm's `fromYaml` has them.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || left.as_f64() == right.as_f64()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| same(left, right)))
        }
        _ => left == right,
    }
}

/// A real Helm, asked what it reads.
pub(crate) struct Go(PathBuf);

impl Go {
    /// Helm 4 and Helm 3, from `$HELM_BIN_DIR` or where `cargo xtask cluster` builds them.
    pub(crate) fn found() -> Vec<Self> {
        let dir = std::env::var_os("HELM_BIN_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/cluster/bin"),
            PathBuf::from,
        );
        let (found, absent): (Vec<_>, Vec<_>) = ["helm", "helm3"]
            .map(|name| dir.join(name))
            .into_iter()
            .partition(|path| path.exists());
        for path in absent {
            println!("skipped: not compared with {}, which is not there", path.display());
        }
        found.into_iter().map(Self).collect()
    }

    pub(crate) fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// Returns what `fromYaml` makes of each document.
    pub(crate) fn read(&self, yamls: &[String]) -> Vec<Value> {
        let chart = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = chart.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("Chart.yaml", "apiVersion: v2\nname: compare\nversion: 1.0.0\n");
        write(
            "templates/all.yaml",
            "answers:\n{{ range $path, $_ := .Files.Glob \"cases/*\" }}\
             - {{ $.Files.Get $path | fromYaml | toJson | b64enc }}\n{{ end }}",
        );
        for (index, yaml) in yamls.iter().enumerate() {
            write(&format!("cases/{index:06}"), yaml);
        }
        let output = Command::new(&self.0)
            .args(["template", "compare", "."])
            .current_dir(chart.path())
            .env("HOME", chart.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("- "))
            .map(|line| {
                use base64::Engine as _;
                let json = base64::engine::general_purpose::STANDARD.decode(line).unwrap();
                serde_json::from_slice(&json).unwrap()
            })
            .collect();
        assert_eq!(answers.len(), yamls.len());
        answers
    }
}
