//! Running the nodes of a graph on a few threads, each after those that it needs.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Runs the node of an index, given all results so far.
type Run<'r, T, E> = dyn Fn(usize, &[Option<T>]) -> Result<T, E> + Sync + 'r;

/// What threads share.
struct State<T, E> {
    results: Vec<Option<T>>,
    taken: BTreeSet<usize>,
    failure: Option<E>,
}

/// Runs all nodes and returns what they gave, in their order.
///
/// `needs` has for each node the indices of those that come before it. `run` is given a node's index and all
/// results so far. After the first failure no further node starts, and those that run are waited for. A panic
/// in `run` is a failure, which `panicked` makes of the node's index and the panic's message.
///
/// # Errors
/// The first failure; `None` when nodes wait for each other.
pub(super) fn schedule<T: Clone + Send, E: Send>(
    needs: &[Vec<usize>],
    workers: usize,
    run: &Run<'_, T, E>,
    panicked: &(dyn Fn(usize, &str) -> E + Sync),
) -> Result<Option<Vec<T>>, E> {
    let state = Mutex::new(State { results: vec![None; needs.len()], taken: BTreeSet::new(), failure: None });
    let changed = Condvar::new();
    std::thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| work(needs, run, panicked, &state, &changed));
        }
    });
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failure {
        Some(failure) => Err(failure),
        None => Ok(state.results.into_iter().collect()),
    }
}

fn held<'a, T, E>(state: &'a Mutex<State<T, E>>) -> MutexGuard<'a, State<T, E>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread: takes nodes that are ready until there is none left or one failed.
fn work<T: Clone, E>(
    needs: &[Vec<usize>],
    run: &Run<'_, T, E>,
    panicked: &(dyn Fn(usize, &str) -> E + Sync),
    shared: &Mutex<State<T, E>>,
    changed: &Condvar,
) {
    let mut state = held(shared);
    while state.failure.is_none() {
        let done = |node: &usize| state.results.get(*node).is_some_and(Option::is_some);
        let ready = needs
            .iter()
            .enumerate()
            .find(|(node, needed)| !state.taken.contains(node) && needed.iter().all(done))
            .map(|(node, _)| node);
        let Some(node) = ready else {
            // When no node runs, none will become ready.
            if state.taken.len() == state.results.iter().flatten().count() {
                return;
            }
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.taken.insert(node);
        let results = state.results.clone();
        drop(state);
        let result = catch_unwind(AssertUnwindSafe(|| run(node, &results)))
            .unwrap_or_else(|panic| Err(panicked(node, message(panic.as_ref()))));
        state = held(shared);
        match result {
            Ok(result) => {
                if let Some(slot) = state.results.get_mut(node) {
                    *slot = Some(result);
                }
            }
            Err(failure) => {
                state.failure.get_or_insert(failure);
            }
        }
        changed.notify_all();
    }
}

/// The text of a panic.
fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn run(
        needs: &[Vec<usize>],
        workers: usize,
        node: &(dyn Fn(usize) -> Result<usize, String> + Sync),
    ) -> Result<Option<Vec<usize>>, String> {
        schedule(needs, workers, &|index, _| node(index), &|index, message| {
            format!("{index} panicked: {message}")
        })
    }

    #[test]
    fn each_node_sees_the_results_that_it_needs() {
        let needs = [vec![], vec![0], vec![0], vec![1, 2]];
        for workers in 1..=4 {
            let sum = |index: usize, results: &[Option<usize>]| {
                let needed = needs[index].iter().map(|node| results[*node].unwrap());
                Ok::<_, ()>(index + needed.sum::<usize>())
            };
            let all = schedule(&needs, workers, &sum, &|_, _| ()).unwrap();
            assert_eq!(all, Some(vec![0, 1, 2, 6]), "{workers} workers");
        }
    }

    #[test]
    fn a_panic_is_a_failure_and_nothing_hangs() {
        let needs = [vec![], vec![], vec![0, 1], vec![2]];
        for workers in 1..=4 {
            let error = run(&needs, workers, &|index| {
                assert!(index != 1, "on purpose: {index}");
                Ok(index)
            });
            assert_eq!(error.unwrap_err(), "1 panicked: on purpose: 1", "{workers} workers");
        }
    }

    #[test]
    fn a_failing_node_lets_its_sibling_end_and_starts_nothing_that_needs_it() {
        let needs = [vec![], vec![], vec![0], vec![0, 1]];
        let (both, ended) = (Barrier::new(2), AtomicUsize::new(0));
        let error = run(&needs, 2, &|index| {
            assert!(index < 2, "{index} needs what failed");
            // Both run before either ends.
            both.wait();
            if index == 0 {
                return Err("0 failed".to_owned());
            }
            ended.fetch_add(1, Ordering::SeqCst);
            Ok(index)
        });
        assert_eq!(error.unwrap_err(), "0 failed");
        assert_eq!(ended.into_inner(), 1);
    }

    #[test]
    fn nodes_that_wait_for_each_other_are_noticed() {
        let needs = [vec![], vec![2], vec![1]];
        for workers in 1..=3 {
            assert_eq!(run(&needs, workers, &Ok), Ok(None));
        }
    }
}
