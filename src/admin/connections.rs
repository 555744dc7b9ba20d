//! The connections of the admin listener: few at a time, and nobody waits to be let in.
//!
//! Probes have to be answered whatever else reaches the listener. So where all places are taken, whoever has let the
//! listener wait for longest, for a request or to take an answer, gives up its own to who comes next.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// Connections at a time.
pub(super) const MOST: usize = 64;
/// Long answers that are held until they are read.
const MOST_UNREAD: usize = 4;
/// What is shorter goes into the system's buffers, or nearly so.
const LONG_BYTES: usize = 64 * 1024;
/// To send the next request, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Those that are open.
#[derive(Default)]
pub(super) struct Connections(Mutex<Table>);

/// A connection's. Given up when dropped.
pub(super) struct Place {
    number: u64,
    taken_away: Arc<Notify>,
    connections: Arc<Connections>,
}

#[derive(Default)]
struct Table {
    /// Whoever has done nothing for longest comes first.
    seats: Vec<Seat>,
    given: u64,
}

struct Seat {
    number: u64,
    taken_away: Arc<Notify>,
    /// A request of it came, and there is no answer yet: it doesn't let anybody wait.
    is_answered: bool,
    since: Instant,
    unread: usize,
}

impl Connections {
    /// A place for a connection that was accepted. There always is one.
    pub(super) fn take_place(self: &Arc<Self>) -> Place {
        let mut table = self.table();
        if table.seats.len() >= MOST {
            table.take_away(|_| true);
        }
        table.given += 1;
        let (number, taken_away) = (table.given, Arc::<Notify>::default());
        let seat =
            Seat { number, taken_away: taken_away.clone(), is_answered: false, since: Instant::now(), unread: 0 };
        table.seats.push(seat);
        Place { number, taken_away, connections: self.clone() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// A request came and is being answered, or its answer is there.
    pub(super) fn is_answered(&self, is_answered: bool) {
        let mut table = self.connections.table();
        if let Some(index) = table.index(self.number) {
            let seat = table.seats.remove(index);
            table.seats.push(Seat { is_answered, since: Instant::now(), ..seat });
        }
    }

    /// Until the connection is to be closed: another needs its place, or it was waited for in vain.
    pub(super) async fn lost(&self) {
        tokio::select! {
            () = self.taken_away.notified() => {}
            () = self.waited_in_vain() => {}
        }
    }

    async fn waited_in_vain(&self) {
        loop {
            match self.patience() {
                Duration::ZERO => return,
                left => sleep(left).await,
            }
        }
    }

    fn patience(&self) -> Duration {
        let mut table = self.connections.table();
        let seat = table.seat(self.number).filter(|seat| !seat.is_answered);
        seat.map_or(PATIENCE, |seat| PATIENCE.saturating_sub(seat.since.elapsed()))
    }

    /// A text that goes to this connection. Few long ones are held at a time: whoever hasn't read one for longest is let go.
    pub(super) fn holding(self: &Arc<Self>, text: Bytes) -> Bytes {
        if text.len() <= LONG_BYTES {
            return text;
        }
        let mut table = self.connections.table();
        if table.seats.iter().map(|seat| seat.unread).sum::<usize>() >= MOST_UNREAD {
            table.take_away(|seat| seat.unread > 0);
        }
        if let Some(seat) = table.seat(self.number) {
            seat.unread += 1;
        }
        drop(table);
        Bytes::from_owner(Unread { text, place: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.connections.table();
        if let Some(index) = table.index(self.number) {
            table.seats.remove(index);
        }
    }
}

impl Table {
    /// Ends the first of these that lets the listener wait; where none does, the first.
    fn take_away(&mut self, is_one: impl Fn(&Seat) -> bool) {
        let waits = self.seats.iter().position(|seat| is_one(seat) && !seat.is_answered);
        if let Some(index) = waits.or_else(|| self.seats.iter().position(is_one)) {
            self.seats.remove(index).taken_away.notify_one();
        }
    }

    fn index(&self, number: u64) -> Option<usize> {
        self.seats.iter().position(|seat| seat.number == number)
    }

    fn seat(&mut self, number: u64) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.number == number)
    }
}

/// A text until it is written.
struct Unread {
    text: Bytes,
    place: Arc<Place>,
}

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(seat) = self.place.connections.table().seat(self.place.number) {
            seat.unread = seat.unread.saturating_sub(1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::{future::Future, pin::pin, task::Context, task::Waker};

    use super::*;

    fn is_lost(place: &Place) -> bool {
        pin!(place.lost()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn who_lets_the_listener_wait_for_longest_goes_first() {
        let connections = Arc::<Connections>::default();
        let places: Vec<_> = (0..MOST).map(|_| connections.take_place()).collect();
        places[0].is_answered(true);
        places[1].is_answered(true);
        places[1].is_answered(false);
        let newer = [connections.take_place(), connections.take_place()];
        let lost: Vec<_> = (0..MOST).filter(|index| is_lost(&places[*index])).collect();
        assert_eq!(lost, [2, 3]);
        assert!(!newer.iter().any(is_lost));
        drop(newer);
        let _newest = [connections.take_place(), connections.take_place()];
        assert!(!is_lost(&places[4]), "there was room");
        tokio::time::advance(PATIENCE).await;
        assert!(!is_lost(&places[0]) && is_lost(&places[1]), "nobody waits for one that is being answered");
        places[0].is_answered(false);
        assert!(!is_lost(&places[0]));
        tokio::time::advance(PATIENCE).await;
        assert!(is_lost(&places[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_being_answered_there_is_a_place_all_the_same() {
        let connections = Arc::<Connections>::default();
        let places: Vec<_> = (0..MOST).map(|_| connections.take_place()).collect();
        places.iter().for_each(|place| place.is_answered(true));
        let newest = connections.take_place();
        assert!(is_lost(&places[0]) && !is_lost(&places[1]) && !is_lost(&newest));
        assert_eq!(connections.table().seats.len(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn few_long_answers_are_held() {
        let connections = Arc::<Connections>::default();
        let places: Vec<_> = (0..MOST_UNREAD + 2).map(|_| Arc::new(connections.take_place())).collect();
        let long = || Bytes::from(vec![b'x'; LONG_BYTES + 1]);
        for place in &places {
            let _ = place.holding(Bytes::from_static(b"short"));
        }
        drop(places[0].holding(long()));
        let mut held: Vec<_> = places[..=MOST_UNREAD].iter().map(|place| place.holding(long())).collect();
        assert!(is_lost(&places[0]) && !places[1..].iter().any(|place| is_lost(place)), "the fifth is one too many");
        held.remove(0);
        held.remove(0);
        held.push(places[MOST_UNREAD + 1].holding(long()));
        assert!(!places[1..].iter().any(|place| is_lost(place)), "one was read meanwhile");
        assert!(held.iter().all(|text| *text == long()));
    }
}
