//! Watches that several followers share: one for each place, up to a maximum, each ended with its
//! last follower.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::Hash,
};

use tokio::task::JoinHandle;

/// The place of a watch.
pub(super) trait InNamespace {
    /// Returns the namespace whose tenants the watch is for.
    fn namespace(&self) -> &str;
}

/// The watches by their places, each with the state that it has `seen`, and its followers, by their
/// keys.
pub(super) struct Registry<P, S> {
    most: usize,
    /// Warns that the maximum is reached.
    warn: fn(usize),
    is_full: bool,
    watches: HashMap<P, Watch<S>>,
    /// The number of watches of each namespace.
    taken: HashMap<String, usize>,
    /// The places of each follower that are watched.
    places: HashMap<String, BTreeSet<P>>,
}

struct Watch<S> {
    task: JoinHandle<()>,
    followers: BTreeSet<String>,
    seen: S,
}

impl<S> Drop for Watch<S> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<P: InNamespace + Clone + Eq + Hash + Ord, S: Default> Registry<P, S> {
    /// Returns a registry of at most `most` watches; `warn` is called once, if there would be more.
    pub(super) fn new(most: usize, warn: fn(usize)) -> Self {
        let (watches, taken, places) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { most, warn, is_full: false, watches, taken, places }
    }

    /// Makes `follower` follow these places and no others, as far as there is room. `start` begins
    /// the watch of a place without followers, if it can.
    pub(super) fn follow(
        &mut self,
        follower: &str,
        places: &BTreeSet<P>,
        start: impl Fn(&P) -> Option<JoinHandle<()>>,
    ) {
        let before = self.places.remove(follower).unwrap_or_default();
        for place in before.difference(places) {
            self.leave_one(follower, place);
        }
        let mut watched = BTreeSet::new();
        for place in places {
            if !self.watches.contains_key(place) {
                if !self.has_room(place.namespace()) {
                    if !std::mem::replace(&mut self.is_full, true) {
                        (self.warn)(self.most);
                    }
                    continue;
                }
                let Some(task) = start(place) else { continue };
                let watch = Watch { task, followers: BTreeSet::new(), seen: S::default() };
                self.watches.insert(place.clone(), watch);
                *self.taken.entry(place.namespace().to_owned()).or_default() += 1;
            }
            if let Some(watch) = self.watches.get_mut(place) {
                watch.followers.insert(follower.to_owned());
                watched.insert(place.clone());
            }
        }
        if !watched.is_empty() {
            self.places.insert(follower.to_owned(), watched);
        }
    }

    /// Ends all that the follower follows.
    pub(super) fn leave(&mut self, follower: &str) {
        for place in self.places.remove(follower).unwrap_or_default() {
            self.leave_one(follower, &place);
        }
    }

    fn leave_one(&mut self, follower: &str, place: &P) {
        let Some(watch) = self.watches.get_mut(place) else { return };
        watch.followers.remove(follower);
        if watch.followers.is_empty() {
            self.remove(place);
        }
    }

    fn remove(&mut self, place: &P) -> Option<Watch<S>> {
        let watch = self.watches.remove(place)?;
        if let Some(taken) = self.taken.get_mut(place.namespace()) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(place.namespace());
            }
        }
        Some(watch)
    }

    /// Returns true if there is room for one more watch of the namespace. The last quarter is for
    /// namespaces that have less than a quarter.
    fn has_room(&self, namespace: &str) -> bool {
        let share = self.most.div_ceil(4);
        let taken = self.taken.get(namespace).copied().unwrap_or_default();
        let most = if taken < share { self.most } else { self.most - share };
        self.watches.len() < most
    }

    /// Ends a watch that failed. Its followers may start it again.
    pub(super) fn end(&mut self, place: &P) -> BTreeSet<String> {
        let Some(mut watch) = self.remove(place) else { return BTreeSet::new() };
        let followers = std::mem::take(&mut watch.followers);
        for follower in &followers {
            if let Some(places) = self.places.get_mut(follower) {
                places.remove(place);
                if places.is_empty() {
                    self.places.remove(follower);
                }
            }
        }
        followers
    }

    /// Returns the keys of all followers of `place`.
    pub(super) fn followers(&self, place: &P) -> impl Iterator<Item = &String> {
        self.watches.get(place).into_iter().flat_map(|watch| &watch.followers)
    }

    /// Returns the state from the watch of `place`; `None` if it is not watched.
    pub(super) fn seen(&self, place: &P) -> Option<&S> {
        self.watches.get(place).map(|watch| &watch.seen)
    }

    /// Like [`Self::seen`], mutable.
    pub(super) fn seen_mut(&mut self, place: &P) -> Option<&mut S> {
        self.watches.get_mut(place).map(|watch| &mut watch.seen)
    }
}

/// Returns those of `known` that are not among `keys`, the complete set.
pub(super) fn gone<'a>(
    known: impl Iterator<Item = &'a String>,
    keys: &HashSet<String>,
) -> Vec<String> {
    known.filter(|key| !keys.contains(*key)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending};

    use super::*;

    impl InNamespace for &'static str {
        fn namespace(&self) -> &str {
            self.split_once('/').map_or(self, |(namespace, _)| namespace)
        }
    }

    /// A registry of two watches, and the number of watches that were begun.
    struct Counted {
        registry: Registry<&'static str, u32>,
        begun: Cell<u32>,
    }

    impl Counted {
        fn new() -> Self {
            Self { registry: Registry::new(2, |_| ()), begun: Cell::new(0) }
        }

        fn follow<const N: usize>(&mut self, follower: &str, places: [&'static str; N]) {
            let begun = &self.begun;
            self.registry.follow(follower, &BTreeSet::from(places), |_| {
                begun.set(begun.get() + 1);
                Some(tokio::spawn(pending()))
            });
        }

        fn followers(&self, place: &'static str) -> Vec<&str> {
            self.registry.followers(&place).map(String::as_str).collect()
        }
    }

    #[tokio::test]
    async fn a_place_is_watched_once_and_as_long_as_anybody_follows_it() {
        let mut counted = Counted::new();
        counted.follow("x", ["a", "b"]);
        counted.follow("y", ["b"]);
        assert_eq!(counted.begun.get(), 2);
        *counted.registry.seen_mut(&"b").unwrap() = 7;
        counted.follow("x", ["a"]);
        assert_eq!((counted.followers("a"), counted.followers("b")), (vec!["x"], vec!["y"]));
        assert_eq!(counted.registry.seen(&"b"), Some(&7), "it goes on for the other");
        counted.registry.leave("y");
        assert_eq!(counted.registry.seen(&"b"), None);
        counted.follow("y", ["b"]);
        assert_eq!(counted.registry.seen(&"b"), Some(&0), "it begins anew");
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_watched_once_there_is() {
        let mut counted = Counted::new();
        counted.follow("x", ["a", "b", "c"]);
        counted.follow("y", ["c"]);
        assert_eq!(counted.begun.get(), 2);
        assert!(counted.registry.is_full);
        assert_eq!(counted.registry.seen(&"c"), None);
        // The place that was left makes room for a new one.
        counted.follow("x", ["c"]);
        assert_eq!((counted.begun.get(), counted.followers("c")), (3, vec!["x"]));
    }

    #[tokio::test]
    async fn one_namespace_leaves_room_for_others() {
        let mut registry: Registry<&'static str, u32> = Registry::new(8, |_| ());
        let start = |_: &&'static str| Some(tokio::spawn(pending()));
        let all = ["a/1", "a/2", "a/3", "a/4", "a/5", "a/6", "a/7", "a/8"];
        registry.follow("a", &BTreeSet::from(all), start);
        assert_eq!(registry.watches.len(), 6);
        registry.follow("b", &BTreeSet::from(["b/1", "b/2", "b/3"]), start);
        assert!(registry.seen(&"b/2").is_some() && registry.seen(&"b/3").is_none());
        registry.leave("a");
        registry.follow("c", &BTreeSet::from(["c/1"]), start);
        assert_eq!((registry.watches.len(), registry.taken.get("a")), (3, None));
    }

    #[tokio::test]
    async fn a_watch_that_came_to_nothing_may_be_asked_for_again() {
        let mut counted = Counted::new();
        counted.follow("x", ["a", "b"]);
        counted.follow("y", ["a"]);
        assert_eq!(counted.registry.end(&"a"), ["x".to_owned(), "y".to_owned()].into());
        assert_eq!(counted.registry.places.get("y"), None);
        counted.follow("y", ["a"]);
        assert_eq!((counted.begun.get(), counted.followers("a")), (3, vec!["y"]));
    }

    #[tokio::test]
    async fn the_task_of_a_watch_ends_with_it() {
        let mut counted = Counted::new();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let task = Cell::new(Some(tokio::spawn(async move {
            let _open = sender;
            pending::<()>().await;
        })));
        counted.registry.follow("x", &BTreeSet::from(["a"]), |_| task.take());
        counted.registry.leave("x");
        assert!(receiver.await.is_err(), "its end is dropped");
    }
}
