//! Decides what to do next about the lease. Pure: the observed lease, the time of the observation
//! and the current time are inputs.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::MicroTime};
use thiserror::Error;

use crate::Timing;

/// The lease as it was last observed.
pub(crate) struct Seen<'a> {
    /// `None`: there is none.
    pub(crate) spec: Option<&'a LeaseSpec>,
    /// The time when this process first observed it so.
    pub(crate) since: Instant,
    /// The time when this process sent the last request that acquired or renewed it; `None` while
    /// another one leads.
    pub(crate) renewed: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nobody holds it, or we do from before a restart, or its holder let it expire.
    Acquire,
    /// This process holds it, and continues to.
    Renew,
    /// Another process leads, and may do so until then.
    WaitUntil(Instant),
    Lost(Loss),
}

/// The reason why this process no longer leads.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Loss {
    /// Another process holds the lease.
    #[error("{0} holds it now")]
    Taken(String),
    /// No renewal succeeded for this time: another process may take it soon.
    #[error("it was not renewed for {} s", .0.as_secs())]
    Overdue(Duration),
}

/// Decides without the clocks of other machines: the lease expires when our own monotonic clock has
/// measured its duration without a change of it.
pub(crate) fn decide(seen: &Seen<'_>, timing: &Timing, now: Instant, me: &str) -> Decision {
    let deadline = timing.renew_deadline;
    let other = seen.spec.and_then(holder).filter(|holder| *holder != me);
    match (seen.renewed, other) {
        (Some(_), Some(other)) => Decision::Lost(Loss::Taken(other.to_owned())),
        (Some(renewed), None) if now >= renewed + deadline => {
            Decision::Lost(Loss::Overdue(deadline))
        }
        (Some(_), None) => Decision::Renew,
        (None, None) => Decision::Acquire,
        (None, Some(_)) => {
            let end = seen.since + duration(seen.spec).unwrap_or(timing.duration);
            if now >= end { Decision::Acquire } else { Decision::WaitUntil(end) }
        }
    }
}

/// Returns its holder; `None` if it was released.
pub(crate) fn holder(spec: &LeaseSpec) -> Option<&str> {
    spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// Returns the duration that its holder asked for, which may have been started with other flags.
fn duration(spec: Option<&LeaseSpec>) -> Option<Duration> {
    let seconds = u64::try_from(spec?.lease_duration_seconds?).ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Returns the lease as held by `me`. Each process that acquires it is a transition, even one with
/// the identity of the last: another process acts. `known` are the transitions that were last
/// observed, also of a lease that was removed since.
pub(crate) fn acquired(
    seen: Option<&LeaseSpec>,
    timing: &Timing,
    now: Timestamp,
    me: &str,
    known: Option<i32>,
) -> LeaseSpec {
    let transitions = known.map(|known| known.saturating_add(1));
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(timing.duration.as_secs()).ok(),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(transitions.unwrap_or(0)),
        ..seen.cloned().unwrap_or_default()
    }
}

/// Returns the lease as still held by `me`, even if somebody removed or cleared it.
pub(crate) fn renewed(
    seen: Option<&LeaseSpec>,
    timing: &Timing,
    now: Timestamp,
    me: &str,
    epoch: i32,
) -> LeaseSpec {
    let fresh = acquired(seen, timing, now, me, None);
    let acquire_time = seen.and_then(|seen| seen.acquire_time.clone());
    let transitions = seen.and_then(|seen| seen.lease_transitions);
    LeaseSpec {
        acquire_time: acquire_time.or(fresh.acquire_time),
        lease_transitions: transitions.or(Some(epoch)),
        ..fresh
    }
}

/// Returns the lease as released, for the next one to take at once.
pub(crate) fn released(seen: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        // The same value as client-go's; zero is not allowed.
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(now)),
        ..seen.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "me";

    fn timing() -> Timing {
        Timing::new(Duration::from_secs(15))
    }

    fn held_by(holder: &str) -> LeaseSpec {
        LeaseSpec {
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            holder_identity: Some(holder.to_owned()),
            ..LeaseSpec::default()
        }
    }

    /// Returns the decision `after` the lease was first observed so, and, if we lead, was last
    /// renewed.
    fn after(after: Duration, spec: Option<&LeaseSpec>, leads: bool) -> (Instant, Decision) {
        let since = Instant::now();
        let seen = Seen { spec, since, renewed: leads.then_some(since) };
        (since, decide(&seen, &timing(), since + after, ME))
    }

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_lease_that_nobody_or_we_hold_is_acquired_at_once() {
        for spec in [
            None,
            Some(LeaseSpec::default()),
            Some(held_by("")),
            // From before a restart.
            Some(held_by(ME)),
        ] {
            let (_, decision) = after(Duration::ZERO, spec.as_ref(), false);
            assert_eq!(decision, Decision::Acquire, "{spec:?}");
        }
    }

    #[test]
    fn a_lease_of_another_expires_when_it_was_seen_unchanged_for_its_duration() {
        let other = held_by("other");
        for waited in [0.0, 5.0, 14.999] {
            let (since, decision) = after(secs(waited), Some(&other), false);
            assert_eq!(decision, Decision::WaitUntil(since + secs(15.0)), "after {waited} s");
        }
        assert_eq!(after(secs(15.0), Some(&other), false).1, Decision::Acquire);
        assert_eq!(after(secs(99.0), Some(&other), false).1, Decision::Acquire);
    }

    #[test]
    fn the_clock_of_the_holder_is_not_asked() {
        for time in ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"] {
            let renew_time = Some(MicroTime(time.parse().unwrap()));
            let other = LeaseSpec { renew_time, ..held_by("other") };
            assert!(matches!(after(secs(14.0), Some(&other), false).1, Decision::WaitUntil(_)));
            assert_eq!(after(secs(15.0), Some(&other), false).1, Decision::Acquire);
        }
    }

    #[test]
    fn the_holder_says_how_long_it_holds() {
        for (asked, granted) in [(Some(60), 60.0), (None, 15.0), (Some(0), 15.0), (Some(-1), 15.0)]
        {
            let other = LeaseSpec { lease_duration_seconds: asked, ..held_by("other") };
            let (since, decision) = after(secs(1.0), Some(&other), false);
            assert_eq!(decision, Decision::WaitUntil(since + secs(granted)), "{asked:?}");
        }
    }

    #[test]
    fn a_leader_renews_up_to_the_deadline_and_then_gives_up_though_nobody_took_it() {
        for spec in [Some(held_by(ME)), Some(held_by("")), None] {
            for waited in [0.0, 2.0, 9.999] {
                assert_eq!(after(secs(waited), spec.as_ref(), true).1, Decision::Renew);
            }
            for waited in [10.0, 14.0, 3600.0] {
                let (_, decision) = after(secs(waited), spec.as_ref(), true);
                assert_eq!(decision, Decision::Lost(Loss::Overdue(secs(10.0))), "{waited} s");
            }
        }
    }

    #[test]
    fn a_leader_gives_up_at_once_when_another_has_taken_the_lease() {
        let (_, decision) = after(Duration::ZERO, Some(&held_by("other")), true);
        assert_eq!(decision, Decision::Lost(Loss::Taken("other".to_owned())));
    }

    #[test]
    fn a_leader_has_given_up_before_another_one_takes_over() {
        let (lease, timing) =
            (acquired(None, &timing(), Timestamp::UNIX_EPOCH, ME, None), timing());
        let (renewed, end) = (Instant::now(), secs(60.0));
        // Another one observes a renewal after its request was sent, never before.
        for delay in [0.0, 1.0, 5.0] {
            let since = renewed + secs(delay);
            let (mut now, step) = (since, secs(0.25));
            let standby = Seen { spec: Some(&lease), since, renewed: None };
            let other = |now| decide(&standby, &timing, now, "b");
            while other(now) != Decision::Acquire && now < renewed + end {
                now += step;
            }
            let leader = Seen { spec: Some(&lease), since: renewed, renewed: Some(renewed) };
            let lost = Decision::Lost(Loss::Overdue(timing.renew_deadline));
            assert_eq!(decide(&leader, &timing, now, ME), lost);
            assert!(now >= renewed + timing.duration, "or it may still make objects");
        }
    }

    #[test]
    fn every_acquisition_is_a_transition_and_no_renewal_is() {
        let (first, then) = (Timestamp::UNIX_EPOCH, "2026-01-01T00:00:00Z".parse().unwrap());
        let timing = &timing();
        let made = acquired(None, timing, first, ME, None);
        assert_eq!(made.lease_transitions, Some(0));
        let kept = renewed(Some(&made), timing, then, ME, 0);
        assert_eq!(kept.lease_transitions, Some(0));
        assert_eq!(kept.acquire_time, Some(MicroTime(first)));
        assert_eq!(kept.renew_time, Some(MicroTime(then)));
        let free = released(&kept, then);
        assert_eq!((holder(&free), free.lease_transitions), (None, Some(0)));
        let next = acquired(Some(&free), timing, then, "other", Some(0));
        assert_eq!(next.lease_transitions, Some(1));
        assert_eq!(next.acquire_time, Some(MicroTime(then)));
        let again = acquired(Some(&next), timing, then, "other", Some(1));
        assert_eq!(again.lease_transitions, Some(2));
        // Somebody removed it: while another one held it, and while we did.
        assert_eq!(acquired(None, timing, then, ME, Some(2)).lease_transitions, Some(3));
        assert_eq!(renewed(None, timing, then, ME, 5).lease_transitions, Some(5));
    }
}
