//! Helm and the operator on the same releases, both ways: the real Helm 4 and Helm 3 look at, test,
//! roll back, upgrade and uninstall what the operator has made, and the operator takes over, changes
//! and deletes what they have made, also while they go on working on it. Which hook was run by whom,
//! and how often, is told by the API server's audit log.
//!
//! - `stage`: a release in a namespace of its own, and what is seen of it
//! - `subject`: what it consists of, and how each program is given that
//! - `reads`: what Helm shows of the operator's release
//! - `ours`: Helm on the operator's releases; `theirs`: the operator on Helm's
//! - `config_maps`: a Helm that keeps its records there
//! - `interrupted`: a Helm that is at work, or was killed at it
//!
//! A line is printed for each thing that one program does with what the other has made. Each release is
//! a test: `cargo test --workspace --test interop -- killed`.

#![expect(clippy::print_stdout, reason = "a test program says what it found")]

mod config_maps;
mod interrupted;
mod ours;
mod reads;
mod stage;
mod subject;
mod theirs;

use std::{
    process::ExitCode,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use e2e::{AuditLog, is_write, kwok, trials};
use testkit::{audit::Event, cluster, programs};

use interrupted::{Command, Fate};
use stage::{Helm, Stage};
use subject::Subject;

/// So many releases are worked on at once; each waits most of its time.
const WORKERS: usize = 6;

/// The story of one release.
#[derive(Clone, Copy)]
enum Story {
    Ours(Helm, Subject),
    Theirs(Helm, Subject),
    ConfigMaps(Helm),
    Interrupted(Helm, Command, Fate),
}

fn stories() -> Vec<Story> {
    let mut stories = Vec::new();
    // The long ones first.
    for subject in [Subject::Objects, Subject::Chart] {
        stories.extend(Helm::BOTH.map(|helm| Story::Theirs(helm, subject)));
        stories.extend(Helm::BOTH.map(|helm| Story::Ours(helm, subject)));
    }
    for helm in Helm::BOTH {
        stories.push(Story::ConfigMaps(helm));
        stories.push(Story::Interrupted(helm, Command::Upgrade, Fate::Lives));
        let killed = Command::ALL.map(|command| Story::Interrupted(helm, command, Fate::Killed));
        stories.extend(killed);
    }
    stories
}

impl Story {
    /// Returns what stands in each of its lines.
    fn title(self) -> String {
        match self {
            Self::Ours(helm, subject) => format!("{helm} on the operator's release of {subject}"),
            Self::Theirs(helm, subject) => format!("the operator on {helm}'s release of {subject}"),
            Self::ConfigMaps(helm) => {
                format!("the operator on {helm}'s release with records in ConfigMaps")
            }
            Self::Interrupted(helm, command, fate) => {
                format!("the operator on a release where {helm} {fate} in its {command}")
            }
        }
    }

    async fn tell(self) -> Result<()> {
        // Before anybody's time runs.
        programs::build("dev")?;
        cluster::ensure(&e2e::helm::HELMS)?;
        let (begun, title, mut lines) = (Instant::now(), self.title(), Vec::new());
        let ended = self.play(&LOG, &mut lines).await;
        eprintln!("{title} took {:.1?}", begun.elapsed());
        for line in &lines {
            println!("{title}: {line} … ok");
        }
        LINES.fetch_add(lines.len(), Ordering::Relaxed);
        ended
    }

    /// Returns what goes well, in `lines`, up to what does not.
    async fn play(self, log: &AuditLog, lines: &mut Vec<String>) -> Result<()> {
        let (prefix, helm, subject) = match self {
            Self::Ours(helm, subject) => ("ours", helm, subject),
            Self::Theirs(helm, subject) => ("theirs", helm, subject),
            Self::ConfigMaps(helm) => ("config-maps", helm, Subject::Objects),
            Self::Interrupted(helm, ..) => ("interrupted", helm, Subject::Objects),
        };
        let mut stage = Stage::new(prefix, helm, subject, log, lines).await?;
        match self {
            Self::Ours(..) => ours::play(&mut stage).await,
            Self::Theirs(..) => theirs::play(&mut stage).await,
            Self::ConfigMaps(_) => config_maps::play(&mut stage).await,
            Self::Interrupted(_, command, fate) => {
                interrupted::play(&mut stage, command, fate).await
            }
        }
    }
}

/// How much went well.
static LINES: AtomicUsize = AtomicUsize::new(0);

static LOG: LazyLock<AuditLog> = LazyLock::new(|| {
    let matters = |event: &Event| event.namespace.is_some() && is_write(event);
    AuditLog::new(kwok().audit_log().to_owned(), matters)
});

fn main() -> ExitCode {
    let stories = stories().into_iter();
    let stories = stories.map(|story| trials::trial(story.title(), move || story.tell())).collect();
    let conclusion = trials::run_all(stories, WORKERS);
    let lines = LINES.load(Ordering::Relaxed);
    println!("interop: {lines} ok, {} wrong", conclusion.num_failed);
    trials::exit_code(&conclusion)
}
