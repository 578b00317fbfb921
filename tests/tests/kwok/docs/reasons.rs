//! Every reason that the operator can write has an entry in the troubleshooting, and the reverse.

use std::collections::BTreeSet;

use anyhow::Result;
use e2e::{documentation::Page, markdown};
use lifecycle::reason::Reason;

#[test]
fn every_reason_has_an_entry_and_every_entry_is_a_reason() -> Result<()> {
    let page = Page::of_docs("troubleshooting.md")?;
    let entries = markdown::headings(&page.text).into_iter().filter(|(level, _)| *level == 3);
    let entries: Vec<_> = entries.map(|(_, heading)| heading).collect();
    let entered: BTreeSet<_> = entries.iter().map(String::as_str).collect();
    assert_eq!(entries.len(), entered.len(), "an entry is there twice");
    let reasons: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let missing: Vec<_> = reasons.difference(&entered).collect();
    let unknown: Vec<_> = entered.difference(&reasons).collect();
    assert!(missing.is_empty(), "no entry for {missing:?}");
    assert!(unknown.is_empty(), "entries for what the operator never says: {unknown:?}");
    Ok(())
}
