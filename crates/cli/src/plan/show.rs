//! `--show-only`: the rendered templates, as `helm template --show-only` writes them. Pure.

use engine::protocol::{Document, Rendered};

/// Returns the documents of the templates that `wanted` names, in this order.
pub(super) fn only(rendered: &Rendered, wanted: &[String]) -> Result<String, Vec<String>> {
    // As Helm lists them: the objects, then the hooks.
    let hooks = rendered.hooks.iter().map(|hook| &hook.document);
    let documents: Vec<_> = rendered.objects.iter().chain(hooks).collect();
    let mut text = String::new();
    let mut problems = Vec::new();
    for pattern in wanted {
        let matched: Vec<_> =
            documents.iter().filter(|it| matches(pattern, inner(&it.path))).collect();
        if matched.is_empty() {
            problems.push(missing(pattern, &documents));
        }
        for Document { path, manifest } in matched {
            text.extend(["---\n# Source: ", path, "\n", manifest.trim_end(), "\n"]);
        }
    }
    if problems.is_empty() { Ok(text) } else { Err(problems) }
}

/// Returns the path without the chart's name, as Helm's users write it.
fn inner(path: &str) -> &str {
    path.split_once('/').map_or(path, |(_, inner)| inner)
}

fn missing(pattern: &str, documents: &[&Document]) -> String {
    let mut there: Vec<_> = documents.iter().map(|it| inner(&it.path)).collect();
    there.sort_unstable();
    there.dedup();
    let more = if there.len() > 20 { ", …" } else { "" };
    there.truncate(20);
    format!(
        "--show-only {pattern}: no template of that name renders to anything here; those that do: \
         {}{more}",
        there.join(", ")
    )
}

/// Returns whether the path matches the pattern: the path itself, one with `*` and `?` in it,
/// neither of which is a `/`, or the folder that it is in.
fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    if pattern.ends_with('/') {
        return path.starts_with(pattern);
    }
    fits(pattern.as_bytes(), path.as_bytes())
}

/// Matches in time that grows with the product of the lengths: only the last `*` is ever tried
/// again.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut again = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') if text[t] != b'/' => {}
            Some(literal) if *literal == text[t] => {}
            _ => {
                // The last `*` takes one more, unless that is the end of a folder's name.
                let Some((star, from)) = again.filter(|(_, from)| text[*from] != b'/') else {
                    return false;
                };
                again = Some((star, from + 1));
                (p, t) = (star + 1, from + 1);
                continue;
            }
        }
        p += 1;
        t += 1;
    }
    pattern[p..].iter().all(|it| *it == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered() -> Rendered {
        serde_json::from_value(serde_json::json!({
            "objects": [
                {"path": "shop/templates/web.yaml", "manifest": "kind: A\n"},
                {"path": "shop/templates/web.yaml", "manifest": "kind: B"},
                {"path": "shop/charts/db/templates/db.yaml", "manifest": "kind: C"},
            ],
            "hooks": [{"path": "shop/templates/hooks/a.yaml", "manifest": "kind: D\n\n"}],
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(wanted: &[&str], expected: &str) {
        let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
        assert_eq!(only(&rendered(), &wanted).unwrap(), expected);
    }

    #[test]
    fn a_template_is_named_by_its_path_a_pattern_or_its_folder() {
        let web = "---\n# Source: shop/templates/web.yaml\nkind: A\n\
                   ---\n# Source: shop/templates/web.yaml\nkind: B\n";
        let hook = "---\n# Source: shop/templates/hooks/a.yaml\nkind: D\n";
        check(&["templates/web.yaml"], web);
        check(&["templates/*"], web);
        check(&["templates/w?b.y*l", "templates/hooks/"], &format!("{web}{hook}"));
        check(&["templates/hooks/a.yaml", "templates/web.yaml"], &format!("{hook}{web}"));
        check(&["./templates/hooks/*"], hook);
        let db = "---\n# Source: shop/charts/db/templates/db.yaml\nkind: C\n";
        check(&["charts/*/templates/*.yaml"], db);
    }

    #[test]
    fn what_names_nothing_is_told_beside_what_there_is() {
        let problems = only(&rendered(), &["web.yaml".to_owned(), "*".to_owned()]).unwrap_err();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("--show-only web.yaml: no template"), "{problems:?}");
        assert!(
            problems[0].ends_with(
                "charts/db/templates/db.yaml, templates/hooks/a.yaml, templates/web.yaml"
            )
        );
    }

    #[test]
    fn a_star_stays_within_its_folder() {
        for (pattern, text, expected) in [
            ("a*", "abc", true),
            ("a*c", "abcbc", true),
            ("a*c", "abcb", false),
            ("*/c", "a/b/c", false),
            ("a/*/c", "a/b/c", true),
            ("*", "a/b", false),
            ("**", "ab", true),
            ("a?", "a", false),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
