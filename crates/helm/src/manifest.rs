//! Manifest text: objects to YAML that Helm reads back unchanged, and Helm's text to objects.
//!
//! Helm reads YAML with `sigs.k8s.io/yaml`, by the rules of YAML 1.1: `yes` is true, `0777` is 511,
//! `y:` is the key `true`. Both directions here follow it, and are compared with it in the tests.

mod emit;
mod read;

use serde_json::Value;

pub use emit::to_yaml;
pub use read::{MAX_DEPTH, ManifestError, parse, parse_with_lines, parse_within};

/// Returns the text of a record's field `manifest`: `---\n# Source: <source>\n<document>\n` per
/// object, in the order given, which Helm expects to be the install order: `renderResources` in
/// `pkg/action/action.go`. `source` is a path of one line, e.g. `shop/templates/web.yaml`; a line
/// break in it becomes a space.
pub fn render<'a>(objects: impl IntoIterator<Item = &'a Value>, source: &str) -> String {
    let source = source.replace(['\n', '\r'], " ");
    objects.into_iter().fold(String::new(), |mut text, object| {
        text.extend(["---\n# Source: ", &source, "\n", &to_yaml(object)]);
        text
    })
}

/// Returns the documents of a stream, each with the line it begins on (from 1), as `SplitManifests`
/// in `pkg/release/v1/util/manifest.go` splits them: at each line that begins with `---`, whatever
/// follows, so that `---kind: Job` begins a document too. Leading white space and blank documents
/// are removed; trailing white space stays.
fn split(text: &str) -> Vec<(usize, &str)> {
    // Helm trims the stream first, so an indented `---` may begin it.
    let mut start = text.len() - text.trim_start().len();
    let mut offset = start;
    let mut bounds = Vec::new();
    for line in text.trim_start().split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("---") {
            bounds.push(start..offset);
            start = offset + line.len() - rest.trim_start_matches([' ', '\t']).len();
        }
        offset += line.len();
    }
    bounds.push(start..text.len());

    let mut line = 1;
    let mut counted = 0;
    let documents = bounds.into_iter().filter_map(|bound| {
        // At line breaks and dashes, which are characters of one byte.
        let document = text.get(bound.clone())?.trim_start();
        let begin = bound.end - document.len();
        line += text.get(counted..begin)?.matches('\n').count();
        counted = begin;
        (!document.is_empty()).then_some((line, document))
    });
    documents.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_as_helm_does() {
        let cases: &[(&str, &[(usize, &str)])] = &[
            ("", &[]),
            ("---\n", &[]),
            ("\n ---\na: 1\n", &[(3, "a: 1\n")]),
            ("a: 1\n---\nb: 2", &[(1, "a: 1\n"), (3, "b: 2")]),
            ("---a: 1\n--- \t b: 2\n", &[(1, "a: 1\n"), (2, "b: 2\n")]),
            ("a: |\n  ---\n  x\n", &[(1, "a: |\n  ---\n  x\n")]),
            ("---\n\n\n  \n---\n\n x: 1\n", &[(7, "x: 1\n")]),
            ("# only\n---\n----\n", &[(1, "# only\n"), (3, "-\n")]),
            ("a: 1\r\n---\r\nb: 2\r\n", &[(1, "a: 1\r\n"), (3, "b: 2\r\n")]),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text), *expected, "{text:?}");
        }
    }
}
