//! What one process makes of a state if nothing goes wrong any more.

use crate::{
    cluster::{Cluster, Life},
    process::Process,
    shared::hash,
    system::System,
};

impl System {
    /// Whether one process alone finishes, in a world that does its part and in one that only lets
    /// the time pass.
    pub(crate) fn finishes(&self, cluster: &Cluster) -> bool {
        // What became of budgets, of requests under way and of the memory of processes is left out.
        let key = hash(&(
            &cluster.status.journal,
            &cluster.records,
            &cluster.objects,
            (cluster.applied, cluster.ready, cluster.refusing, cluster.now),
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
        for _ in 0..100 {
            if let Some(request) = self.sweeps(&cluster, &cluster.status.journal) {
                cluster.deliver(configuration, request);
                continue;
            }
            let before = cluster.clone();
            if cluster.status.journal.is_done() {
                if !self.begin(&mut cluster, false) {
                    let held = cluster.swept(configuration, &cluster.status.journal).is_some();
                    return !held && cluster.ghost.keeps_all(configuration, &cluster);
                }
                continue;
            }
            let mut process = Process::read(cluster.status.clone());
            for _ in 0..100 {
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
            if cluster == before && !(helpful && help(&mut cluster)) {
                // Time passes; without a deadline to come nothing would ever happen.
                let Some(deadline) = cluster.deadline() else {
                    return false;
                };
                cluster.tick(deadline);
            }
        }
        false
    }
}

/// One thing that the world does by itself, if there is one to do.
fn help(cluster: &mut Cluster) -> bool {
    let gone = cluster.objects.iter().find(|object| object.terminating);
    let running = cluster.objects.iter().find(|object| object.life == Life::Running);
    if let Some(uid) = gone.map(|object| object.uid) {
        cluster.gone(uid);
    } else if let Some((uid, stopping)) = running.map(|object| (object.uid, object.stopping)) {
        cluster.ends(uid, !stopping);
    } else if cluster.applied > 0 && !cluster.ready {
        cluster.ready = true;
    } else {
        return false;
    }
    true
}
