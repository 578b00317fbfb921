//! Findings of `kubectl lifecycle lint` in the charts that are installed here. The page on pre-flight
//! has the table.

use std::{collections::BTreeMap, fmt::Write as _, process::Command};

use anyhow::{Context, Result, ensure};
use e2e::internals;
use serde_json::Value;
use testkit::programs;

use crate::{RELEASE, charts::Case, real};

/// The findings in one case.
#[derive(Default)]
struct Found {
    hooks: usize,
    errors: usize,
    rules: BTreeMap<String, usize>,
}

#[test]
fn a_chart_that_installs_has_no_error_and_the_page_has_what_is_warned_of() -> Result<()> {
    let program = programs::build("dev")?.join("kubectl-lifecycle");
    let run = |args: &[&str], case: &Case| -> Result<Value> {
        let output = Command::new(&program)
            .args(args)
            .args([RELEASE, &case.folder.to_string_lossy(), "-n", RELEASE, "-o", "json"])
            .args(case.flags())
            .output()?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{}: {}", case.name, String::from_utf8_lossy(&output.stderr)))
    };
    let look = |case: &Case| -> Result<Found> {
        let plan = run(&["plan"], case)?;
        let steps = plan["events"].as_array().into_iter().flatten();
        let steps = steps.filter_map(|event| event["steps"].as_array()).flatten();
        let hooks = steps.filter(|step| step["step"] == "hook").count();
        let lint = run(&["lint"], case)?;
        let mut found = Found { hooks, ..Found::default() };
        for finding in lint["findings"].as_array().context("findings")? {
            if finding["level"] == "error" {
                found.errors += 1;
                eprintln!("{}: {}", case.name, finding["message"]);
            }
            *found
                .rules
                .entry(finding["rule"].as_str().unwrap_or_default().to_owned())
                .or_default() += 1;
        }
        Ok(found)
    };
    let (mut table, mut sum) = (String::new(), Found::default());
    let mut line = |name: &str, found: &Found| {
        let rules = found.rules.iter().map(|(rule, count)| format!("{count} `{rule}`"));
        let rules: Vec<_> = rules.collect();
        let rules = if rules.is_empty() { "none".to_owned() } else { rules.join(", ") };
        writeln!(table, "| {name} | {} | {} | {rules} |", found.hooks, found.errors)
    };
    let cases = real::all()?;
    let mut warned = 0;
    for case in &cases {
        let found = look(case)?;
        line(&case.name, &found)?;
        warned += usize::from(!found.rules.is_empty());
        sum.hooks += found.hooks;
        sum.errors += found.errors;
        for (rule, count) in found.rules {
            *sum.rules.entry(rule).or_default() += count;
        }
    }
    line(&format!("**all {}, {warned} with findings**", cases.len()), &sum)?;
    let head = "| chart, and its values | runs of hooks | errors | findings |\n|---|--:|--:|---|";
    let table = format!("{head}\n{table}");
    let errors = sum.errors;
    println!("{table}");
    ensure!(errors == 0, "{errors} errors in charts that install");
    internals::compare_in("docs/src/preflight.md", "charts", &table)
}
