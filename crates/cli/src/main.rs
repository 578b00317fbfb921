//! `kubectl lifecycle`: shows what the operator does to your releases, and takes your requests.
//!
//! - `args`: the command line
//! - `status`, `plan`, `diff`, `lint`, `history`, `logs`, `events`, `doctor`, `version`, `create`, `adopt`, `ask`: the commands, each with its own parts
//!   below it
//! - `steps`, `timeline`, `table`, `transitions`: pure, an object in, text out
//! - `ui`: the page on this machine, and `report`
//! - `installed`: the operator in the cluster
//! - `cluster`, `files`, `screen`: the input and the output of the process
//! - `watch`: follows one release

mod adopt;
mod args;
mod ask;
mod cluster;
mod completion;
mod create;
mod diff;
mod doctor;
mod events;
#[cfg(test)]
mod examples;
mod files;
mod format;
mod history;
mod installed;
mod json;
mod lint;
mod logs;
mod pending;
mod plan;
mod records;
mod screen;
mod state;
mod status;
mod steps;
mod table;
mod timeline;
mod transitions;
mod ui;
mod version;
mod watch;
mod words;

use std::{io, process::ExitCode};

use clap::Parser as _;

use crate::args::{Cli, Command};

/// The outcome that the exit code reports; all else is an error, exit code 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Good,
    Failed,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Box::pin(run(Cli::parse().command)).await {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Err(error) if is_closed_output(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed too, only the exit code reports it.
            let _ = screen::complain(&format!("error: {error:#}\n"));
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Create(args) => create::create(&args),
        Command::Adopt(args) => Box::pin(adopt::adopt(&args)).await,
        Command::Plan(args) => Box::pin(plan::plan(&args)).await,
        Command::Diff(args) => Box::pin(diff::diff(&args)).await,
        Command::Lint(args) => Box::pin(lint::lint(&args)).await,
        Command::Status(args) => status::status(&args).await,
        Command::History(args) => history::history(&args).await,
        Command::Doctor(args) => Box::pin(doctor::doctor(&args)).await,
        Command::Ui(args) => Box::pin(ui::ui(&args)).await,
        Command::Report(args) => Box::pin(ui::report(&args)).await,
        Command::Version(args) => Box::pin(version::version(&args)).await,
        Command::Events(args) => Box::pin(events::events(&args)).await,
        Command::Logs(args) => Box::pin(logs::logs(&args)).await,
        Command::Approve(args) => Box::pin(ask::approve(&args)).await,
        Command::Retry(args) => Box::pin(ask::retry(&args)).await,
        Command::Cancel(args) => Box::pin(ask::cancel(&args)).await,
        Command::Test(args) => ask::test(&args).await,
        Command::Rollback(args) => Box::pin(ask::rollback(&args)).await,
        Command::Suspend(args) => Box::pin(ask::suspend(&args)).await,
        Command::Resume(args) => Box::pin(ask::resume(&args)).await,
        Command::Skip(args) => Box::pin(ask::skip(&args)).await,
        Command::Completion(args) => completion::script(args.shell),
        Command::Complete(args) => completion::complete(&args.words).await,
    }
}

/// Prints all errors of the input at once.
fn refuse(problems: &[String]) -> anyhow::Result<Outcome> {
    screen::complain(&problems.iter().map(|it| format!("error: {it}\n")).collect::<String>())?;
    Ok(Outcome::Failed)
}

fn is_closed_output(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
