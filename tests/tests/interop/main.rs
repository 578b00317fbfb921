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
//! A line is printed for each thing that one program does with what the other has made.
//! `INTEROP_ONLY=killed` runs only the releases with that word in their title.

mod config_maps;
mod interrupted;
mod ours;
mod reads;
mod stage;
mod subject;
mod theirs;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use anyhow::{Result, ensure};
use e2e::{AuditLog, is_write, kwok};
use testkit::{audit::Event, cluster, programs};
use tokio::task::JoinSet;

use interrupted::{Command, Fate};
use stage::{Helm, Stage};
use subject::Subject;

/// So many releases are worked on at once; each waits most of its time.
const WORKERS: usize = 6;

/// What happens to one release.
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
    /// What stands in each of its lines.
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

    async fn tell(self, log: &AuditLog) -> Told {
        let (begun, title, mut lines) = (Instant::now(), self.title(), Vec::new());
        let ended = self.play(log, &mut lines).await;
        eprintln!("{title} took {:.1?}", begun.elapsed());
        Told {
            lines: lines.iter().map(|line| format!("{title}: {line}")).collect(),
            wrong: ended.err().map(|error| format!("{title}: {error:#}")),
        }
    }

    /// What goes well, in `lines`, up to what does not.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn helm_and_the_operator_go_on_where_the_other_stopped() -> Result<()> {
    let only = std::env::var("INTEROP_ONLY").unwrap_or_default();
    let mut stories = stories();
    stories.retain(|story| story.title().contains(&only));
    // Before anybody's time runs.
    programs::build("dev")?;
    cluster::ensure(&e2e::helm::HELMS)?;
    let told = play_all(stories).await?;
    for line in told.iter().flat_map(|told| &told.lines) {
        println!("{line} … ok");
    }
    let lines: usize = told.iter().map(|told| told.lines.len()).sum();
    let wrong: Vec<_> = told.into_iter().filter_map(|told| told.wrong).collect();
    println!("interop: {lines} ok, {} wrong", wrong.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What came of a story: what went well, and what did not, where it ended then.
struct Told {
    lines: Vec<String>,
    wrong: Option<String>,
}

/// Several at a time; what came of them in their order.
async fn play_all(stories: Vec<Story>) -> Result<Vec<Told>> {
    let matters = |event: &Event| event.namespace.is_some() && is_write(event);
    let log = Arc::new(AuditLog::new(kwok().audit_log().to_owned(), matters));
    let mut waiting: Vec<_> = stories.into_iter().enumerate().collect();
    waiting.reverse();
    let waiting = Arc::new(Mutex::new(waiting));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (waiting, log) = (Arc::clone(&waiting), Arc::clone(&log));
        workers.spawn(async move {
            let mut told = BTreeMap::new();
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some((index, story)) = next else { return told };
                told.insert(index, story.tell(&log).await);
            }
        });
    }
    let mut told = BTreeMap::new();
    while let Some(worker) = workers.join_next().await {
        told.extend(worker?);
    }
    Ok(told.into_values().collect())
}
