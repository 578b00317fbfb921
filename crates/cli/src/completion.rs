//! Completion: scripts for shells, and answers for kubectl, which completes its plugins itself.

use std::time::Duration;

use clap::{Command, CommandFactory as _};
use clap_complete::aot;
use kube::ResourceExt;

use crate::{
    Outcome,
    args::{Cli, Place, Shell},
    cluster::Cluster,
    screen,
};

const PROGRAM: &str = "kubectl-lifecycle";
/// The script that kubectl runs as `kubectl_complete-lifecycle`.
const FOR_KUBECTL: &str = "#!/bin/sh\nexec kubectl-lifecycle __complete -- \"$@\"\n";
/// Users do not wait longer for a key.
const PATIENCE: Duration = Duration::from_secs(2);
/// The last line tells kubectl not to complete file names, or to do so.
const NO_FILES: &str = ":4\n";
const FILES: &str = ":0\n";

pub(crate) fn script(shell: Shell) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    let mut command = Cli::command().bin_name(PROGRAM);
    let shell = match shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
        Shell::Kubectl => {
            screen::write(FOR_KUBECTL)?;
            return Ok(Outcome::Good);
        }
    };
    aot::generate(shell, &mut command, PROGRAM, &mut script);
    screen::write(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Good)
}

/// Answers in kubectl's format: a line for each candidate, and one with a directive.
pub(crate) async fn complete(words: &[String]) -> anyhow::Result<Outcome> {
    let (typed, before) = words.split_last().map_or(("", &[][..]), |(last, rest)| (last, rest));
    let mut next = next(&Cli::command(), before, typed);
    if next.wants_name {
        next.candidates = names(before).await;
    }
    if let Some(name) = &next.wants_hook_of {
        next.candidates = hooks(before, name).await;
    }
    if next.wants_release {
        next.candidates = releases(before).await;
    }
    next.candidates.retain(|candidate| candidate.starts_with(typed));
    let mut text: String = next.candidates.iter().map(|it| format!("{it}\n")).collect();
    text.push_str(if next.wants_file { FILES } else { NO_FILES });
    screen::write(&text)?;
    Ok(Outcome::Good)
}

/// The candidates for the next word.
#[derive(Debug, Default, PartialEq)]
struct Next {
    candidates: Vec<String>,
    /// True for the name of a ReleaseLifecycle.
    wants_name: bool,
    /// The name of the ReleaseLifecycle one of whose hooks is wanted.
    wants_hook_of: Option<String>,
    /// True for the name of a release of Helm's.
    wants_release: bool,
    wants_file: bool,
}

fn next(root: &Command, before: &[String], typed: &str) -> Next {
    let Some((word, rest)) = before.split_first() else {
        let visible = root.get_subcommands().filter(|command| !command.is_hide_set());
        let candidates = visible.map(|command| command.get_name().to_owned()).collect();
        return Next { candidates, ..Next::default() };
    };
    let Some(command) = root.find_subcommand(word) else { return Next::default() };
    let values = |arg: &clap::Arg| {
        let values = arg.get_possible_values().into_iter();
        values.map(|value| value.get_name().to_owned()).collect::<Vec<_>>()
    };
    let option = |word: &str| {
        command.get_arguments().find(|arg| {
            let long = arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
            let short = arg.get_short().is_some_and(|short| *word == format!("-{short}"));
            arg.get_action().takes_values() && (long || short)
        })
    };
    if let Some(arg) = rest.last().and_then(|last| option(last)) {
        let wants_file = ["files", "values", "other_chart", "ca_file", "engine", "kubeconfig"]
            .contains(&arg.get_id().as_str());
        return Next { candidates: values(arg), wants_file, ..Next::default() };
    }
    if typed.starts_with('-') {
        let longs = command.get_arguments().filter_map(|arg| arg.get_long());
        let candidates = longs.map(|long| format!("--{long}")).chain(["--help".to_owned()]);
        return Next { candidates: candidates.collect(), ..Next::default() };
    }
    let mut given = Vec::new();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        if option(word).is_some() {
            words.next();
        } else if !word.starts_with('-') {
            given.push(word);
        }
    }
    let Some(arg) = command.get_positionals().nth(given.len()) else { return Next::default() };
    let is_new = command.get_name() == "create";
    let wants_name = arg.get_id() == "name" && !is_new;
    // Only a file can have a / in its name.
    let takes_charts = command.get_positionals().any(|arg| arg.get_id() == "chart");
    let wants_file = arg.get_id() == "chart" || takes_charts && typed.contains('/');
    let wants_release = arg.get_id() == "release";
    let of = given.first().map(|name| (*name).clone());
    let wants_hook_of = of.filter(|_| arg.get_id() == "hook");
    Next { candidates: values(arg), wants_name, wants_hook_of, wants_release, wants_file }
}

/// Returns those of the namespace that the words before name; none if the cluster does not answer.
async fn names(before: &[String]) -> Vec<String> {
    let place = place(before);
    let asking = async { Cluster::find(&place).await?.list().await };
    let Ok(Ok(objects)) = tokio::time::timeout(PATIENCE, asking).await else { return Vec::new() };
    objects.iter().map(ResourceExt::name_any).collect()
}

/// Returns the hooks in the status of a ReleaseLifecycle.
async fn hooks(before: &[String], name: &str) -> Vec<String> {
    let place = place(before);
    let asking = async { Cluster::find(&place).await?.get(name).await };
    let Ok(Ok(object)) = tokio::time::timeout(PATIENCE, asking).await else { return Vec::new() };
    let hooks = object.status.iter().flat_map(|status| &status.hooks);
    hooks.filter(|hook| hook.attempt > 0).map(|hook| hook.name.clone()).collect()
}

/// Returns those that Helm has recorded there.
async fn releases(before: &[String]) -> Vec<String> {
    let place = place(before);
    let asking = async { Cluster::find(&place).await?.helm_releases().await };
    let Ok(Ok(names)) = tokio::time::timeout(PATIENCE, asking).await else { return Vec::new() };
    names.into_iter().collect()
}

/// Returns what the flags say, in a line that is not complete and so cannot be parsed as one.
fn place(words: &[String]) -> Place {
    let value = |flags: &[&str]| {
        let at = words.iter().position(|word| {
            flags.contains(&word.split_once('=').map_or(word.as_str(), |(flag, _)| flag))
        })?;
        let word = words.get(at)?;
        word.split_once('=')
            .map(|(_, value)| value.to_owned())
            .or_else(|| words.get(at + 1).cloned())
    };
    Place {
        namespace: value(&["-n", "--namespace"]),
        kubeconfig: value(&["--kubeconfig"]).map(Into::into),
        context: value(&["--context"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_after(before: &[&str], typed: &str) -> Next {
        let before: Vec<_> = before.iter().map(ToString::to_string).collect();
        next(&Cli::command(), &before, typed)
    }

    #[test]
    fn commands_flags_and_values_are_completed() {
        let commands = next_after(&[], "").candidates;
        assert!(commands.contains(&"rollback".to_owned()), "{commands:?}");
        assert!(!commands.contains(&"__complete".to_owned()), "{commands:?}");
        let flags = next_after(&["retry"], "--").candidates;
        assert!(flags.contains(&"--restart".to_owned()), "{flags:?}");
        let events = next_after(&["plan", "--event"], "").candidates;
        assert_eq!(events, ["install", "upgrade", "rollback", "delete", "test"]);
        assert!(next_after(&["plan", "-f"], "").wants_file);
        assert!(next_after(&["plan", "shop"], "").wants_file, "a chart");
        assert!(next_after(&["plan"], "./sh").wants_file, "a chart without a name");
        assert!(!next_after(&["plan"], "sh").wants_file);
    }

    #[test]
    fn the_name_of_a_release_is_completed_where_one_may_stand() {
        for before in [&["status"][..], &["status", "-n", "prod"], &["retry", "--restart"]] {
            assert!(next_after(before, "").wants_name, "{before:?}");
        }
        for before in [&["create"][..], &["status", "shop"], &["rollback", "shop"]] {
            assert!(!next_after(before, "").wants_name, "{before:?}");
        }
        let adopt = next_after(&["adopt", "--chart", "oci://r/shop"], "");
        assert!(adopt.wants_release && !adopt.wants_name, "{adopt:?}");
    }

    #[test]
    fn the_place_is_found_in_what_is_typed_so_far() {
        let words = ["retry", "--restart", "-n", "prod", "--context=away"].map(str::to_owned);
        let found = place(&words);
        assert_eq!(
            (found.namespace.as_deref(), found.context.as_deref()),
            (Some("prod"), Some("away"))
        );
        assert!(found.kubeconfig.is_none());
    }

    #[test]
    fn there_is_a_script_for_each_shell() {
        for shell in [aot::Shell::Bash, aot::Shell::Zsh, aot::Shell::Fish] {
            let mut script = Vec::new();
            aot::generate(shell, &mut Cli::command().bin_name(PROGRAM), PROGRAM, &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains(PROGRAM) && script.contains("rollback"), "{script}");
        }
    }
}
