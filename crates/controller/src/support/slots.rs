//! The slots of reconciliations, shared fairly among namespaces: the tenant of one may make each of
//! its reconciliations last.
//!
//! A namespace that has a fair part of the slots gets more only while others have some to spare, and
//! whoever has had a slot for long gives it back at its next step while others wait. Among those that wait, the
//! namespace with the fewest slots is next, and among equals the one that waits longest.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::support::sync::lock;

/// The time after which a slot is given back at the next step if others wait for one.
const BUDGET: Duration = Duration::from_secs(5);

/// The slots.
pub(crate) struct Slots {
    /// The slots that only a namespace with fewer than this many may take.
    reserve: usize,
    state: Mutex<State>,
    report: Box<Report>,
}

/// Reports how many reconciliations of a namespace wait.
type Report = dyn Fn(&str, usize) + Send + Sync;

#[derive(Default)]
struct State {
    free: usize,
    /// The number of slots that each namespace has.
    taken: HashMap<String, usize>,
    /// Those that wait, in the order in which the first of each namespace came.
    waiting: VecDeque<(String, VecDeque<oneshot::Sender<()>>)>,
}

/// A slot, until it is dropped.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    namespace: String,
    since: Instant,
    /// False while [`Slot::share`] waits for another one.
    is_held: bool,
}

impl Slots {
    /// Returns `most` slots. `report` is called with a namespace and the number of its
    /// reconciliations that wait, whenever that changes.
    pub(crate) fn new(most: usize, report: impl Fn(&str, usize) + Send + Sync + 'static) -> Self {
        let state = State { free: most.max(1), ..State::default() };
        Self { reserve: most.div_ceil(4), state: Mutex::new(state), report: Box::new(report) }
    }

    /// Takes a slot, when it is the turn of the namespace.
    pub(crate) async fn take(self: &Arc<Self>, namespace: &str) -> Slot {
        self.wait(namespace).await;
        let (namespace, since) = (namespace.to_owned(), Instant::now());
        Slot { slots: Arc::clone(self), namespace, since, is_held: true }
    }

    async fn wait(&self, namespace: &str) {
        let turn = {
            let mut state = lock(&self.state);
            if state.may_take(namespace, self.reserve) {
                state.give(namespace);
                return;
            }
            let (turn, called) = oneshot::channel();
            let waiting = state.enqueue(namespace, turn);
            (self.report)(namespace, waiting);
            called
        };
        let mut place = Place { slots: self, namespace, turn };
        // It fails only if the place is dropped without a call, which never happens.
        let _ = (&mut place.turn).await;
        place.turn.close();
    }

    fn put_back(&self, namespace: &str) {
        let mut state = lock(&self.state);
        state.free += 1;
        if let Some(taken) = state.taken.get_mut(namespace) {
            *taken -= 1;
            if *taken == 0 {
                state.taken.remove(namespace);
            }
        }
        while let Some((next, waiting)) = state.call(self.reserve) {
            (self.report)(&next, waiting);
        }
    }
}

impl State {
    fn taken_by(&self, namespace: &str) -> usize {
        self.taken.get(namespace).copied().unwrap_or_default()
    }

    /// Returns true if the rules leave a slot to the namespace.
    fn may_take(&self, namespace: &str, reserve: usize) -> bool {
        let needed = if self.taken_by(namespace) < reserve { 0 } else { reserve };
        self.free > needed
    }

    fn give(&mut self, namespace: &str) {
        self.free -= 1;
        *self.taken.entry(namespace.to_owned()).or_default() += 1;
    }

    /// Returns the number of those of the namespace that wait.
    fn enqueue(&mut self, namespace: &str, turn: oneshot::Sender<()>) -> usize {
        if let Some((_, queue)) = self.waiting.iter_mut().find(|(of, _)| of == namespace) {
            queue.push_back(turn);
            return queue.len();
        }
        self.waiting.push_back((namespace.to_owned(), VecDeque::from([turn])));
        1
    }

    /// Gives a slot to the next one that waits; returns its namespace, and the number of those of it
    /// that still wait. `None` if nobody may have one.
    fn call(&mut self, reserve: usize) -> Option<(String, usize)> {
        let may_take = (0..self.waiting.len())
            .filter(|at| self.may_take(&self.waiting[*at].0, reserve))
            .min_by_key(|at| self.taken_by(&self.waiting[*at].0))?;
        let (namespace, mut queue) = self.waiting.remove(may_take)?;
        // One that was dropped meanwhile needs none.
        while let Some(turn) = queue.pop_front() {
            self.give(&namespace);
            if turn.send(()).is_ok() {
                break;
            }
            self.free += 1;
            if let Some(taken) = self.taken.get_mut(&namespace) {
                *taken -= 1;
            }
        }
        let waiting = queue.len();
        if waiting > 0 {
            // The others of its namespace wait behind all other namespaces.
            self.waiting.push_back((namespace.clone(), queue));
        }
        Some((namespace, waiting))
    }
}

/// A place in the queue. A slot that was given to it when it was dropped is put back.
struct Place<'a> {
    slots: &'a Slots,
    namespace: &'a str,
    turn: oneshot::Receiver<()>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turn.close();
        if self.turn.try_recv().is_ok() {
            self.slots.put_back(self.namespace);
        }
    }
}

impl Slot {
    /// Returns true if the slot was held for long and others wait for one.
    pub(crate) fn is_due(&self) -> bool {
        self.since.elapsed() >= BUDGET && !lock(&self.slots.state).waiting.is_empty()
    }

    /// Gives the slot to others if it is due, and comes back when it is the turn of the namespace
    /// again: for work that would have to start over otherwise, and might never end.
    pub(crate) async fn share(&mut self) {
        if !self.is_due() {
            return;
        }
        self.is_held = false;
        self.slots.put_back(&self.namespace);
        self.slots.wait(&self.namespace).await;
        (self.is_held, self.since) = (true, Instant::now());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_held {
            self.slots.put_back(&self.namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::task::JoinHandle;

    use super::*;

    fn slots(most: usize) -> Arc<Slots> {
        Arc::new(Slots::new(most, |_, _| {}))
    }

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(future).poll(&mut context) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        }
    }

    fn waiting(slots: &Arc<Slots>, namespace: &'static str) -> JoinHandle<Slot> {
        let slots = Arc::clone(slots);
        tokio::spawn(async move { slots.take(namespace).await })
    }

    #[test]
    fn one_namespace_leaves_a_quarter_to_others() {
        let slots = slots(8);
        let mut held: Vec<_> = (0..6).map(|_| now(slots.take("a")).unwrap()).collect();
        assert!(now(slots.take("a")).is_none());
        held.extend((0..2).map(|_| now(slots.take("b")).unwrap()));
        assert!(now(slots.take("c")).is_none(), "all are taken");
        held.pop();
        assert!(now(slots.take("a")).is_none(), "it is not for the one that has most");
        assert!(now(slots.take("c")).is_some());
    }

    #[test]
    fn a_single_slot_serves_all() {
        let slots = slots(1);
        let one = now(slots.take("a")).unwrap();
        assert!(now(slots.take("b")).is_none());
        drop(one);
        assert!(now(slots.take("b")).is_some());
        assert!(now(slots.take("a")).is_some(), "whoever gave up waiting keeps nothing");
    }

    #[tokio::test]
    async fn the_namespace_with_the_fewest_slots_is_next() {
        let slots = slots(4);
        let mut held = Vec::new();
        for namespace in ["a", "a", "a", "b"] {
            held.push(slots.take(namespace).await);
        }
        let more_of_a: Vec<_> = (0..3).map(|_| waiting(&slots, "a")).collect();
        tokio::task::yield_now().await;
        let of_c = waiting(&slots, "c");
        tokio::task::yield_now().await;
        held.remove(0);
        let _c = of_c.await.unwrap();
        assert!(more_of_a.iter().all(|it| !it.is_finished()));
        held.clear();
        for one in more_of_a {
            drop(one.await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_slot_that_is_held_for_long_is_due_while_others_wait() {
        let slots = slots(1);
        let mut long = slots.take("a").await;
        long.since = Instant::now().checked_sub(BUDGET).unwrap();
        assert!(!long.is_due(), "nobody waits");
        let other = waiting(&slots, "b");
        tokio::task::yield_now().await;
        assert!(long.is_due());
        long.since = Instant::now();
        assert!(!long.is_due(), "it was just taken");
        drop(long);
        drop(other.await.unwrap());
    }

    #[tokio::test]
    async fn the_report_names_who_waits() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let report = Arc::clone(&seen);
        let slots =
            Arc::new(Slots::new(1, move |who, many| lock(&report).push((who.to_owned(), many))));
        let one = slots.take("a").await;
        let other = waiting(&slots, "b");
        tokio::task::yield_now().await;
        drop(one);
        drop(other.await.unwrap());
        assert_eq!(*lock(&seen), [("b".to_owned(), 1), ("b".to_owned(), 0)]);
    }
}
