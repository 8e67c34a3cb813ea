//! How many wrong tokens and passwords one source may try. A wrong token that comes again is no new try: a browser with an old
//! cookie, or a script with an old key, locks nobody out. A password counts each time, since it may be right the next time.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

/// The time in which tries are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// What a source may do with a token that it has not proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// It may be compared.
    Compare,
    /// It was wrong before.
    KnownWrong,
    /// Too many others were wrong.
    TooMany,
}

/// The wrong tokens of the last minute, by source.
pub(crate) struct Logins {
    per_source: usize,
    sources: usize,
    seen: HashMap<IpAddr, Source>,
    passwords: u64,
}

/// A password that is being compared: counted as wrong until it is forgiven.
#[derive(Debug)]
pub(crate) struct Attempt {
    source: IpAddr,
    mark: u64,
}

struct Source {
    since: Instant,
    /// Short digests of the wrong tokens: at most `per_source` of them.
    wrong: Vec<u64>,
}

impl Logins {
    /// Remembers `per_source` wrong tokens for each of `sources` sources.
    pub fn new(per_source: usize, sources: usize) -> Self {
        Self { per_source, sources, seen: HashMap::new(), passwords: 0 }
    }

    /// Whether `source` may have `token` compared at `now`.
    pub fn judge(&mut self, source: IpAddr, token: &str, now: Instant) -> Try {
        let Some(seen) = self.seen.get_mut(&network(source)) else { return Try::Compare };
        if now.duration_since(seen.since) >= WINDOW {
            seen.wrong.clear();
            seen.since = now;
        }
        if seen.wrong.contains(&short(token)) {
            Try::KnownWrong
        } else if seen.wrong.len() >= self.per_source {
            Try::TooMany
        } else {
            Try::Compare
        }
    }

    /// Begins to compare a password from `source`; none if too much was wrong. It counts from its beginning, so that many at once
    /// are no way around the bound.
    pub fn begin(&mut self, source: IpAddr, now: Instant) -> Option<Attempt> {
        self.passwords += 1;
        let text = format!("password {}", self.passwords);
        match self.judge(source, &text, now) {
            Try::TooMany | Try::KnownWrong => None,
            Try::Compare => {
                self.wrong(source, &text, now);
                Some(Attempt { source: network(source), mark: short(&text) })
            }
        }
    }

    /// The password was right, or was never compared.
    pub fn forgive(&mut self, attempt: &Attempt) {
        if let Some(seen) = self.seen.get_mut(&attempt.source) {
            seen.wrong.retain(|mark| *mark != attempt.mark);
        }
    }

    /// Remembers that `token` was wrong.
    pub fn wrong(&mut self, source: IpAddr, token: &str, now: Instant) {
        let source = network(source);
        if !self.seen.contains_key(&source) && self.seen.len() >= self.sources {
            self.make_room(now);
        }
        let seen = self.seen.entry(source).or_insert_with(|| Source { since: now, wrong: Vec::new() });
        seen.wrong.push(short(token));
    }

    /// Forgets what is out of date, else the oldest.
    fn make_room(&mut self, now: Instant) {
        self.seen.retain(|_, s| now.duration_since(s.since) < WINDOW);
        if self.seen.len() >= self.sources
            && let Some(oldest) = self.seen.iter().min_by_key(|(_, s)| s.since).map(|(ip, _)| *ip)
        {
            self.seen.remove(&oldest);
        }
    }
}

/// What one caller can hold: an IPv4 address, or a /64 of IPv6.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) if ip.is_loopback() => IpAddr::V6(ip),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & !u128::from(u64::MAX)).into()),
    }
}

fn short(token: &str) -> u64 {
    let digest = Sha256::digest(token.as_bytes());
    digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_eleventh_wrong_token_of_a_minute_is_not_compared() {
        let start = Instant::now();
        let mut logins = Logins::new(10, 4);
        for i in 0..10 {
            assert_eq!(logins.judge(HOME, &format!("guess {i}"), start), Try::Compare);
            logins.wrong(HOME, &format!("guess {i}"), start);
        }
        assert_eq!(logins.judge(HOME, "the right one", start), Try::TooMany);
        assert_eq!(logins.judge(HOME, "guess 3", start), Try::KnownWrong);
        assert_eq!(logins.judge([10, 0, 0, 1].into(), "guess", start), Try::Compare);
        assert_eq!(logins.judge(HOME, "the right one", start + WINDOW), Try::Compare);
    }

    #[test]
    fn the_same_wrong_token_is_one_try() {
        let start = Instant::now();
        let mut logins = Logins::new(10, 4);
        logins.wrong(HOME, "old", start);
        for _ in 0..100 {
            assert_eq!(logins.judge(HOME, "old", start), Try::KnownWrong);
        }
        assert_eq!(logins.judge(HOME, "new", start), Try::Compare);
    }

    #[test]
    fn passwords_count_from_their_beginning_and_right_ones_do_not() {
        let start = Instant::now();
        let mut logins = Logins::new(3, 4);
        for _ in 0..9 {
            let attempt = logins.begin(HOME, start).unwrap();
            logins.forgive(&attempt);
        }
        logins.wrong(HOME, "a token", start);
        let open = [logins.begin(HOME, start), logins.begin(HOME, start)].map(Option::unwrap);
        assert!(logins.begin(HOME, start).is_none(), "two are being compared, and a token was wrong");
        assert_eq!(logins.judge(HOME, "another token", start), Try::TooMany);
        logins.forgive(&open[0]);
        assert!(logins.begin(HOME, start).is_some() && logins.begin(HOME, start).is_none());
        assert!(logins.begin(HOME, start + WINDOW).is_some());
    }

    #[test]
    fn a_million_sources_take_no_more_memory_than_the_bound() {
        let start = Instant::now();
        let mut logins = Logins::new(10, 64);
        for i in 0..1_000_000_u32 {
            logins.wrong(IpAddr::V4(i.into()), "guess", start + Duration::from_nanos(u64::from(i)));
        }
        assert_eq!(logins.seen.len(), 64);
        assert_eq!(logins.judge(IpAddr::V4(999_999.into()), "guess", start), Try::KnownWrong);
    }

    #[test]
    fn one_v6_network_is_one_source() {
        let start = Instant::now();
        let mut logins = Logins::new(1, 4);
        logins.wrong("2001:db8::1".parse().unwrap(), "guess", start);
        assert_eq!(logins.judge("2001:db8::ffff:2".parse().unwrap(), "other", start), Try::TooMany);
        assert_eq!(logins.judge("2001:db8:0:1::1".parse().unwrap(), "other", start), Try::Compare);
    }
}
