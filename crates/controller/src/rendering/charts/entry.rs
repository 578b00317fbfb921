//! The known facts about the chart of one release, and the next step to get it. Pure.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lifecycle::journal::Failure;
use tokio::sync::watch;

use super::cache::Scope;

/// The occasion of a request for a chart. On another occasion the server is asked again, whatever
/// is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Occasion {
    pub(super) generation: i64,
    pub(super) retry: Option<String>,
    pub(super) restart: Option<String>,
}

/// The reason why there is no chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Only a change helps, on this side or at the server.
    Blocked(Failure),
    /// Waiting may help.
    RetryAfter(Failure),
}

/// The entry of one release and one request.
pub(super) struct Entry {
    /// The server, the request to it, and the credentials.
    request: Scope,
    found: Option<Fetched>,
    failed: Option<Failed>,
    pub(super) under_way: Option<UnderWay>,
    /// True if the release went away without a chart, and waits for the end of the running fetch.
    left: bool,
}

struct Fetched {
    occasion: Occasion,
    at: Instant,
    digest: String,
    /// The archive, until it is first taken; from then on it is in the cache, or must be fetched
    /// again.
    archive: Option<Arc<[u8]>>,
}

struct Failed {
    occasion: Occasion,
    /// The server is not asked again before this time.
    until: Instant,
    problem: Problem,
}

#[derive(Clone)]
pub(super) struct UnderWay {
    pub(super) id: u64,
    /// True if others are served first.
    pub(super) queued: bool,
    /// Closes at the end.
    pub(super) done: watch::Receiver<()>,
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Use { digest: String, archive: Option<Arc<[u8]>> },
    Fail(Problem, Duration),
    Wait,
    Ask,
}

impl Entry {
    pub(super) fn new(request: Scope) -> Self {
        Self { request, found: None, failed: None, under_way: None, left: false }
    }

    /// Returns the size of an archive that nobody has taken yet.
    pub(super) fn kept_bytes(&self) -> usize {
        let archive = self.found.as_ref().and_then(|found| found.archive.as_ref());
        archive.map_or(0, |archive| archive.len())
    }

    pub(super) fn is_for(&self, request: &Scope) -> bool {
        self.request == *request
    }

    pub(super) fn next(&mut self, occasion: &Occasion, interval: Duration, now: Instant) -> Next {
        if let Some(found) = &mut self.found
            && found.occasion == *occasion
            && now.saturating_duration_since(found.at) < interval
        {
            return Next::Use { digest: found.digest.clone(), archive: found.archive.take() };
        }
        if self.under_way.is_some() {
            return Next::Wait;
        }
        match &self.failed {
            Some(Failed { occasion: on, until, problem }) if on == occasion && *until > now => {
                Next::Fail(problem.clone(), *until - now)
            }
            _ => Next::Ask,
        }
    }

    /// Returns until when the known chart is valid.
    pub(super) fn until(&self, interval: Duration) -> Option<Instant> {
        self.found.as_ref().map(|found| found.at + interval)
    }

    /// Returns the digest of the chart that was found last, whenever that was.
    pub(super) fn digest(&self) -> Option<&str> {
        self.found.as_ref().map(|found| &*found.digest)
    }

    /// Returns the result to use until the answer is there: when only the interval has passed, a
    /// release continues with the known chart.
    pub(super) fn meanwhile(&mut self, occasion: &Occasion) -> Result<Option<String>, Problem> {
        let known = match (&self.failed, &self.found) {
            (Some(failed), _) if failed.occasion == *occasion => Err(failed.problem.clone()),
            (_, Some(found)) if found.occasion == *occasion => Ok(Some(found.digest.clone())),
            _ => Ok(None),
        };
        self.left |= !matches!(known, Ok(Some(_)));
        known
    }

    /// Forgets a chart that no longer exists.
    pub(super) fn lose(&mut self) {
        self.found = None;
    }

    /// Records that the chart was found. Returns true if that is news, or if a release waits for
    /// it.
    pub(super) fn succeed(
        &mut self,
        occasion: Occasion,
        at: Instant,
        digest: String,
        archive: Option<Arc<[u8]>>,
    ) -> bool {
        self.under_way = None;
        let had_failed = self.failed.take().is_some();
        let known = self.found.take().filter(|found| found.occasion == occasion);
        let is_new = known.is_none_or(|found| found.digest != digest);
        self.found = Some(Fetched { occasion, at, digest, archive });
        std::mem::take(&mut self.left) || had_failed || is_new
    }

    pub(super) fn fail(&mut self, occasion: Occasion, until: Instant, problem: Problem) {
        (self.under_way, self.left) = (None, false);
        self.failed = Some(Failed { occasion, until, problem });
    }
}

#[cfg(test)]
mod tests {
    use lifecycle::reason::Reason;

    use super::*;

    const INTERVAL: Duration = Duration::from_mins(10);

    fn entry() -> Entry {
        Entry::new(Scope::of(&"request"))
    }

    fn occasion(generation: i64) -> Occasion {
        Occasion { generation, ..Occasion::default() }
    }

    fn under_way() -> UnderWay {
        UnderWay { id: 1, queued: false, done: watch::channel(()).1 }
    }

    fn used(digest: &str, archive: Option<&[u8]>) -> Next {
        Next::Use { digest: digest.to_owned(), archive: archive.map(Arc::from) }
    }

    #[test]
    fn what_was_found_holds_for_the_interval_and_the_occasion() {
        let (mut entry, now) = (entry(), Instant::now());
        let one = occasion(1);
        assert_eq!(entry.next(&one, INTERVAL, now), Next::Ask);
        assert!(entry.succeed(one.clone(), now, "a".to_owned(), Some((*b"chart").into())));
        assert_eq!(entry.next(&one, INTERVAL, now), used("a", Some(b"chart")));
        let late = now + INTERVAL;
        let before = late.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(entry.next(&one, INTERVAL, before), used("a", None));
        assert_eq!(entry.next(&one, INTERVAL, late), Next::Ask);
        assert_eq!(entry.next(&occasion(2), INTERVAL, now), Next::Ask);
        let retry = Occasion { retry: Some("1".to_owned()), ..one.clone() };
        assert_eq!(entry.next(&retry, INTERVAL, now), Next::Ask);
        entry.lose();
        assert_eq!(entry.next(&one, INTERVAL, now), Next::Ask);
    }

    #[test]
    fn while_the_server_is_asked_again_what_was_found_will_do_but_not_on_a_new_occasion() {
        let (mut entry, now) = (entry(), Instant::now());
        entry.succeed(occasion(1), now, "a".to_owned(), None);
        entry.under_way = Some(under_way());
        let late = now + INTERVAL;
        assert_eq!(entry.next(&occasion(1), INTERVAL, late), Next::Wait);
        assert_eq!(entry.meanwhile(&occasion(1)), Ok(Some("a".to_owned())));
        assert!(!entry.succeed(occasion(1), late, "a".to_owned(), None), "nothing is new");
        entry.under_way = Some(under_way());
        assert_eq!(entry.meanwhile(&occasion(2)), Ok(None));
        assert!(entry.succeed(occasion(1), late, "a".to_owned(), None), "it was waited for");
        assert!(entry.succeed(occasion(1), late, "b".to_owned(), None));
        assert!(entry.succeed(occasion(2), late, "b".to_owned(), None));
    }

    #[test]
    fn a_failure_keeps_from_asking_for_a_while_and_is_said_while_it_is_asked_again() {
        let (mut entry, now) = (entry(), Instant::now());
        let problem = Problem::RetryAfter(Failure::new(Reason::SourceUnreachable, "no answer"));
        entry.succeed(occasion(1), now, "a".to_owned(), None);
        let late = now + INTERVAL;
        let until = late + Duration::from_secs(5);
        entry.fail(occasion(1), until, problem.clone());
        let left = Next::Fail(problem.clone(), Duration::from_secs(5));
        assert_eq!(entry.next(&occasion(1), INTERVAL, late), left);
        assert_eq!(entry.next(&occasion(2), INTERVAL, late), Next::Ask);
        assert_eq!(entry.next(&occasion(1), INTERVAL, until), Next::Ask);
        entry.under_way = Some(under_way());
        assert_eq!(entry.meanwhile(&occasion(1)), Err(problem));
        assert_eq!(entry.digest(), Some("a"), "so that it is not fetched whole again");
        assert!(entry.succeed(occasion(1), until, "a".to_owned(), None), "that it is back is news");
    }
}
