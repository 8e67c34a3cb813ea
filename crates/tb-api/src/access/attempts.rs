//! How often a minute the password of one account may be guessed, from wherever the guesses come. A name that nobody has is
//! counted like any other.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// The time in which guesses are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Guesses in that time.
const GUESSES: u32 = 10;

/// Names that are remembered.
const NAMES: usize = 4096;

/// The guesses of the last minute, by name. A guess counts from its beginning, so that many at once are no way around it.
#[derive(Default)]
pub(crate) struct Attempts {
    seen: HashMap<String, Guesses>,
}

struct Guesses {
    since: Instant,
    count: u32,
}

impl Attempts {
    /// Counts a guess at `now`; false if there were too many.
    pub fn begin(&mut self, name: &str, now: Instant) -> bool {
        let name = key(name);
        if !self.seen.contains_key(&name) && self.seen.len() >= NAMES {
            self.make_room(now);
        }
        let guesses = self.seen.entry(name).or_insert(Guesses { since: now, count: 0 });
        if now.duration_since(guesses.since) >= WINDOW {
            *guesses = Guesses { since: now, count: 0 };
        }
        if guesses.count >= GUESSES {
            return false;
        }
        guesses.count += 1;
        true
    }

    /// Takes a guess back: it was right, or it was never compared.
    pub fn forgive(&mut self, name: &str) {
        if let Some(guesses) = self.seen.get_mut(&key(name)) {
            guesses.count = guesses.count.saturating_sub(1);
        }
    }

    /// Forgets what is out of date, else the oldest.
    fn make_room(&mut self, now: Instant) {
        self.seen.retain(|_, g| now.duration_since(g.since) < WINDOW);
        if self.seen.len() >= NAMES
            && let Some(oldest) = self.seen.iter().min_by_key(|(_, g)| g.since).map(|(name, _)| name.clone())
        {
            self.seen.remove(&oldest);
        }
    }
}

/// A short stand-in for a name: what is typed into a field for names may be a password.
fn key(name: &str) -> String {
    let mut digest = tb_data::files::sha256_bytes(name.to_lowercase().as_bytes());
    digest.truncate(16);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_guess_of_a_minute_is_refused_and_a_right_one_is_none() {
        let start = Instant::now();
        let mut attempts = Attempts::default();
        for _ in 0..100 {
            assert!(attempts.begin("Yuki", start));
            attempts.forgive("yuki");
        }
        for _ in 0..GUESSES {
            assert!(attempts.begin("yuki", start));
        }
        assert!(!attempts.begin("YUKI", start));
        assert!(attempts.begin("ken", start));
        assert!(attempts.begin("yuki", start + WINDOW));
    }

    #[test]
    fn many_names_take_no_more_memory_than_the_bound() {
        let start = Instant::now();
        let mut attempts = Attempts::default();
        for n in 0..NAMES as u64 + 500 {
            attempts.begin(&format!("name {n}"), start + Duration::from_nanos(n));
        }
        assert_eq!(attempts.seen.len(), NAMES);
    }
}
