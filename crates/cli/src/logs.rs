//! `logs`: the log of a hook, from where it still is: the hook's Pods, the Secret in which the operator
//! has kept it, or the last lines in status.

mod chosen;

use std::{
    collections::HashSet,
    io::{self, IsTerminal as _, Write as _},
    pin::pin,
    time::Duration,
};

use anyhow::bail;
use futures::{AsyncBufRead, AsyncBufReadExt as _};
use helm::hook_log::{self, HookLog};
use kube::api::{ListParams, LogParams};
use lifecycle::{journal::HookPhase, terminal};
use live::observe::runs::{Run, runs};
use serde_json::Value;

use self::chosen::Chosen;
use crate::{Outcome, args::Logs, cluster::Cluster, screen, state::State};

/// The time between two lists of Pods, while a log is followed.
const PAUSE: Duration = Duration::from_secs(1);
/// A longer line is written in parts.
const LONGEST_LINE: usize = 64 * 1024;

pub(crate) async fn logs(args: &Logs) -> anyhow::Result<Outcome> {
    let cluster = Cluster::find(&args.place).await?;
    let object = cluster.get(&args.name).await?;
    let chosen = chosen::chosen(State::new(&object), args)?;
    if show_pods(&cluster, args, &chosen).await? {
        return Ok(Outcome::Good);
    }
    let found = kept(&cluster, &object.release_name(), &chosen).await?;
    if let Some(log) = found {
        screen::complain(&format!(
            "Kept log of {}, attempt {} at revision {}:\n",
            log.hook, log.attempt, log.revision
        ))?;
        write(&last_lines(&log.text, args.tail))?;
        return Ok(Outcome::Good);
    }
    if let Some(lines) = &chosen.lines {
        screen::complain(&format!("The last lines of {chosen}, as status keeps them:\n"))?;
        write(&last_lines(format!("{}\n", lines.trim_end()).as_bytes(), args.tail))?;
        return Ok(Outcome::Good);
    }
    screen::complain(&format!(
        "There is no log of {chosen}. Logs of failed hooks are kept, and those of all hooks with \
         spec.hooks.keepLogs: All.\n"
    ))?;
    Ok(Outcome::Failed)
}

/// Shows the log of the Pods, and returns whether there was one.
async fn show_pods(cluster: &Cluster, args: &Logs, chosen: &Chosen) -> anyhow::Result<bool> {
    let Some(uid) = &chosen.uid else { return Ok(false) };
    let mut shown = HashSet::new();
    loop {
        // What has ended by now has written all of its log.
        let is_over = !args.follow || !is_running(cluster, args, chosen).await?;
        let pods = pods(cluster, chosen, uid).await?;
        let all = wanted(args, &pods);
        let several = all.len() > 1;
        for run in all {
            if !shown.insert((run.pod_uid.to_owned(), run.container.to_owned(), run.restarts)) {
                continue;
            }
            if several {
                let title = format!("==> pod/{} container {} <==\n", run.pod, run.container);
                write(title.as_bytes())?;
            }
            show(cluster, args, chosen, &run).await?;
        }
        if is_over {
            return Ok(!shown.is_empty());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn is_running(cluster: &Cluster, args: &Logs, chosen: &Chosen) -> anyhow::Result<bool> {
    let object = cluster.get(&args.name).await?;
    let mut hooks = chosen::all(State::new(&object));
    Ok(hooks.any(|hook| hook.uid == chosen.uid && hook.phase == HookPhase::Running))
}

/// Returns the Pods of the hook's object, which is a Pod itself or has made them.
async fn pods(cluster: &Cluster, chosen: &Chosen, uid: &str) -> anyhow::Result<Vec<Value>> {
    let Some(namespace) = &chosen.namespace else { return Ok(Vec::new()) };
    let what = format!("listing the Pods of {chosen}");
    let params = match chosen.kind.as_str() {
        "Pod" => ListParams::default().fields(&format!("metadata.name={}", chosen.name)),
        "Job" => ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}")),
        _ => return Ok(Vec::new()),
    };
    let listed = cluster.pods(namespace, &what, &params).await?;
    let is_of_hook = |pod: &Value| chosen.kind == "Job" || pod["metadata"]["uid"] == uid;
    Ok(listed.into_iter().filter(is_of_hook).collect())
}

/// Returns the runs that are asked for.
fn wanted<'a>(args: &Logs, pods: &'a [Value]) -> Vec<Run<'a>> {
    let mut runs = runs(pods);
    runs.retain(|run| match &args.container {
        Some(container) => run.container == container,
        // A sidecar ends after the others, and would be awaited first.
        None if args.follow => {
            let pod = pods.iter().find(|pod| pod["metadata"]["uid"] == run.pod_uid);
            let containers = pod.and_then(|pod| pod["spec"]["containers"].as_array());
            let mut sidecars = containers.into_iter().flatten().skip(1);
            sidecars.all(|container| container["name"] != run.container)
        }
        None => true,
    });
    runs
}

async fn show(
    cluster: &Cluster,
    args: &Logs,
    chosen: &Chosen,
    run: &Run<'_>,
) -> anyhow::Result<()> {
    let params = LogParams {
        container: Some(run.container.to_owned()),
        follow: args.follow && run.is_running,
        previous: run.previous,
        tail_lines: args.tail,
        ..LogParams::default()
    };
    let namespace = chosen.namespace.as_deref().unwrap_or_default();
    let stream = cluster.log(namespace, run.pod, &params).await?;
    copy(stream, write).await
}

/// Writes each line of `stream` as soon as it is complete.
async fn copy(
    stream: impl AsyncBufRead,
    mut write: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut stream = pin!(stream);
    let mut line = Vec::new();
    loop {
        let part = stream.fill_buf().await?;
        if part.is_empty() {
            break;
        }
        let end = part.iter().position(|byte| *byte == b'\n').map_or(part.len(), |at| at + 1);
        let end = end.min(LONGEST_LINE);
        line.extend(part.get(..end).unwrap_or_default());
        stream.consume_unpin(end);
        if line.ends_with(b"\n") || line.len() >= LONGEST_LINE {
            write(&line)?;
            line.clear();
        }
    }
    if line.is_empty() { Ok(()) } else { write(&line) }
}

/// Writes to standard output: on a terminal without the orders that a log may give to it.
fn write(text: &[u8]) -> anyhow::Result<()> {
    if io::stdout().is_terminal() {
        return screen::write(&terminal::log(text));
    }
    let mut out = io::stdout().lock();
    Ok(out.write_all(text).and_then(|()| out.flush())?)
}

/// Returns the newest log that is kept of the chosen attempt.
async fn kept(
    cluster: &Cluster,
    release: &str,
    chosen: &Chosen,
) -> anyhow::Result<Option<HookLog>> {
    let Some(secrets) = cluster.secrets(&hook_log::selector(release)).await? else {
        if chosen.lines.is_some() {
            return Ok(None);
        }
        bail!(
            "the log of {chosen} may be kept in a Secret, and you may not list Secrets in {}: ask \
             for a role with the verb list of secrets",
            cluster.scope()
        );
    };
    let mut found: Vec<_> = secrets
        .into_iter()
        .filter_map(|secret| {
            let at = secret.metadata.creation_timestamp.clone();
            let log = hook_log::from_secret(&serde_json::to_value(secret).ok()?)?;
            chosen.is_of(&log).then_some((at, log))
        })
        .collect();
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found.pop().map(|(_, log)| log))
}

/// Returns the last `most` lines.
fn last_lines(text: &[u8], most: Option<i64>) -> Vec<u8> {
    let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or_default());
    lines.get(lines.len().saturating_sub(most)..).unwrap_or_default().concat()
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, io::Cursor};

    use super::*;

    #[test]
    fn the_last_lines_are_counted_from_the_end() {
        let last = |most| String::from_utf8(last_lines(b"a\nb\nc", most)).unwrap();
        assert_eq!(last(None), "a\nb\nc");
        assert_eq!(last(Some(2)), "b\nc");
        assert_eq!((last(Some(0)), last(Some(9))), (String::new(), "a\nb\nc".to_owned()));
    }

    #[test]
    fn a_line_without_an_end_is_written_in_parts() {
        let mut parts = Vec::new();
        let text = format!("one\n{}\nlast", "x".repeat(3 * LONGEST_LINE));
        let write = |line: &[u8]| {
            parts.push(line.len());
            Ok(())
        };
        copy(Cursor::new(text.clone()), write).now_or_never().unwrap().unwrap();
        assert_eq!(parts.iter().sum::<usize>(), text.len());
        assert!(parts.len() >= 5 && parts.iter().all(|part| *part <= LONGEST_LINE), "{parts:?}");
    }
}
