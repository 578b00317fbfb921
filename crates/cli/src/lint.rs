//! `lint`: the findings about releases in files, or about a chart, for people, programs and code
//! scanning.

mod sarif;

use serde_json::{Value, json};

use crate::{
    Outcome,
    args::{FailOn, Lint, LintFormat},
    format,
    plan::{self, Finding, Level},
    screen,
    words::{Colour, Look, printable},
};

pub(crate) async fn lint(args: &Lint) -> anyhow::Result<Outcome> {
    let findings = plan::check(&args.input, args.namespace.as_deref()).await?;
    screen::write(&match args.output {
        LintFormat::Table => table(&findings, screen::look()),
        LintFormat::Json => format::json(&json(&findings)),
        LintFormat::Sarif => format::json(&sarif::sarif(&findings, &args.input.title())),
    })?;
    let lowest = match args.fail_on {
        FailOn::Error => Level::Error,
        FailOn::Warning => Level::Warning,
    };
    let fails = findings.iter().any(|finding| finding.rule.level >= lowest);
    Ok(if fails { Outcome::Failed } else { Outcome::Good })
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.rule.level == level).count()
}

fn events(finding: &Finding) -> Vec<String> {
    finding.events.iter().map(ToString::to_string).collect()
}

fn json(findings: &[Finding]) -> Value {
    let all: Vec<_> = findings
        .iter()
        .map(|finding| {
            let (file, line) = finding.place.clone().unzip();
            json!({
                "rule": finding.rule.id,
                "level": finding.rule.level.as_str(),
                "message": finding.message,
                "release": finding.release,
                "namespace": finding.namespace,
                "events": events(finding),
                "object": finding.object,
                "file": file,
                "line": line.flatten(),
            })
        })
        .collect();
    json!({
        "apiVersion": "cli.releaselifecycle.dev/v1",
        "kind": "Lint",
        "findings": all,
        "errors": count(findings, Level::Error),
        "warnings": count(findings, Level::Warning),
        "notes": count(findings, Level::Note),
    })
}

/// Returns the findings for people: one line each, and how many there are.
fn table(findings: &[Finding], look: Look) -> String {
    let numbered = |(level, word): (Level, &str)| match count(findings, level) {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let levels = [(Level::Error, "error"), (Level::Warning, "warning"), (Level::Note, "note")];
    let counts: Vec<_> = levels.into_iter().map(numbered).collect();
    let lines = findings.iter().map(|finding| line(finding, look)).chain([counts.join(", ")]);
    lines.map(|line| format!("{line}\n")).collect()
}

fn line(finding: &Finding, look: Look) -> String {
    let place = match &finding.place {
        Some((file, Some(line))) => format!("{file}:{line}: "),
        Some((file, None)) => format!("{file}: "),
        None => String::new(),
    };
    let level = finding.rule.level;
    let colour = match level {
        Level::Error => Colour::Red,
        Level::Warning => Colour::Yellow,
        Level::Note => Colour::Dim,
    };
    let mut about = vec![finding.rule.id.to_owned()];
    about.extend(events(finding));
    let (place, message) = (printable(&place), printable(&finding.message.replace('\n', " ")));
    let level = look.paint(colour, level.as_str());
    format!("{place}{level}: {message} [{}]", about.join(", "))
}

#[cfg(test)]
mod tests {
    use lifecycle::event::Event;

    use super::*;
    use crate::plan::RULES;

    pub(super) fn finding(level: Level, message: &str) -> Finding {
        let rule = RULES.into_iter().find(|rule| rule.level == level).unwrap();
        Finding {
            rule,
            message: message.to_owned(),
            release: Some("shop".to_owned()),
            namespace: Some("prod".to_owned()),
            events: vec![Event::Install, Event::Upgrade],
            object: Some("Job/a".to_owned()),
            place: Some(("a b.yaml".to_owned(), Some(3))),
        }
    }

    #[test]
    fn each_finding_has_a_line_with_its_place() {
        let nowhere =
            Finding { place: None, events: vec![], ..finding(Level::Error, "no\u{1b}[2J") };
        let text = table(&[finding(Level::Warning, "first\nsecond"), nowhere], Look::PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "a b.yaml:3: warning: first second [needs-later-object, install, upgrade]"
        );
        assert!(lines[1].starts_with("error: no") && !lines[1].contains('\u{1b}'), "{text:?}");
        assert_eq!(lines[2], "1 error, 1 warning, 0 notes");
        assert_eq!(table(&[], Look::PLAIN), "0 errors, 0 warnings, 0 notes\n");
    }

    #[test]
    fn programs_get_every_field() {
        let found = json(&[finding(Level::Note, "it")]);
        assert_eq!(found["notes"], 1);
        assert_eq!(
            found["findings"][0],
            json!({"rule": "needs-cluster", "level": "note", "message": "it", "release": "shop",
                   "namespace": "prod", "events": ["install", "upgrade"], "object": "Job/a", "file": "a b.yaml", "line": 3})
        );
    }
}
