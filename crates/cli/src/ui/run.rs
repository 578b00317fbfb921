//! The commands that the page's requests are: this program, started again. So the page does, and says,
//! what the command line does and says.

use std::{env, ffi::OsString, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{Stream, StreamExt as _, stream};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::args::Place;

/// The most commands that run at once.
const MOST: usize = 8;
/// The longest output of a command that ends.
const MOST_BYTES: u64 = 1 << 20;
/// The time for a command that ends.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The size of a part of a log.
const PART: usize = 16 * 1024;

#[derive(Clone)]
pub(super) struct Commands {
    program: PathBuf,
    flags: Vec<OsString>,
    turns: Arc<Semaphore>,
}

/// The result of a command.
pub(super) struct Done {
    pub(super) is_good: bool,
    pub(super) output: String,
    pub(super) complaints: String,
}

/// The release that a command is about.
pub(super) struct Target {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Commands {
    /// Returns the commands for the cluster that `place` names.
    pub(super) fn new(place: &Place) -> anyhow::Result<Self> {
        let program = env::current_exe().context("find this program")?;
        let mut flags = Vec::new();
        if let Some(path) = &place.kubeconfig {
            flags.extend(["--kubeconfig".into(), path.clone().into_os_string()]);
        }
        if let Some(context) = &place.context {
            flags.extend(["--context".into(), context.into()]);
        }
        Ok(Self { program, flags, turns: Arc::new(Semaphore::new(MOST)) })
    }

    /// Starts the command of `words` about `target`, whose name `arguments` follow.
    async fn start(
        &self,
        words: &[&str],
        target: &Target,
        arguments: &[String],
    ) -> anyhow::Result<(Child, OwnedSemaphorePermit)> {
        let turn = self.turns.clone().acquire_owned().await?;
        let child = Command::new(&self.program)
            .args(words)
            .args(&self.flags)
            .args(["--namespace", &target.namespace, "--", &target.name])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A page that nobody looks at any more follows no log.
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        Ok((child, turn))
    }

    /// Runs a command to its end.
    pub(super) async fn run(
        &self,
        words: &[&str],
        target: &Target,
        arguments: &[String],
    ) -> anyhow::Result<Done> {
        let (mut child, _turn) = self.start(words, target, arguments).await?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let running = async {
            let (output, complaints) = tokio::try_join!(read(out), read(err))?;
            let is_good = child.wait().await?.success();
            anyhow::Ok(Done { is_good, output, complaints })
        };
        timeout(TIMEOUT, running).await.context("the command did not end within a minute")?
    }

    /// Starts a command, and returns what it writes as it writes it. It ends with the stream.
    pub(super) async fn stream(
        &self,
        words: &[&str],
        target: &Target,
        arguments: &[String],
    ) -> anyhow::Result<impl Stream<Item = std::io::Result<Vec<u8>>> + use<>> {
        let (mut child, turn) = self.start(words, target, arguments).await?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let both = stream::select(parts(err), parts(out));
        Ok(both.map(move |part| {
            let _held = (&child, &turn);
            part
        }))
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(MOST_BYTES).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parts(
    from: Option<impl AsyncRead + Unpin + Send + 'static>,
) -> impl Stream<Item = std::io::Result<Vec<u8>>> + Send + Unpin + 'static {
    Box::pin(stream::unfold(from, async |from| {
        let mut from = from?;
        let mut part = vec![0; PART];
        match from.read(&mut part).await {
            Ok(0) => None,
            Ok(length) => {
                part.truncate(length);
                Some((Ok(part), Some(from)))
            }
            Err(error) => Some((Err(error), None)),
        }
    }))
}
