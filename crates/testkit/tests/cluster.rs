//! The local cluster: what it runs, that two do not meet, and that nothing of it stays behind.

#![expect(clippy::expect_used, reason = "a test may end where it stands")]

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use testkit::cluster::{Cluster, Node, Options};

fn dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn job(name: &str, annotations: &str, command: &str) -> String {
    format!(
        r#"{{"apiVersion": "batch/v1", "kind": "Job", "metadata": {{"name": "{name}"}}, "spec": {{
            "backoffLimit": 0, "template": {{"metadata": {{"annotations": {{{annotations}}}}}, "spec": {{
                "restartPolicy": "Never",
                "containers": [{{"name": "main", "image": "busybox:1", "command": ["sh", "-c", "{command}"]}}]}}}}}}}}"#
    )
}

fn wait_job(cluster: &Cluster, name: &str, condition: &str) {
    let condition = format!("--for=condition={condition}");
    cluster
        .kubectl(["wait", &format!("job/{name}"), &condition, "--timeout=60s"])
        .expect("the Job ends");
}

fn exit_code(cluster: &Cluster, job: &str) -> String {
    let query = "jsonpath={.items[*].status.containerStatuses[*].state.terminated.exitCode}";
    cluster
        .kubectl(["get", "pods", "-l", &format!("job-name={job}"), "-o", query])
        .expect("kubectl lists Pods")
}

fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn assert_gone(pids: &[u32]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Some(pid) = pids.iter().find(|pid| runs(**pid)) {
        assert!(Instant::now() < deadline, "process {pid} of the cluster still runs");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn two_simulated_clusters_do_not_meet() {
    let start = |name| thread::spawn(move || Cluster::start(Options::new(dir(name))).unwrap());
    let (one, two) = (start("one"), start("two"));
    let (one, two) = (one.join().unwrap(), two.join().unwrap());
    assert_eq!((one.node(), two.node()), (Node::Kwok, Node::Kwok));
    assert_ne!(one.server(), two.server());

    let fail = r#""releaselifecycle.dev/test-outcome": "fail""#;
    let never = r#""releaselifecycle.dev/test-outcome": "never""#;
    let slow = r#""releaselifecycle.dev/test-delay": "3s""#;
    for (name, annotations) in [("succeeds", ""), ("fails", fail), ("hangs", never), ("slow", slow)]
    {
        one.apply(&job(name, annotations, "true")).unwrap();
    }
    wait_job(&one, "succeeds", "Complete");
    wait_job(&one, "fails", "Failed");
    assert_eq!(exit_code(&one, "slow"), "");
    wait_job(&one, "slow", "Complete");
    assert_eq!(exit_code(&one, "succeeds"), "0");
    assert_eq!(exit_code(&one, "fails"), "1");
    assert_eq!(exit_code(&one, "hangs"), "");
    assert_eq!(two.kubectl(["get", "jobs", "-A", "-o", "name"]).unwrap(), "");

    let created = |cluster: &Cluster| {
        let log = fs::read_to_string(cluster.audit_log()).unwrap();
        let lines = log.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        lines
            .filter(|e| e["objectRef"]["resource"] == "jobs" && e["user"]["username"] == "admin")
            .filter(|e| e["verb"] == "patch" && e["requestObject"]["kind"] == "Job")
            .count()
    };
    assert_eq!((created(&one), created(&two)), (4, 0));

    let pids = [one.pids(), two.pids()].concat();
    assert!(pids.iter().all(|pid| runs(*pid)));
    drop(one);
    assert!(two.kubectl(["get", "nodes"]).is_ok(), "stopping one cluster stopped the other");
    drop(two);
    assert_gone(&pids);
}

#[test]
fn a_real_node_runs_containers() {
    let cluster = Cluster::start(Options::new(dir("real")).node(Node::Real)).unwrap();
    if cluster.node() == Node::Kwok {
        // Past the harness, which hides what a passing test prints.
        writeln!(std::io::stderr(), "SKIPPED a_real_node_runs_containers: see the reason above")
            .unwrap();
        return;
    }
    cluster.apply(&job("succeeds", "", "echo migrated; sleep 1")).unwrap();
    // Without a tag an image is pulled even if it is there.
    let untagged = job("fails", "", "echo broken; exit 3").replace("busybox:1", "busybox");
    cluster.apply(&untagged).unwrap();
    wait_job(&cluster, "succeeds", "Complete");
    wait_job(&cluster, "fails", "Failed");
    assert_eq!(cluster.kubectl(["logs", "job/succeeds"]).unwrap(), "migrated\n");
    assert_eq!(cluster.kubectl(["logs", "job/fails"]).unwrap(), "broken\n");
    assert_eq!(exit_code(&cluster, "fails"), "3");
    assert_services_lead_to_ready_pods(&cluster);

    let pids = cluster.pids();
    let mounts = || fs::read_to_string("/proc/mounts").unwrap();
    drop(cluster);
    assert_gone(&pids);
    assert!(!mounts().contains(dir("real").to_str().unwrap()), "{}", mounts());
}

fn assert_services_lead_to_ready_pods(cluster: &Cluster) {
    let web = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {
            "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app": "web"}},
         "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "main", "image": "busybox:1",
            "command": ["sh", "-c", "echo open > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]}]}}]}"#;
    cluster.apply(web).expect("a Service and its Pod are made");
    let ready = ["wait", "pod/web", "--for=condition=Ready", "--timeout=60s"];
    cluster.kubectl(ready).expect("the Pod serves");
    // From a Pod of the same node, which is the harder way.
    let ask = "until wget -q -O - http://$WEB_SERVICE_HOST; do sleep 0.2; done";
    cluster.apply(&job("asks", "", ask)).expect("a Job is made");
    wait_job(cluster, "asks", "Complete");
    let answer = cluster.kubectl(["logs", "job/asks"]).expect("the Job has a log");
    assert_eq!(answer, "open\n");
}

/// The other half of the next test, which runs it in a process of its own.
#[test]
fn holds_a_cluster_until_killed() {
    let Some(dir) = env::var_os("TESTKIT_HOLD_CLUSTER") else {
        return;
    };
    let _cluster = Cluster::start(Options::new(dir).node(Node::Real)).unwrap();
    thread::sleep(Duration::from_mins(10));
}

#[test]
fn a_killed_process_leaves_no_cluster() {
    let dir = dir("killed");
    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["--exact", "holds_a_cluster_until_killed"])
        .env("TESTKIT_HOLD_CLUSTER", &dir)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_mins(2);
    let cluster = loop {
        assert!(holder.try_wait().unwrap().is_none(), "no cluster was started");
        assert!(Instant::now() < deadline, "no cluster after 120 s");
        match Cluster::attach(&dir) {
            Some(cluster) => break cluster,
            None => thread::sleep(Duration::from_millis(200)),
        }
    };
    let pids = cluster.pids();
    assert!(pids.len() >= 5 && pids.iter().all(|pid| runs(*pid)), "{pids:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_gone(&pids);
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(dir.to_str().unwrap()), "{mounts}");
    // Removes the files and the empty cgroups, which no kernel does.
    testkit::cluster::stop(&dir).unwrap();
    testkit::cluster::stop(&dir).unwrap();
}
