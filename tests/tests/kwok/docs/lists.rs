//! Lists in pages: each other, files, flags, metrics.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use e2e::{
    Chart, Namespace,
    documentation::{Page, book, pages},
    kwok,
    manifests::{Manifest, config_map, job},
    markdown, root,
};
use serde_json::{Value, json};
use testkit::programs;

fn anchors(page: &str) -> Vec<String> {
    markdown::headings(page).iter().map(|(_, heading)| markdown::anchor(heading)).collect()
}

/// Returns what is wrong with a link of the page at `path`.
fn broken(path: &Path, text: &str, link: &str) -> Result<Option<String>> {
    if link.starts_with("https://") {
        return Ok(None);
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = path.parent().context("a folder")?.join(file);
    if !file.is_empty() && !target.exists() {
        return Ok(Some(format!("{}: {link} leads nowhere", path.display())));
    }
    // The built book has nothing else.
    let book = book().canonicalize()?;
    if path.canonicalize()?.starts_with(&book) && !target.canonicalize()?.starts_with(&book) {
        return Ok(Some(format!("{}: {link} leads out of the book", path.display())));
    }
    if anchor.is_empty() {
        return Ok(None);
    }
    let target = if file.is_empty() { text.to_owned() } else { fs::read_to_string(&target)? };
    let known = anchors(&target).iter().any(|it| it == anchor);
    Ok((!known).then(|| format!("{}: {link} has no such heading", path.display())))
}

#[test]
fn every_link_and_path_leads_somewhere() -> Result<()> {
    let mut wrong = Vec::new();
    let beside = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "engine/README.md",
        "examples/guide/README.md",
        "examples/guide-chart/README.md",
        "deploy/chart/README.md",
    ];
    let beside = beside.map(|name| root().join(name));
    for path in pages()?.into_iter().chain(beside) {
        let text = fs::read_to_string(&path)?;
        for link in markdown::links(&text) {
            wrong.extend(broken(&path, &text, &link)?);
        }
        // A module is often named without its ending.
        let is_there =
            |it: &str| [it, &format!("{it}.rs")].iter().any(|it| root().join(it).exists());
        let missing = markdown::paths(&text).into_iter().filter(|it| !is_there(it));
        wrong.extend(missing.map(|it| format!("{}: there is no {it}", path.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn the_summary_lists_every_page_and_each_block_has_a_language() -> Result<()> {
    let summary = fs::read_to_string(book().join("SUMMARY.md"))?;
    let listed: BTreeSet<_> = markdown::links(&summary).into_iter().collect();
    let mut there = BTreeSet::new();
    for path in pages()? {
        let name = path.strip_prefix(book())?.to_string_lossy().into_owned();
        let without = |block: &&markdown::Block| block.language.is_empty();
        if let Some(block) = Page::read(&path)?.blocks().iter().find(without) {
            panic!("{name} line {}: the block has no language", block.line);
        }
        there.insert(name);
    }
    there.remove("SUMMARY.md");
    assert_eq!(listed, there);
    Ok(())
}

/// The text of all Rust files below `folder`.
fn code(folder: &Path, text: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            code(&path, text)?;
        } else if path.extension().is_some_and(|it| it == "rs") {
            text.push_str(&fs::read_to_string(path)?);
        }
    }
    Ok(())
}

#[test]
fn contributing_names_every_variable_that_tests_read() -> Result<()> {
    /// Of the system, of Cargo, and between a test and its own child process.
    const OTHERS: [&str; 5] =
        ["CARGO", "CARGO_TARGET_DIR", "PATH", "TESTKIT_HOLD_CLUSTER", "RUST_TEST_THREADS"];
    let mut text = String::new();
    for folder in ["tests", "crates/lifecycle/tests", "crates/helm/tests", "crates/testkit"] {
        code(&root().join(folder), &mut text)?;
    }
    let reads = text.split("env::var").skip(1).filter_map(|rest| rest.split_once("(\""));
    let reads = reads.filter(|(between, _)| ["", "_os"].contains(between));
    let mut read: BTreeSet<_> = reads.filter_map(|(_, rest)| rest.split('"').next()).collect();
    read.retain(|name| !OTHERS.contains(name));
    let page = fs::read_to_string(root().join("CONTRIBUTING.md"))?;
    let codes = page.split('`').skip(1).step_by(2).filter_map(|code| code.split_once('='));
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let named: BTreeSet<_> = codes.map(|(name, _)| name).filter(is_name).collect();
    let missing: Vec<_> = read.difference(&named).collect();
    assert!(missing.is_empty(), "CONTRIBUTING.md lacks {missing:?}");
    code(&root().join("crates/xtask"), &mut text)?;
    text.push_str(&fs::read_to_string(root().join("Makefile"))?);
    let is_read = |name: &&&str| {
        text.contains(&format!("\"{name}\"")) || text.contains(&format!("$({name})"))
    };
    let stale: Vec<_> =
        named.iter().filter(|name| !OTHERS.contains(name)).filter(|it| !is_read(it)).collect();
    assert!(stale.is_empty(), "nothing reads {stale:?}");
    Ok(())
}

/// The reference, the flags of the operator, the commands of kubectl-lifecycle.
#[test]
fn what_is_generated_is_what_the_code_says() -> Result<()> {
    let xtask = programs::build("dev")?.join("xtask");
    let output = Command::new(xtask).args(["generate", "--check"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Names and the names of their labels, as a page's table has them.
fn documented(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| `releaselifecycle_"));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1);
        let codes = |cell: &str| -> Vec<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        let name = codes(cells.next().unwrap_or_default()).concat();
        (name, codes(cells.next().unwrap_or_default()).into_iter().collect())
    })
    .collect()
}

/// The same, as `/metrics` has them.
fn served(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut metrics: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for (name, kind) in types {
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        metrics.insert(name, BTreeSet::new());
    }
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, labels)) = sample.split_once('{') else { continue };
        let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        if let Some(known) = metrics.get_mut(name) {
            known.extend(labels.map(|(label, _)| label.to_owned()));
        }
    }
    metrics
}

/// The expressions of the alerts and of the dashboard.
fn expressions() -> Result<Vec<String>> {
    let read = |name: &str| fs::read_to_string(root().join("deploy/monitoring").join(name));
    let rule: Value = serde_saphyr::from_str(&read("prometheus-rule.yaml")?)?;
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")?)?;
    let each = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for group in each(&rule["spec"]["groups"]) {
        found.extend(each(&group["rules"]));
    }
    for panel in each(&dashboard["panels"]) {
        found.extend(each(&panel["targets"]));
    }
    let text = |it: &Value| it["expr"].as_str().map(str::to_owned);
    found.iter().map(|it| text(it).with_context(|| format!("no expression in {it}"))).collect()
}

/// The words of an expression: names of metrics, labels and functions.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|symbol: char| !symbol.is_alphanumeric() && symbol != '_')
        .filter(|it| !it.is_empty())
}

/// The words in the brackets that follow `open`, as in `by (a, b)` or in `metric{a="b"}`, without what is
/// quoted.
fn labels_after(text: &str, open: &str, close: char) -> Vec<String> {
    let parts = text.split(open).skip(1);
    let unquoted = parts.map(|part| {
        let inside = part.split(close).next().unwrap_or_default();
        inside.split('"').step_by(2).collect::<String>()
    });
    unquoted.flat_map(|inside| words(&inside).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() -> Result<()> {
    let metrics = documented(&Page::of_docs("operations.md")?.text);
    let all = expressions()?;
    ensure!(all.len() > 20, "{all:#?}");
    for text in &all {
        let mut labels = BTreeSet::from(["le".to_owned()]);
        let named = words(text).filter(|word| word.starts_with("releaselifecycle_"));
        for name in named {
            let base = name.strip_suffix("_bucket").unwrap_or(name);
            let known = metrics.get(base).with_context(|| format!("{name} of {text}"))?;
            labels.extend(known.iter().cloned());
        }
        let used = [labels_after(text, "by (", ')'), labels_after(text, "{", '}')].concat();
        let unknown: Vec<_> = used.iter().filter(|label| !labels.contains(*label)).collect();
        ensure!(unknown.is_empty(), "{unknown:?} of {text}");
    }
    let page = Page::of_docs("operations.md")?.text;
    let rule = fs::read_to_string(root().join("deploy/monitoring/prometheus-rule.yaml"))?;
    for alert in rule.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        ensure!(page.contains(&format!("| `{alert}` |")), "{alert} is not in operations.md");
    }
    Ok(())
}

#[tokio::test]
async fn the_metrics_are_those_that_are_served() -> Result<()> {
    let namespace = Namespace::new(kwok(), "metrics").await?;
    let controller = namespace.controller_with(&["--metrics-per-release"])?;
    let nobody = json!({"serviceAccountName": "nobody"});
    namespace.release("lost", &[config_map("lost", "1")], nobody).await?;
    namespace.wait_stalled("lost", &controller).await?;
    let nowhere = json!({"oci": {"url": "oci://127.0.0.1:1/shop", "version": "1.0.0"}});
    namespace.release("far", &[], json!({"source": {"chart": nowhere}})).await?;
    let chart = Chart::new(&namespace, "blog")?
        .file("templates/map.yaml", &config_map("blog", "1").to_string())?;
    chart.put(&namespace).await?;
    namespace.release("blog", &[], chart.source()).await?;
    namespace.wait_ready("blog", &controller).await?;
    namespace.wait_observed("far", &controller).await?;
    // An operation is counted right after its end was written: when the second has ended, the first
    // has been counted.
    for value in ["1", "2"] {
        let objects = [job("hook").hook("pre-install"), config_map("shop", value)];
        namespace.release("shop", &objects, json!({})).await?;
        namespace.wait_ready("shop", &controller).await?;
    }
    let (_, text) = controller.http("/metrics")?;
    let page = Page::of_docs("operations.md")?;
    let mut served = served(&text);
    // Only while releases wait, see the unit test of the metrics.
    served.insert("releaselifecycle_waiting".to_owned(), ["namespace".to_owned()].into());
    assert_eq!(documented(&page.text), served, "{text}");
    Ok(())
}
