//! The way of one process from a state if nothing goes wrong any more.

use lifecycle::{journal::HookStep, step::Hold};

use crate::{
    asked::Asked,
    cluster::{Cluster, Life, Release},
    mutation,
    process::{self, Process},
    shared::hash,
    system::System,
};

impl System {
    /// Returns whether one process alone finishes, in a world that does its part and in one that only lets
    /// the time pass.
    pub(crate) fn finishes(&self, cluster: &Cluster) -> bool {
        // What became of budgets, of requests under way and of the memory of processes is left out.
        let key = hash(&(
            (&cluster.status.journal, cluster.status.lost, cluster.status.asked),
            &cluster.records,
            &cluster.objects,
            (cluster.release, cluster.applied, cluster.ready, cluster.refusing, cluster.now),
            &cluster.ghost,
        ));
        if self.finishing.lock().unwrap().contains(&key) {
            return true;
        }
        let finishes =
            [true, false].into_iter().all(|helpful| self.finishes_alone(cluster.clone(), helpful));
        if finishes {
            self.finishing.lock().unwrap().insert(key);
        }
        finishes
    }

    fn finishes_alone(&self, mut cluster: Cluster, helpful: bool) -> bool {
        let configuration = &self.configuration;
        let steps: usize =
            configuration.plans.iter().map(|plan| 100 * (1 + plan.hooks.len())).sum();
        for _ in 0..steps {
            if let Some(request) = self.sweeps(&cluster, &cluster.status) {
                cluster.deliver(configuration, request);
                continue;
            }
            let before = cluster.clone();
            let status = &cluster.status;
            if status.journal.is_done() && !status.lost {
                if !cluster.begin(configuration, false) {
                    let held = cluster.swept(configuration, &cluster.status).is_some();
                    return !held && cluster.ghost.broken(configuration, &cluster).is_none();
                }
                continue;
            }
            let mut process = Process::read(cluster.status.clone());
            for _ in 0..steps {
                match process.request() {
                    Some(request) => {
                        let answer = cluster.deliver(configuration, request);
                        process.answered(configuration, &mut cluster, answer);
                    }
                    None if matches!(process, Process::Read(_)) => {
                        process.observe(configuration, &cluster);
                    }
                    None if process == Process::Idle => break,
                    None => {
                        process.decide(configuration, &mut cluster, false);
                    }
                }
            }
            if process != Process::Idle {
                return false;
            }
            if cluster == before && !helpful && cluster.status.asked.suspend {
                return true;
            }
            if cluster == before && !(helpful && help(&mut cluster)) {
                // Time passes; without a deadline to come nothing would ever happen.
                let Some(deadline) = cluster.deadline() else {
                    return !helpful && self.stands(&cluster);
                };
                cluster.tick(deadline);
            }
        }
        false
    }

    /// Returns whether it is said who has to do what before the operation goes on.
    fn stands(&self, cluster: &Cluster) -> bool {
        let configuration = &self.configuration;
        let status = &cluster.status;
        let seen = process::observation(configuration, cluster, &status.journal);
        let hold = mutation::step(configuration, cluster, status, &seen).hold;
        // What was refused is only seen by trying.
        cluster.refusing || matches!(hold, Some(Hold::Stalled(_) | Hold::Suspended))
    }
}

/// One thing that the world does by itself, or a person where one is asked for, if there is one.
fn help(cluster: &mut Cluster) -> bool {
    let gone = cluster.objects.iter().find(|object| object.terminating);
    let running = cluster.objects.iter().find(|object| object.life == Life::Running);
    let operation = &cluster.status.journal.operation;
    let blocked = operation.cursors().any(|cursor| cursor.step == HookStep::Blocked);
    if let Some(uid) = gone.map(|object| object.uid) {
        cluster.gone(uid);
    } else if let Some((uid, stopping)) = running.map(|object| (object.uid, object.stopping)) {
        cluster.ends(uid, !stopping);
    } else if cluster.release == Release::Going {
        cluster.release = Release::Absent;
    } else if cluster.applied > 0 && cluster.release == Release::There && !cluster.ready {
        cluster.ready = true;
    } else if cluster.status.asked.suspend {
        cluster.ask(|asked| asked.suspend = false, false);
    } else if blocked {
        cluster.ghost.excused = true;
        cluster.ask(Asked::ask_skip, false);
    } else if cluster.refusing {
        cluster.refusing = false;
    } else {
        return false;
    }
    true
}
