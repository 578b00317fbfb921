//! A plan as bytes of its record.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use lifecycle::plan::Plan;

/// The maximum size of a plan after decompression; the object that it is created from is at most
/// 1.5 MiB.
const MAX_PLAN_BYTES: u64 = 16 * 1024 * 1024;

/// Returns the plan with its digest; `None` if the bytes are no plan, or inflate to too much.
pub(super) fn thaw(bytes: &[u8]) -> Option<(Plan, String)> {
    let mut inflated = Vec::new();
    GzDecoder::new(bytes).take(MAX_PLAN_BYTES).read_to_end(&mut inflated).ok()?;
    Plan::thaw(&inflated).ok()
}

/// Returns the bytes of the plan, compressed.
#[expect(clippy::expect_used, reason = "a Vec takes all that is written")]
pub(super) fn frozen(plan: &Plan) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(&plan.freeze().0)
        .and_then(|()| encoder.finish())
        .expect("a Vec takes all that is written")
}
