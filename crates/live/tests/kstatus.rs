//! Readiness against the answers of the Go kstatus library, `github.com/fluxcd/cli-utils` 1.2.2.
//!
//! Each line of the fixture is an object and what `status.Compute` says to it; an error is written
//! as `Unknown`, which is what kstatus's own readers make of it. The fixture was made by a program
//! of a few lines that decodes the objects as the API machinery does and calls that function.

use live::kstatus::{Readiness, readiness};
use serde_json::Value;

/// Objects that are judged differently on purpose; the reasons are in the module's description.
const DIFFERENT: [(&str, &str); 2] =
    [("pod-unschedulable", "InProgress"), ("pod-unschedulable-for-long", "InProgress")];

#[test]
fn answers_of_the_go_library() {
    let fixture = include_str!("fixtures/kstatus.json");
    let cases: Vec<Value> = serde_json::from_str(fixture).unwrap();
    assert!(cases.len() > 100, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let [name, kstatus] = ["name", "kstatus"].map(|key| case[key].as_str().unwrap());
        let found = readiness(&case["object"]);
        let state = match found {
            Readiness::Current => "Current",
            Readiness::InProgress { .. } => "InProgress",
            Readiness::Failed { .. } => "Failed",
            Readiness::Terminating { .. } => "Terminating",
            Readiness::Unknown { .. } => "Unknown",
        };
        let different = DIFFERENT.iter().find(|(different, _)| *different == name);
        let expected = different.map_or(kstatus, |(_, expected)| expected);
        if state != expected {
            wrong.push(format!("{name}: {found:?}, kstatus says {kstatus}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (name, expected) in DIFFERENT {
        let case = cases.iter().find(|case| case["name"] == name).unwrap();
        assert_ne!(case["kstatus"], expected, "{name} is no longer different");
    }
}
