//! Who is connected, and who has to go when there is no room.
//!
//! A connection is either at work for its client or waits for it: for a request, for the rest of one, or for the client to
//! take an answer. Those that wait cost their clients nothing, so there may be any number of them; when there is no room
//! for another one, the one is closed that has waited longest of the client that has most. So a client that sends its
//! request is served, however many there are that do not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Whom connections belong to: an address, or a network of one subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client(IpAddr);

impl Client {
    /// Nobody has fewer addresses of version 6 than 2^64.
    const SUBSCRIBER: u128 = !0 << 64;

    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & Self::SUBSCRIBER)),
            address => address,
        })
    }
}

/// All connections.
pub(crate) struct Clients {
    state: Mutex<State>,
    /// The most connections.
    connections: usize,
    /// The most bytes of requests and answers.
    memory: usize,
}

#[derive(Default)]
struct State {
    seats: BTreeMap<u64, Seat>,
    next: u64,
    held: usize,
}

struct Seat {
    client: Client,
    /// Since when it waits for the client, if it does.
    waits: Option<Instant>,
    /// The bytes of its request or answer.
    held: usize,
    close: Arc<Notify>,
}

impl Clients {
    pub(crate) fn new(connections: usize, memory: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), connections, memory })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a connection if need be; without a ticket there is none.
    pub(crate) fn admit(self: &Arc<Self>, client: Client) -> Option<Ticket> {
        let mut state = self.lock();
        while state.seats.len() >= self.connections {
            if !state.close_one(|_| 1) {
                return None;
            }
        }
        state.next += 1;
        let id = state.next;
        let close = Arc::new(Notify::new());
        let waits = Some(Instant::now());
        state.seats.insert(id, Seat { client, waits, held: 0, close: Arc::clone(&close) });
        Some(Ticket { clients: Arc::clone(self), client, id, close })
    }

    /// Closes a connection that waits for its client; whether there was one.
    pub(crate) fn make_room(&self) -> bool {
        self.lock().close_one(|_| 1)
    }
}

impl State {
    /// Closes the connection that has waited longest of the client whose connections are worth most.
    fn close_one(&mut self, worth: impl Fn(&Seat) -> usize) -> bool {
        let mut all: BTreeMap<Client, usize> = BTreeMap::new();
        for seat in self.seats.values() {
            *all.entry(seat.client).or_default() += worth(seat);
        }
        let waiting = self.seats.iter().filter_map(|(id, seat)| {
            let since = seat.waits.filter(|_| worth(seat) > 0)?;
            Some((std::cmp::Reverse(all.get(&seat.client).copied().unwrap_or(0)), since, *id))
        });
        let Some((.., id)) = waiting.min() else { return false };
        if let Some(seat) = self.seats.remove(&id) {
            self.held -= seat.held;
            seat.close.notify_one();
        }
        true
    }
}

/// A connection's right to be there.
pub(crate) struct Ticket {
    clients: Arc<Clients>,
    client: Client,
    id: u64,
    close: Arc<Notify>,
}

impl Ticket {
    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// Waits until the connection has to make room for another one.
    pub(crate) async fn lost(&self) {
        self.close.notified().await;
    }

    /// The connection waits for its client from now on, or no longer does.
    pub(crate) fn wait(&self, waits: bool) {
        if let Some(seat) = self.clients.lock().seats.get_mut(&self.id) {
            seat.waits = waits.then(Instant::now);
        }
    }

    /// Holds so many bytes for the connection and no others. False if there is no room: who holds much and waits for a
    /// client has been closed before.
    pub(crate) fn hold(&self, bytes: usize) -> bool {
        let mut state = self.clients.lock();
        let Some(seat) = state.seats.get_mut(&self.id) else { return false };
        let before = std::mem::replace(&mut seat.held, bytes);
        state.held = state.held - before + bytes;
        while state.held > self.clients.memory {
            if !state.close_one(|seat| seat.held) {
                return false;
            }
        }
        state.seats.contains_key(&self.id)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.clients.lock();
        if let Some(seat) = state.seats.remove(&self.id) {
            state.held -= seat.held;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Client {
        Client::of(IpAddr::from([127, 0, 0, last]))
    }

    fn open(ticket: &Ticket) -> bool {
        ticket.clients.lock().seats.contains_key(&ticket.id)
    }

    #[test]
    fn who_waits_longest_of_the_client_with_most_makes_room() {
        let clients = Clients::new(4, 100);
        let honest = clients.admit(client(1)).unwrap();
        let silent: Vec<_> = (0..3).map(|_| clients.admit(client(2)).unwrap()).collect();
        let next = clients.admit(client(1)).unwrap();
        assert!(open(&honest) && open(&next));
        assert_eq!(silent.iter().map(open).collect::<Vec<_>>(), [false, true, true]);
        // Those that are at work for their clients are not closed.
        for ticket in [&silent[1], &honest, &next] {
            ticket.wait(false);
        }
        let _more = clients.admit(client(3)).unwrap();
        assert_eq!(silent.iter().map(open).collect::<Vec<_>>(), [false, true, false]);
        assert!(clients.make_room());
        assert!(!clients.make_room(), "all others are at work");
    }

    #[test]
    fn bytes_are_bounded() {
        let clients = Clients::new(10, 100);
        let (honest, greedy, other) = (
            clients.admit(client(1)).unwrap(),
            clients.admit(client(2)).unwrap(),
            clients.admit(client(2)).unwrap(),
        );
        assert!(greedy.hold(60) && other.hold(30) && honest.hold(10));
        assert!(honest.hold(11), "who holds most makes room");
        assert!(!open(&greedy) && open(&other));
        assert!(!greedy.hold(1), "who was closed holds nothing");
        honest.wait(false);
        assert!(honest.hold(100));
        assert!(!open(&other));
        assert!(!honest.hold(101), "there is nobody to close");
        drop(honest);
        assert_eq!(clients.lock().held, 0);
    }

    #[test]
    fn a_subscriber_is_one_client() {
        let of = |text: &str| Client::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:127.0.0.1"), of("127.0.0.1"));
        assert_ne!(of("127.0.0.1"), of("127.0.0.2"));
    }
}
