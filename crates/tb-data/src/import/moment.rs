//! Moments as files write them: RFC 3339 in, milliseconds since 1970 UTC out, and back. No clock is read here.

use crate::chat_template::clock::civil;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The milliseconds since 1970 UTC of `2026-03-01T09:30:00.5+09:00`, with a space for the `T` too. A time without a zone (as
/// Python's `utcnow().isoformat()` writes it) is UTC, a day alone is its midnight; digits below a millisecond are cut off. None
/// for anything else.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.trim().as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !is(4, b"-") || !is(7, b"-") || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let midnight = days(year, month, day) * DAY_MS;
    if bytes.len() == 10 {
        return Some(midnight);
    }
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // A leap second is told as the last one of its minute.
    if !is(10, b"Tt ") || !is(13, b":") || !is(16, b":") || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut ms = 0;
    if is(at, b".,") {
        let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        for place in 0..3 {
            ms = ms * 10 + if place < digits { i64::from(bytes[at + 1 + place] - b'0') } else { 0 };
        }
        at += 1 + digits;
    }
    let zone_minutes = match bytes.get(at..)? {
        b"" | b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let (hours, minutes) = match rest {
                [_, _, b':', _, _] => (number(at + 1, at + 3)?, number(at + 4, at + 6)?),
                [_, _, _, _] => (number(at + 1, at + 3)?, number(at + 3, at + 5)?),
                [_, _] => (number(at + 1, at + 3)?, 0),
                _ => return None,
            };
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let of_day = (hour * 60 + minute - zone_minutes) * 60_000 + second.min(59) * 1000 + ms;
    Some(midnight + of_day)
}

/// A moment in RFC 3339, in UTC: `2026-03-01T00:30:00.500Z`.
#[must_use]
pub fn text(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z", of_day / 1000 % 60, of_day % 1000)
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to a day (proleptic Gregorian; Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_python() {
        // int(datetime.fromisoformat(s).timestamp() * 1000), with UTC where there is no zone.
        for (text, ms) in [
            ("2024-07-26T00:00:00Z", 1_721_952_000_000),
            ("2000-02-29T12:34:56.789Z", 951_827_696_789),
            ("2000-02-29 21:34:56.7891234+09:00", 951_827_696_789),
            ("2000-02-29T04:34:56-08:00", 951_827_696_000),
            ("2000-02-29T18:04:56+0530", 951_827_696_000),
            ("2000-02-29t12:34:56.7z", 951_827_696_700),
            ("2000-02-29", 951_782_400_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
        ] {
            assert_eq!(parse(text), Some(ms), "{text}");
        }
        for bad in [
            "",
            "2024",
            "2023-02-29",
            "2024-13-01",
            "2024-00-01",
            "2024-1-1",
            "2024-01-01T",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+9",
            "2024-01-01T00:00:00 UTC",
            "yesterday",
            "２０２４-01-01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_moment_reads_back() {
        assert_eq!(text(951_827_696_789), "2000-02-29T12:34:56.789Z");
        for ms in (-4_000_000_000_000..8_000_000_000_000).step_by(86_300_000_007) {
            assert_eq!(parse(&text(ms)), Some(ms));
        }
    }
}
