//! The command line: one file for each command.

mod adopt;
mod ask;
mod completion;
mod create;
mod diff;
mod doctor;
mod events;
mod history;
mod input;
mod lint;
mod logs;
mod plan;
mod report;
mod status;
mod ui;
mod version;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use adopt::{Adopt, AdoptedSource};
pub(crate) use ask::{Approve, Cancel, How, Resume, Retry, Rollback, Skip, Suspend, Test, Wait};
pub(crate) use completion::{Complete, Completion, Shell};
pub(crate) use create::Create;
pub(crate) use diff::Diff;
pub(crate) use doctor::Doctor;
pub(crate) use events::Events;
pub(crate) use history::History;
pub(crate) use input::{Input, Template};
pub(crate) use lint::{FailOn, Lint, LintFormat};
pub(crate) use logs::Logs;
pub(crate) use plan::Plan;
pub(crate) use report::Report;
pub(crate) use status::{Output, Status};
pub(crate) use ui::Ui;
pub(crate) use version::Version;

/// Shows the releases of the ReleaseLifecycle operator, and sends requests to it
///
/// The help of each command ends with its exit codes: 0 is success, 1 means that the operation
/// failed or that the input is wrong, 2 is a usage error or no answer from the cluster.
#[derive(Parser)]
#[command(name = "kubectl-lifecycle", bin_name = "kubectl lifecycle", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Create(Create),
    Adopt(Box<Adopt>),
    Plan(Box<Plan>),
    Diff(Box<Diff>),
    Lint(Box<Lint>),
    Status(Status),
    History(History),
    Logs(Logs),
    Events(Events),
    Ui(Ui),
    Report(Report),
    Doctor(Doctor),
    Version(Version),
    Approve(Approve),
    Retry(Retry),
    Cancel(Cancel),
    Test(Test),
    Rollback(Rollback),
    Suspend(Suspend),
    Resume(Resume),
    Skip(Skip),
    Completion(Completion),
    #[command(name = "__complete")]
    Complete(Complete),
}

/// The cluster and the namespace, with the flags of kubectl.
#[derive(Args)]
pub(crate) struct Place {
    /// Namespace of the ReleaseLifecycle; default: that of the kube context
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,

    /// Path of a kubeconfig; default: $KUBECONFIG or ~/.kube/config
    #[arg(long)]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; default: its current context
    #[arg(long)]
    pub(crate) context: Option<String>,
}

/// The files of manifests, with the flags of kubectl.
#[derive(Args)]
pub(crate) struct Files {
    /// File, folder (its *.yaml, *.yml and *.json), or - for standard input; may be repeated
    #[arg(short, long = "filename", value_name = "FILE|FOLDER|-")]
    pub(crate) files: Vec<PathBuf>,

    /// Read subfolders, too
    #[arg(short = 'R', long, requires = "files")]
    pub(crate) recursive: bool,
}

/// The output format of a list.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Yaml,
    Json,
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let duration: kube::core::Duration =
        text.parse().context("give a number and a unit, such as 90s or 10m")?;
    anyhow::ensure!(!duration.is_negative(), "a time that has passed already; leave out the sign");
    Ok(duration.into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert!(duration("soon").is_err());
        assert!(duration("-1s").is_err());
    }

    #[test]
    fn every_command_says_what_its_exit_codes_mean() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let speaks = ["Exit codes:\n", "\n  0  ", "\n  2  "].iter().all(|it| help.contains(it));
            assert!(speaks || command.is_hide_set(), "{}: {help}", command.get_name());
        }
    }
}
