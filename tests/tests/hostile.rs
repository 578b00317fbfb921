//! Text that a tenant can write, changed at random: nothing panics, and whatever is read takes no more
//! memory than its budget. `make fuzz` tries far more of it.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    fixture::Fixture,
    manifests::{Manifest, deployment, job, pod},
};
use helm::stored::{Holder, Stored};
use jiff::Timestamp;
use lifecycle::{
    annotations,
    decide::{Controls, decide, query},
    drift,
    event::{Event, HookEvent},
    hooks,
    journal::{Journal, Requests},
    known::KnownPlans,
    observation::Observation,
    plan::{Begin, Plan},
    source::{Author, Desired},
    terminal, testing,
};
use live::{kstatus, observe};
use manifests::{memory::Memory, placed::Placed, yaml};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Map, Value, json};

/// A value of any shape, with the words that mean something somewhere.
fn value() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "",
        "v1",
        "Job",
        "Pod",
        "List",
        "batch/v1",
        "pre-install",
        "post-delete",
        "test",
        "hook-succeeded",
        "-2147483649",
        "99999999999999999999",
        "2026-01-01T00:00:00Z",
        "-9999-01-01T00:00:00Z",
        "True",
        "False",
        "../..",
        "a/b/c",
        "\u{1b}[31m",
        "ä\u{0}\n",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|float| json!(float)),
        word.prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = prop_oneof![
            prop::sample::select(vec![
                "metadata",
                "name",
                "labels",
                "annotations",
                "helm.sh/hook",
                "spec",
                "status",
                "helm.sh/hook-weight",
                "helm.sh/hook-delete-policy",
                "items",
                "kind",
                "uid",
                "conditions",
                "type",
                "template",
                "managedFields",
                "fieldsV1",
                "f:spec",
                "time",
            ])
            .prop_map(str::to_owned),
            ".{0,12}",
        ];
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((key, inner), 0..5)
                .prop_map(|fields| { Value::from(fields.into_iter().collect::<Map<_, _>>()) }),
        ]
    })
}

/// Changes of a value: at each place, given by its number, stands another one.
fn changes() -> impl Strategy<Value = Vec<(Index, Value)>> {
    vec((any::<Index>(), value()), 0..6)
}

fn changed(mut whole: Value, changes: &[(Index, Value)]) -> Value {
    for (place, other) in changes {
        let place = place.index(count(&whole));
        replace(&mut whole, &mut (place + 1), other);
    }
    whole
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>(),
        Value::Object(fields) => fields.values().map(count).sum(),
        _ => 0,
    }
}

fn replace(value: &mut Value, left: &mut usize, other: &Value) {
    *left -= 1;
    if *left == 0 {
        *value = other.clone();
        return;
    }
    let inner: Box<dyn Iterator<Item = &mut Value>> = match value {
        Value::Array(items) => Box::new(items.iter_mut()),
        Value::Object(fields) => Box::new(fields.values_mut()),
        _ => return,
    };
    for value in inner {
        replace(value, left, other);
        if *left == 0 {
            return;
        }
    }
}

fn plan() -> Plan {
    let hook = |event, name| testing::hook(event, testing::object("Job", name));
    Plan {
        hooks: vec![hook(HookEvent::PreInstall, "a"), hook(HookEvent::PostInstall, "b")],
        prune: vec![testing::object("ConfigMap", "old")],
        ..testing::plan(Event::Install)
    }
}

fn now() -> Timestamp {
    Timestamp::constant(1_800_000_000, 0)
}

/// Takes as many steps with the plan as an operation that nothing answers takes.
fn drive(plan: &Plan, mut journal: Journal) {
    for _ in 0..20 {
        let _ = query(&journal);
        let observation = Observation::Recorded { plan_digest: "sha256:1".to_owned(), open: true };
        let step = decide(plan, &journal, &observation, &Controls::default(), now());
        journal = step.journal;
        for observation in [Observation::Nothing, Observation::Hook(None), Observation::Executed] {
            let _ = decide(plan, &journal, &observation, &Controls::default(), now());
        }
    }
}

fn begun(plan: &Plan) -> Journal {
    let begin = Begin {
        id: plan.operation.clone(),
        event: plan.event,
        revision: plan.revision,
        target: plan.target,
        remedies: None,
        generation: 1,
    };
    Journal::begin(begin, String::new(), Requests::default(), now())
}

/// The recorded statuses of each scenario.
static STATES: LazyLock<Vec<Vec<Value>>> = LazyLock::new(|| {
    let fixtures = Fixture::all().unwrap_or_default();
    fixtures.values().map(|fixture| fixture.states().map(|state| state.status).collect()).collect()
});

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan(changes in changes()) {
        let frozen: Value = serde_json::from_slice(&plan().freeze().0).unwrap();
        let bytes = changed(frozen, &changes).to_string().into_bytes();
        if let Ok((plan, _)) = Plan::thaw(&bytes) {
            let (again, digest) = plan.freeze();
            prop_assert_eq!(Plan::thaw(&again).unwrap().1, digest, "printing and reading is stable");
            let _ = plan.outside("prod");
            let journal = begun(&plan);
            drive(&plan, journal);
        }
    }

    #[test]
    fn a_status(changes in changes(), fixture in any::<Index>(), state in any::<Index>()) {
        let states = &STATES[fixture.index(STATES.len())];
        let status = changed(states[state.index(states.len())].clone(), &changes);
        if let Ok(status) = serde_json::from_value::<api::ReleaseLifecycleStatus>(status)
            && let Some(journal) = status.journal()
        {
            drive(&plan(), journal);
        }
    }

    #[test]
    fn a_record(changes in changes(), around in changes()) {
        let record = json!({"name": "shop", "namespace": "prod", "version": 3,
            "info": {"status": "deployed", "first_deployed": "2026-01-01T00:00:00Z"},
            "chart": {"metadata": {"name": "shop", "version": "1.0.0"}, "values": {"a": 1}},
            "config": {"b": [1, 2]}, "manifest": "kind: ConfigMap\nmetadata: {name: a}\n",
            "hooks": [{"name": "a", "kind": "Job", "path": "a.yaml", "events": ["pre-install"],
                       "manifest": "kind: Job\nmetadata: {name: a}\n", "last_run": {"phase": ""}}]});
        let record = changed(record, &changes).to_string();
        let secret = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "sh.helm.release.v1.shop.v3", "namespace": "prod",
                         "labels": {"owner": "helm", "name": "shop", "status": "deployed"}},
            "data": {"release": STANDARD.encode(STANDARD.encode(record))}});
        for holder in [Holder::Secret, Holder::ConfigMap] {
            let secret = changed(secret.clone(), &around);
            if let Ok(stored) = Stored::read(holder, &secret, &KnownPlans::default()) {
                let _ = (stored.summary(|_, _| true), stored.at_work());
                let _ = (stored.created(), stored.written_at(), stored.origin());
                let _ = helm::adopt::desired(&stored.release, "prod");
            }
        }
    }

    #[test]
    fn an_object_of_a_source(changes in changes(), text in ".{0,200}") {
        let whole = job("a").hook("pre-install,test").set("/spec/backoffLimit", 1);
        let object = changed(whole, &changes);
        let placed = Placed { place: "here".to_owned(), manifest: object.clone() };
        for author in [Author::User, Author::Chart] {
            if let Ok(desired) = Desired::parse(std::slice::from_ref(&placed), "prod", author) {
                for hook in &desired.hooks {
                    for policy in &hook.delete_policies {
                        prop_assert!(!policy.as_str().is_empty());
                    }
                }
            }
        }
        let _ = hooks::parse(&object);
        let _ = annotations::meaningless(&object);
        let mut memory = Memory::new(1 << 20);
        let _ = yaml::read_all(&text, &mut memory);
    }

    #[test]
    fn a_live_object(changes in changes(), pods in vec(changes(), 0..3), other in changes()) {
        let status = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "x"}]});
        for whole in [job("a").set("/status", status.clone()), pod("a"), deployment("a")] {
            let object = changed(whole.clone(), &changes);
            let pods: Vec<_> = pods.iter().map(|changes| changed(pod("a"), changes)).collect();
            let _ = kstatus::readiness(&object);
            let _ = (observe::has_ended(&object), observe::evidence_fades(&object, now()));
            let _ = observe::pods::tries(&object, &pods, None);
            let _ = observe::pods::deleted(&object, &pods);
            let _ = observe::stopped::job_verdict(&object, &pods, None);
            let _ = observe::event_objects::subject(&object, &pods);
            let _ = observe::unready::unready(&object, pods);
            for path in drift::differences(&object, &changed(whole, &other)) {
                let _ = path.pointer(&object, &object);
            }
        }
    }

    #[test]
    fn a_log(bytes in vec(any::<u8>(), 0..500)) {
        let text = terminal::log(&bytes);
        prop_assert!(text.chars().all(|it| !it.is_control() || it == '\n' || it == '\t'), "{text:?}");
        let _ = (terminal::sentence(&text), terminal::printable(&text));
    }
}
