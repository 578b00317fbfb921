//! The engine process: started without any data of ours, driven by one JSON line at a time, and
//! killed if it exceeds its limits.

use std::{
    future::Future,
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use manifests::bounded;
use serde_json::Value;
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

use crate::protocol::{
    Evaluate, Evaluated, Failure, FromEngine, Lookup, Pull, Pulled, Render, Rendered, Request,
    Said, ToEngine, VERSION,
};

/// The maximum length of an answer. A release is far smaller; a chart is sent as base64.
const LONGEST_LINE: u64 = 64 << 20;
/// The most memory that an answer takes: `{b: 0}` is 6 bytes of a chart's values and 700 of memory.
const MOST_MEMORY: usize = 96 << 20;
/// The signal that the kernel sends to a process that has used up its processor time.
const SIGXCPU: i32 = 24;
/// The limits for fetching a chart, whatever its server sends. An index of 20 MiB fits, and an
/// archive of the maximum size.
const PULL_LIMITS: Limits =
    Limits { memory: 160 << 20, cpu_seconds: 30, time: Duration::from_mins(1) };
/// The limits of the evaluation of health checks; that of processor time is the engine's own.
const EVALUATION_TIME: Duration = Duration::from_secs(20);
const EVALUATION_CPU_SECONDS: u64 = 5;
/// The bytes that are kept of the process's standard error.
const KEPT_WORDS: usize = 4096;

/// The reason why there is no answer.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The program does not exist, or this system does not let it run.
    #[error(
        "start {}: {source}; put the program releaselifecycle-engine beside this one, or name it \
         by --engine", program.display()
    )]
    Start {
        /// The program that was started.
        program: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The engine's own answer.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// The process exceeded a limit.
    #[error("{0}")]
    Breach(Breach),
    /// The process ended, or its answer is not valid.
    #[error("the engine {what}")]
    Broken {
        /// The event, with the last output of the process.
        what: String,
    },
}

/// The resource of which a request took too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Breach {
    /// Memory.
    #[error("it takes more than {} MiB of memory", .0 >> 20)]
    Memory(u64),
    /// Processor time.
    #[error("it takes more than {0} s of processor time")]
    Cpu(u64),
    /// Time.
    #[error("it takes more than {} s", .0.as_secs())]
    Time(Duration),
    /// Stack: templates that call themselves.
    #[error("its templates call themselves without end")]
    Stack,
    /// The size of the answer.
    #[error("its output is more than {} MiB", .0 >> 20)]
    Answer(u64),
}

/// The limits of one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: u64,
    /// Seconds of processor time.
    pub cpu_seconds: u64,
    /// Wall-clock time, lookups included.
    pub time: Duration,
}

/// The result of a lookup.
pub enum Answer {
    /// The object, a list, or null if it does not exist.
    Found(Value),
    /// The reason why the template cannot have it.
    Failed(String),
}

/// An engine that renders, and evaluates health checks.
pub struct Renderer {
    process: Process,
    limits: Limits,
}

impl Renderer {
    /// Starts an engine. `files` lets it read charts from folders, and is for a person's own
    /// machine.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(program: &Path, limits: Limits, files: bool) -> Result<Self, EngineError> {
        let mut arguments = vec![
            "render".to_owned(),
            format!("--memory-bytes={}", limits.memory),
            format!("--cpu-seconds={}", limits.cpu_seconds),
        ];
        if files {
            arguments.push("--files".to_owned());
        }
        Ok(Self { process: Process::start(program, &arguments)?, limits })
    }

    /// Renders a chart. An error of `lookup` ends it; so does every error but
    /// [`EngineError::Failed`], after which the process is of no use.
    ///
    /// # Errors
    /// The engine's, or that of `lookup`.
    pub async fn render<E, F>(
        &mut self,
        request: &Render<'_>,
        mut lookup: impl FnMut(Lookup) -> F,
    ) -> Result<Result<Rendered, EngineError>, E>
    where
        F: Future<Output = Result<Answer, E>>,
    {
        let limits = self.limits;
        let dialogue = async {
            let mut line = ToEngine::Render(request);
            loop {
                match self.process.exchange(&line).await {
                    Ok(Said::Lookup(asked)) => {
                        line = match lookup(asked).await? {
                            Answer::Found(value) => ToEngine::Found(value),
                            Answer::Failed(why) => ToEngine::Failed(why),
                        };
                    }
                    Ok(Said::Rendered(rendered)) => return Ok(Ok(*rendered)),
                    Ok(Said::Error(failure)) => return Ok(Err(EngineError::Failed(failure))),
                    Ok(Said::Pulled(_) | Said::Evaluated(_)) => return Ok(Err(out_of_turn())),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        match tokio::time::timeout(limits.time, dialogue).await {
            Ok(Ok(Err(EngineError::Broken { what }))) => {
                Ok(Err(self.process.explain(what, limits).await))
            }
            Ok(done) => done,
            Err(_) => Ok(Err(EngineError::Breach(Breach::Time(limits.time)))),
        }
    }

    /// Evaluates health checks. After every error but [`EngineError::Failed`] the process is of no
    /// use.
    ///
    /// # Errors
    /// The engine's.
    pub async fn evaluate(&mut self, request: &Evaluate<'_>) -> Result<Evaluated, EngineError> {
        let time = EVALUATION_TIME.min(self.limits.time);
        let cpu_seconds = EVALUATION_CPU_SECONDS.min(self.limits.cpu_seconds);
        let limits = Limits { cpu_seconds, time, ..self.limits };
        match tokio::time::timeout(time, self.process.exchange(&ToEngine::Evaluate(request))).await
        {
            Ok(Ok(Said::Evaluated(evaluated))) => {
                let is_whole = evaluated.verdicts.len() == request.objects.len();
                if is_whole { Ok(evaluated) } else { Err(out_of_turn()) }
            }
            Ok(Ok(Said::Error(failure))) => Err(EngineError::Failed(failure)),
            Ok(Ok(Said::Lookup(_) | Said::Rendered(_) | Said::Pulled(_))) => Err(out_of_turn()),
            Ok(Err(EngineError::Broken { what })) => Err(self.process.explain(what, limits).await),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EngineError::Breach(Breach::Time(time))),
        }
    }
}

/// An engine that fetches.
pub struct Puller {
    process: Process,
}

impl Puller {
    /// Starts an engine.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(program: &Path) -> Result<Self, EngineError> {
        let arguments = [
            "pull".to_owned(),
            format!("--memory-bytes={}", PULL_LIMITS.memory),
            format!("--cpu-seconds={}", PULL_LIMITS.cpu_seconds),
        ];
        Ok(Self { process: Process::start(program, &arguments)? })
    }

    /// Fetches a chart.
    ///
    /// # Errors
    /// The engine's.
    pub async fn pull(&mut self, request: &Pull) -> Result<Pulled, EngineError> {
        // The engine ends in time by itself.
        let time = Duration::from_secs(request.seconds.saturating_add(5));
        match tokio::time::timeout(time, self.process.exchange(&ToEngine::Pull(request))).await {
            Ok(Ok(Said::Pulled(pulled))) => Ok(pulled),
            Ok(Ok(Said::Error(failure))) => Err(EngineError::Failed(failure)),
            Ok(Ok(Said::Lookup(_) | Said::Rendered(_) | Said::Evaluated(_))) => Err(out_of_turn()),
            Ok(Err(EngineError::Broken { what })) => {
                Err(self.process.explain(what, PULL_LIMITS).await)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EngineError::Breach(Breach::Time(time))),
        }
    }
}

/// Returns the default path of the engine: beside the running program.
pub fn beside() -> PathBuf {
    let here = std::env::current_exe().ok();
    let folder = here.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    folder.join("releaselifecycle-engine")
}

struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    words: Arc<Mutex<String>>,
    listener: JoinHandle<()>,
}

impl Process {
    fn start(program: &Path, arguments: &[String]) -> Result<Self, EngineError> {
        let failed = |source| EngineError::Start { program: program.to_owned(), source };
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            // The first words contain the whole reason.
            .env("GOTRACEBACK", "none")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let closed = || failed(io::ErrorKind::BrokenPipe.into());
        let to = child.stdin.take().ok_or_else(closed)?;
        let from = BufReader::new(child.stdout.take().ok_or_else(closed)?);
        let words = Arc::<Mutex<String>>::default();
        let stderr = child.stderr.take().ok_or_else(closed)?;
        let listener = tokio::spawn(listen(stderr, Arc::clone(&words)));
        Ok(Self { child, to, from, words, listener })
    }

    /// Sends a line and waits for one.
    async fn exchange(&mut self, line: &ToEngine<'_>) -> Result<Said, EngineError> {
        let broken = |what: String| EngineError::Broken { what };
        let mut text = serde_json::to_vec(&Request { v: VERSION, body: line })
            .map_err(|error| broken(format!("cannot be asked: {error}")))?;
        text.push(b'\n');
        // It may end before it has read everything, and then its exit status says more.
        let sent = self.to.write_all(&text).await;
        drop(text);
        let mut answer = Vec::new();
        let mut bounded = (&mut self.from).take(LONGEST_LINE);
        let read = bounded.read_until(b'\n', &mut answer).await;
        if let Err(error) = sent.and(read) {
            return Err(broken(format!("did not answer: {error}")));
        }
        if answer.last() != Some(&b'\n') {
            if answer.len() as u64 >= LONGEST_LINE {
                return Err(EngineError::Breach(Breach::Answer(LONGEST_LINE)));
            }
            return Err(broken("ended without an answer".to_owned()));
        }
        let unclear = |error| broken(format!("sent an answer that is invalid: {error}"));
        let value = bounded::from_slice(&answer, MOST_MEMORY).map_err(unclear)?;
        let value = value.ok_or(EngineError::Breach(Breach::Answer(LONGEST_LINE)))?;
        let answer: FromEngine = serde_json::from_value(value).map_err(unclear)?;
        if answer.v != VERSION {
            return Err(broken(format!(
                "speaks version {} of the protocol, and this program version {VERSION}",
                answer.v
            )));
        }
        Ok(answer.body)
    }

    /// Tells an exceeded limit from other ends of the process.
    async fn explain(&mut self, what: String, limits: Limits) -> EngineError {
        let (status, words) = self.end().await;
        let breach = match status {
            Some(status) if status.signal() == Some(SIGXCPU) => Breach::Cpu(limits.cpu_seconds),
            // The exit code with which Go's runtime gives up, with many different messages.
            Some(status) if status.code() == Some(2) => {
                if words.contains("stack") && words.contains("exceeds") {
                    Breach::Stack
                } else if let Some(fault) = fault(&words) {
                    return EngineError::Broken { what: fault };
                } else {
                    Breach::Memory(limits.memory)
                }
            }
            _ => return EngineError::Broken { what: with_words(what, &words) },
        };
        EngineError::Breach(breach)
    }

    /// Returns the exit status, and the output on standard error. A process that still runs is
    /// killed.
    async fn end(&mut self) -> (Option<ExitStatus>, String) {
        self.child.start_kill().ok();
        let status = self.child.wait().await.ok();
        (&mut self.listener).await.ok();
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (status, words)
    }
}

/// Returns the fault by which the process ended, if it was a fault of the program: a panic, or a
/// verdict of Go's runtime that has nothing to do with memory. Of a panic's own words only those
/// are repeated that Go's runtime wrote, which hold no data.
fn fault(words: &str) -> Option<String> {
    const VERDICTS: [&str; 4] =
        ["all goroutines are asleep", "concurrent map", "unexpected signal", "sync: "];
    words.lines().find_map(|line| {
        if let Some(panic) = line.strip_prefix("panic: ") {
            let is_of_runtime = panic.starts_with("runtime error: ");
            let why = if is_of_runtime { format!(": {panic}") } else { String::new() };
            return Some(format!("ended by a fault of its own, a panic{why}"));
        }
        let verdict = line.strip_prefix("fatal error: ")?;
        let is_fault = VERDICTS.iter().any(|it| verdict.starts_with(it));
        is_fault.then(|| format!("ended by a fault of its own: {verdict}"))
    })
}

/// Keeps the first words, in which Go gives its reason before it lists all goroutines.
async fn listen(stderr: ChildStderr, words: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines).take(KEPT_WORDS as u64).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        tracing::debug!(engine = text.trim_end());
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        if words.len() < KEPT_WORDS {
            words.push_str(&text);
        }
    }
}

fn with_words(what: String, words: &str) -> String {
    let first = words.lines().map(str::trim).find(|line| !line.is_empty());
    first.map_or_else(|| what.clone(), |first| format!("{what}: {first}"))
}

fn out_of_turn() -> EngineError {
    EngineError::Broken { what: "sent an answer to another question".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_program_is_not_taken_for_a_lack_of_memory() {
        for (words, says) in [
            (
                "panic: runtime error: index out of range [3] with length 2\n\n",
                Some("index out of"),
            ),
            ("panic: hidden\n", Some("a panic")),
            ("fatal error: all goroutines are asleep - deadlock!\n", Some("deadlock")),
            ("fatal error: concurrent map writes\n", Some("concurrent map writes")),
            ("fatal error: runtime: out of memory\n", None),
            ("runtime: out of memory: cannot allocate 4194304-byte block\n", None),
            ("fatal error: runtime: cannot allocate memory\n", None),
            ("runtime: failed to create new OS thread\nfatal error: newosproc\n", None),
            ("", None),
        ] {
            let fault = fault(words);
            assert_eq!(fault.is_some(), says.is_some(), "{words}");
            let fault = fault.unwrap_or_default();
            assert!(
                fault.contains(says.unwrap_or_default()) && !fault.contains("hidden"),
                "{fault}"
            );
        }
    }
}
