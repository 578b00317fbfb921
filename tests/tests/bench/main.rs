//! `make bench`: the operator, the pinned Helm and the floor, one after the other on one control plane.
//! Every figure of `docs/src/benchmarks.md` comes from one run of it.
//!
//! - `knobs`: the size of a run
//! - `stage`: the cluster, and how anything is measured on it; `measure`, `requests`, `watching`
//! - `ours`, `helm`, `floor`: the clients
//! - `compare`, `scale`: the scenarios
//! - `report`, `plot`, `numbers`, `machine`: the page

mod compare;
mod floor;
mod helm;
mod knobs;
mod machine;
mod measure;
mod numbers;
mod ours;
mod plot;
mod report;
mod requests;
mod scale;
mod stage;
mod watching;

use anyhow::Result;
use jiff::Timestamp;

use crate::{knobs::Knobs, machine::Machine, report::Report, stage::Stage};

#[test]
#[ignore = "a benchmark: make bench"]
fn ours_helm_and_the_floor() -> Result<()> {
    let machine = Machine::read()?;
    let knobs = Knobs::read(machine.memory_mib)?;
    let mut stage = Stage::set_up(knobs.clone())?;
    let versions = machine::versions(stage.cluster)?;
    let (mut comparisons, resync) = compare::with_hooks(&mut stage)?;
    for releases in knobs.without_hooks() {
        comparisons.push(compare::without_hooks(&mut stage, releases)?);
    }
    let [few, many] = knobs.scales();
    let in_sync = [scale::in_sync(&mut stage, few)?, scale::in_sync(&mut stage, many)?];
    let live = [scale::live(&mut stage, few)?, scale::live(&mut stage, many)?];
    let report = Report {
        date: Timestamp::now().strftime("%-d %B %Y").to_string(),
        machine: machine.line(),
        versions,
        knobs,
        comparisons,
        resync,
        in_sync,
        live,
    };
    println!("{}", report::text(&report));
    report::write(&report)
}
