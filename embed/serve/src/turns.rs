//! Whose guest is next: a queue that is fair to clients.
//!
//! A client may have all of the queue and most of the slots while nobody else wants them. One with fewer guests comes first,
//! and takes the room of a request of the client with most when the queue is full.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::clients::Client;

/// Slots, and the queue for them.
pub(crate) struct Turns {
    state: Mutex<State>,
    slots: usize,
    /// The most slots of one client.
    share: usize,
    /// The most requests that wait.
    queue: usize,
}

#[derive(Default)]
struct State {
    running: usize,
    waiting: usize,
    lines: BTreeMap<Client, Line>,
    served: u64,
}

#[derive(Default)]
struct Line {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
    /// The number of the last turn.
    last: u64,
}

/// A slot of a client, which is given back when it is dropped.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    client: Client,
}

impl Turns {
    /// One client may have all but a quarter of the slots, rounded up.
    pub(crate) fn new(slots: usize, queue: usize) -> Arc<Self> {
        let share = (slots - slots / 4).max(1);
        Arc::new(Self { state: Mutex::default(), slots, share, queue })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many more requests could wait.
    pub(crate) fn room(&self) -> usize {
        self.queue.saturating_sub(self.lock().waiting)
    }

    /// Waits for a slot; none when the queue is full.
    pub(crate) async fn wait(self: &Arc<Self>, client: Client) -> Option<Turn> {
        let receiver = {
            let mut state = self.lock();
            // Whoever waits cannot have it: a slot that becomes free is given away at once.
            if state.running < self.slots && state.running_of(client) < self.share {
                return Some(self.start(&mut state, client));
            }
            if state.waiting >= self.queue && (self.queue == 0 || !state.displace(client)) {
                return None;
            }
            let (sender, receiver) = oneshot::channel();
            state.lines.entry(client).or_default().waiting.push_back(sender);
            state.waiting += 1;
            receiver
        };
        receiver.await.ok()
    }

    fn start(self: &Arc<Self>, state: &mut State, client: Client) -> Turn {
        state.served += 1;
        state.running += 1;
        let served = state.served;
        let line = state.lines.entry(client).or_default();
        line.running += 1;
        line.last = served;
        Turn { turns: Arc::clone(self), client }
    }

    /// Gives free slots to those that are next.
    fn serve(self: &Arc<Self>) {
        loop {
            let (sender, turn) = {
                let mut state = self.lock();
                if state.running >= self.slots {
                    return;
                }
                let Some((client, sender)) = state.next(self.share) else { return };
                (sender, self.start(&mut state, client))
            };
            // Without the lock: a turn that nobody waits for any more comes back and is dropped.
            let _ = sender.send(turn);
        }
    }
}

impl State {
    fn running_of(&self, client: Client) -> usize {
        self.lines.get(&client).map_or(0, |line| line.running)
    }

    /// Takes the next request of those whose clients have less than their share.
    fn next(&mut self, share: usize) -> Option<(Client, oneshot::Sender<Turn>)> {
        loop {
            let ready =
                self.lines.iter_mut().filter(|(_, line)| !line.waiting.is_empty() && line.running < share);
            let (client, line) = ready.min_by_key(|(_, line)| (line.running, line.last))?;
            let sender = line.waiting.pop_front()?;
            self.waiting -= 1;
            if !sender.is_closed() {
                return Some((*client, sender));
            }
        }
    }

    /// Makes room for a request of `client`, if need be by refusing the newest one of the client with most; whether that was
    /// fair.
    fn displace(&mut self, client: Client) -> bool {
        // Those that do not wait any more have no room.
        let before = self.waiting;
        self.lines.values_mut().for_each(|line| line.waiting.retain(|sender| !sender.is_closed()));
        self.waiting = self.lines.values().map(|line| line.waiting.len()).sum();
        if self.waiting < before {
            return true;
        }
        let mine = self.lines.get(&client).map_or(0, |line| line.waiting.len());
        let Some(longest) = self.lines.values_mut().max_by_key(|line| line.waiting.len()) else {
            return false;
        };
        if longest.waiting.len() <= mine + 1 || longest.waiting.pop_back().is_none() {
            return false;
        }
        self.waiting -= 1;
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.turns.lock();
            state.running -= 1;
            if let Some(line) = state.lines.get_mut(&self.client) {
                line.running -= 1;
                if line.running == 0 && line.waiting.is_empty() {
                    state.lines.remove(&self.client);
                }
            }
        }
        self.turns.serve();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn client(last: u8) -> Client {
        Client::of(IpAddr::from([127, 0, 0, last]))
    }

    type Waiting = Pin<Box<dyn Future<Output = Option<Turn>>>>;

    /// A request that has been made.
    fn ask(turns: &Arc<Turns>, last: u8) -> Waiting {
        let turns = Arc::clone(turns);
        let mut waiting: Waiting = Box::pin(async move { turns.wait(client(last)).await });
        if let Poll::Ready(answer) = look(&mut waiting) {
            return Box::pin(std::future::ready(answer));
        }
        waiting
    }

    fn look(waiting: &mut Waiting) -> Poll<Option<Turn>> {
        pin!(waiting).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn runs(waiting: &mut Waiting) -> Turn {
        match look(waiting) {
            Poll::Ready(Some(turn)) => turn,
            Poll::Ready(None) => panic!("refused"),
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn a_client_has_the_queue_alone_but_not_all_slots() {
        let turns = Turns::new(4, 3);
        let running: Vec<_> = (0..3).map(|_| runs(&mut ask(&turns, 2))).collect();
        let mut waiting: Vec<_> = (0..3).map(|_| ask(&turns, 2)).collect();
        assert_eq!(turns.room(), 0);
        assert!(matches!(look(&mut ask(&turns, 2)), Poll::Ready(None)), "the queue is full");
        assert!(waiting.iter_mut().all(|one| look(one).is_pending()));
        // Somebody else has the last slot, and then the room of the newest of those that wait.
        let honest = runs(&mut ask(&turns, 1));
        let mut second = ask(&turns, 1);
        assert!(matches!(look(&mut waiting[2]), Poll::Ready(None)));
        assert!(look(&mut second).is_pending() && look(&mut waiting[1]).is_pending());
        // Who has fewer guests is next.
        drop(honest);
        let second = runs(&mut second);
        drop(running);
        let first = runs(&mut waiting[0]);
        let next = runs(&mut waiting[1]);
        drop((second, first, next));
        assert_eq!(turns.room(), 3);
        let state = turns.lock();
        assert_eq!((state.running, state.lines.len()), (0, 0));
    }

    #[test]
    fn who_does_not_wait_any_more_keeps_no_slot() {
        let turns = Turns::new(1, 2);
        let running = runs(&mut ask(&turns, 1));
        let gone = ask(&turns, 1);
        let mut waits = ask(&turns, 2);
        drop(gone);
        drop(running);
        drop(runs(&mut waits));
        assert_eq!(turns.lock().running, 0);
        // Without a queue, who cannot run at once is refused.
        let turns = Turns::new(1, 0);
        let running = runs(&mut ask(&turns, 1));
        assert!(matches!(look(&mut ask(&turns, 1)), Poll::Ready(None)));
        drop(running);
        drop(runs(&mut ask(&turns, 1)));
    }
}
