//! How many connections are open, and which one gives way: when all seats are taken, the connection that has waited longest
//! without a request is closed for the newcomer. So thousands of connections that never ask cannot keep out one that does.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// The seats of one server.
pub(crate) struct Seats {
    max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Grows with every change, so that the lowest number waits longest.
    next: u64,
    taken: usize,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// One connection's seat; dropping it frees it.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    asked_to_leave: Arc<Notify>,
    place: Mutex<Place>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting(u64),
    Busy,
}

/// A connection at work on a request; dropping it lets the connection wait for the next.
pub(crate) struct Busy {
    seat: Arc<Seat>,
}

impl Seats {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, state: Mutex::default() })
    }

    /// A seat for a new connection; none if every seat is at work.
    pub fn take(self: &Arc<Self>) -> Option<Arc<Seat>> {
        let asked_to_leave = Arc::new(Notify::new());
        let mut state = self.state();
        if state.taken >= self.max {
            let (_, oldest) = state.waiting.pop_first()?;
            oldest.notify_one();
            state.taken -= 1;
        }
        state.taken += 1;
        let number = state.wait(&asked_to_leave);
        drop(state);
        let place = Mutex::new(Place::Waiting(number));
        Some(Arc::new(Seat { seats: Arc::clone(self), asked_to_leave, place }))
    }

    /// Asks every connection without a request to leave.
    pub fn clear_waiting(&self) {
        let mut state = self.state();
        while let Some((_, waiting)) = state.waiting.pop_first() {
            waiting.notify_one();
            state.taken -= 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, asked_to_leave: &Arc<Notify>) -> u64 {
        self.next += 1;
        self.waiting.insert(self.next, Arc::clone(asked_to_leave));
        self.next
    }
}

impl Seat {
    /// Says that a request has come.
    pub fn begin(self: &Arc<Self>) -> Busy {
        let mut place = self.place();
        if let Place::Waiting(number) = *place
            // Not there: it was just asked to leave, and will.
            && self.seats.state().waiting.remove(&number).is_some()
        {
            *place = Place::Busy;
        }
        drop(place);
        Busy { seat: Arc::clone(self) }
    }

    /// Waits until another connection needs the seat.
    pub async fn asked_to_leave(&self) {
        self.asked_to_leave.notified().await;
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut place = self.seat.place();
        if *place == Place::Busy {
            *place = Place::Waiting(self.seat.seats.state().wait(&self.seat.asked_to_leave));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let place = *self.place();
        let mut state = self.seats.state();
        match place {
            Place::Busy => state.taken -= 1,
            Place::Waiting(number) => {
                if state.waiting.remove(&number).is_some() {
                    state.taken -= 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn is_leaving(seat: &Seat) -> bool {
        seat.asked_to_leave().now_or_never().is_some()
    }

    #[test]
    fn the_longest_waiting_gives_way_and_the_busy_stay() {
        let seats = Seats::new(3);
        let (busy, old, young) = (seats.take().unwrap(), seats.take().unwrap(), seats.take().unwrap());
        let request = busy.begin();
        let new = seats.take().unwrap();
        assert!(is_leaving(&old) && !is_leaving(&young) && !is_leaving(&busy) && !is_leaving(&new));
        drop(request);
        drop(old);
        // The busy one began to wait last.
        assert!(seats.take().is_some() && is_leaving(&young) && !is_leaving(&busy));
    }

    #[test]
    fn with_every_seat_at_work_a_newcomer_gets_none_until_one_is_free() {
        let seats = Seats::new(2);
        let (a, b) = (seats.take().unwrap(), seats.take().unwrap());
        let (_a, b_works) = (a.begin(), b.begin());
        assert!(seats.take().is_none());
        drop((b, b_works));
        assert!(seats.take().is_some());
    }

    #[test]
    fn seats_are_counted_right_over_many_comings_and_goings() {
        let seats = Seats::new(4);
        for _ in 0..100 {
            let held: Vec<_> = (0..9).filter_map(|_| seats.take()).collect();
            assert_eq!(held.len(), 9);
            let works: Vec<_> = held.iter().map(Seat::begin).collect();
            drop(held);
            drop(works);
        }
        assert_eq!(seats.state().taken, 0);
        assert!(seats.state().waiting.is_empty());
        let held = seats.take().unwrap();
        seats.clear_waiting();
        assert!(is_leaving(&held));
        drop(held);
        assert_eq!(seats.state().taken, 0);
    }
}
