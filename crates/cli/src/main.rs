//! `kubectl lifecycle`: what the operator does to your releases.
//!
//! - `steps`, `timeline`, `table`, `transitions`: pure, an object in, text out
//! - `cluster`, `screen`: the two ways out of the process
//! - `watch`: brings them together

mod args;
mod cluster;
#[cfg(test)]
mod examples;
mod json;
mod screen;
mod state;
mod steps;
mod table;
mod timeline;
mod transitions;
mod watch;
mod words;

use std::{io, process::ExitCode};

use anyhow::bail;
use api::ReleaseLifecycle;
use clap::Parser as _;
use jiff::Timestamp;

use crate::{
    args::{Cli, Command, Output, Status},
    cluster::Cluster,
};

/// What the exit code says; all else is an error, exit code 2.
enum Outcome {
    Good,
    Failed,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Cli { command: Command::Status(args) } = Cli::parse();
    match status(&args).await {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Err(error) if is_closed_output(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed too, the exit code has to do.
            let _ = screen::complain(&format!("error: {error:#}\n"));
            ExitCode::from(2)
        }
    }
}

async fn status(args: &Status) -> anyhow::Result<Outcome> {
    let cluster = Cluster::find(&args.place).await?;
    let mut objects = match &args.name {
        Some(name) => vec![cluster.get(name).await?],
        None => cluster.list().await?,
    };
    if args.watch {
        let (Some(object), true) = (objects.pop(), objects.is_empty()) else {
            bail!("--watch follows one release: name it, and its namespace with -n");
        };
        return watch::follow(&cluster, object, args.output, args.timeout).await;
    }
    let text = match args.output {
        Output::Json => {
            let value = match (&args.name, &*objects) {
                (Some(_), [object]) => json::one(object),
                _ => json::all(&objects),
            };
            format!("{value:#}\n")
        }
        Output::Text => text(&cluster, &objects)?,
    };
    screen::write(&text)?;
    Ok(Outcome::Good)
}

fn text(cluster: &Cluster, objects: &[ReleaseLifecycle]) -> anyhow::Result<String> {
    let (now, look) = (Timestamp::now(), screen::look());
    Ok(match objects {
        [] => {
            // As kubectl does: an empty answer is no error, and no output either.
            screen::complain(&format!("There is no ReleaseLifecycle in {}.\n", cluster.scope()))?;
            String::new()
        }
        [object] if !cluster.has_all_namespaces() => timeline::render(object, now, look),
        _ => table::render(objects, cluster.has_all_namespaces(), now, look),
    })
}

fn is_closed_output(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
