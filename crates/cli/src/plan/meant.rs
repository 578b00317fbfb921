//! The meaning of the arguments. Pure.

use std::path::Path;

use anyhow::bail;

use crate::args::Input;

/// The subject of the plan.
#[derive(Debug, PartialEq)]
pub(super) enum Meant<'a> {
    /// This release of the cluster.
    Release(&'a str),
    /// The content of the files: the release of this name, or the only one.
    Files(Option<&'a str>),
    /// A chart, as a release of this name.
    Chart { name: Option<&'a str>, chart: &'a str },
}

/// Returns the meaning of the arguments.
///
/// # Errors
/// If flags do not fit together.
pub(super) fn meant(args: &Input) -> anyhow::Result<Meant<'_>> {
    let meant = match (args.name.as_deref(), args.chart.as_deref()) {
        (Some(chart), None) if is_chart(chart) => Meant::Chart { name: None, chart },
        (name, Some(chart)) => Meant::Chart { name, chart },
        (Some(name), None) if !args.has_files() => Meant::Release(name),
        (name, None) => Meant::Files(name),
    };
    let template = &args.template;
    if matches!(meant, Meant::Chart { .. }) {
        if args.is_recursive() {
            bail!("-R is for folders of manifests; with a CHART, -f names files of values");
        }
        if template.other_chart.is_some() {
            bail!(
                "--chart is for a ReleaseLifecycle; there is a CHART among the arguments already"
            );
        }
        return Ok(meant);
    }
    for (flag, is_given) in [
        ("--values", !template.values.is_empty()),
        ("--set", !template.set.is_empty()),
        ("--set-string", !template.set_string.is_empty()),
    ] {
        if is_given {
            bail!(
                "{flag} is for a chart on the command line, plan [NAME] CHART, where CHART is a \
                 path with a / in it, an archive .tgz or oci://…; a ReleaseLifecycle has its values \
                 in its spec"
            );
        }
    }
    if template.other_chart.is_none() && template.is_for_registries() {
        bail!(
            "--version, --plain-http, --username and --ca-file are for a chart that CHART or \
             --chart names"
        );
    }
    Ok(meant)
}

/// Returns whether a single argument is a chart: no release can have such a name, unless it ends
/// in `.tgz`.
fn is_chart(argument: &str) -> bool {
    let is_archive = Path::new(argument).extension().is_some_and(|it| it == "tgz");
    argument.contains('/') || [".", ".."].contains(&argument) || is_archive
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[track_caller]
    fn check(line: &str, expected: Result<Meant<'_>, &str>) {
        let words = ["kubectl-lifecycle", "plan"].into_iter().chain(line.split(' '));
        let Command::Plan(args) = Cli::parse_from(words).command else { panic!("a plan") };
        match (meant(&args.input), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{line}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_path_is_a_chart_and_a_word_a_release() {
        let chart = |name, chart| Ok(Meant::Chart { name, chart });
        check("shop", Ok(Meant::Release("shop")));
        check("shop -f a.yaml", Ok(Meant::Files(Some("shop"))));
        check("-f a.yaml", Ok(Meant::Files(None)));
        check("./shop", chart(None, "./shop"));
        check(".", chart(None, "."));
        check("shop-1.0.0.tgz", chart(None, "shop-1.0.0.tgz"));
        check("oci://registry.example/shop", chart(None, "oci://registry.example/shop"));
        check("shop shop", chart(Some("shop"), "shop"));
        check("shop ./shop -f values.yaml --set a=1", chart(Some("shop"), "./shop"));
        check("-f values.yaml ./shop", chart(None, "./shop"));
        check("shop ./shop --values values.yaml", chart(Some("shop"), "./shop"));
        check("-f a.yaml --chart ./shop --version 1", Ok(Meant::Files(None)));
    }

    #[test]
    fn flags_that_would_mean_nothing_are_refused() {
        check("shop --set a=1", Err("--set is for a chart on the command line"));
        check("-f a.yaml --set-string a=1", Err("--set-string is for a chart"));
        check("shop --values a.yaml", Err("--values is for a chart"));
        check(
            "shop --version 1",
            Err("--version, --plain-http, --username and --ca-file are for a chart"),
        );
        check("./shop -R -f a", Err("-R is for folders of manifests"));
        check("./shop --chart ./other", Err("there is a CHART among the arguments already"));
    }
}
