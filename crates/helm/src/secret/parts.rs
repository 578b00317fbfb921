//! The parts that fill a record that is too large.

use serde::Serialize;

use super::Plans;
use crate::record::{self, Release};

/// A part smaller than this fraction of the total is not mentioned.
const WORTH_A_WORD: usize = 200;

/// Returns the parts of a Secret that make up its size, the largest first: a name, and the bytes
/// that it would take alone. Together they take a little less, since repeated text is compressed.
pub(super) fn of(release: &Release, plans: &Plans) -> Vec<(&'static str, usize)> {
    let chart = &release.chart;
    let mut parts = vec![
        ("manifest", stored(&release.manifest)),
        ("hooks", stored(&release.hooks)),
        ("chart values", stored(&chart.values)),
        ("user values", stored(&release.config)),
        ("notes", stored(&release.info.notes)),
        ("chart metadata", stored(&chart.metadata)),
        ("other fields", stored(&release.extra)),
    ];
    parts.extend(plans.iter().map(|(key, plan)| (*key, plan.len())));
    let total: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    parts.retain(|(_, bytes)| bytes.saturating_mul(WORTH_A_WORD) >= total);
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    parts
}

fn stored(part: &impl Serialize) -> usize {
    record::pack(&record::to_json(part)).len()
}

/// `manifest 700000, plan 400000`.
pub(super) fn listed(parts: &[(&'static str, usize)]) -> String {
    let parts: Vec<_> = parts.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    parts.join(", ")
}
