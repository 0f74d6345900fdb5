//! Moments as people and programs write them, to milliseconds since 1970.

/// Reads RFC 3339 and its common relaxations: `2026-11-21`, `2026-11-21 09:54`,
/// `2026-11-21T09:54:28.123Z`, `+01:00` and `+0100`; without a zone it is UTC. A whole number is seconds,
/// milliseconds, microseconds or nanoseconds, by its size.
pub fn parse_millis(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return Some(from_number(number));
    }
    if let Some((seconds, fraction)) = text.split_once('.').filter(|(seconds, _)| seconds.len() < 11)
        && let Ok(seconds) = seconds.parse::<i64>()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return seconds.checked_mul(1000)?.checked_add(millis(fraction)?);
    }
    let (year, rest) = number(text, 4)?;
    let (month, rest) = number(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = number(rest.strip_prefix('-')?, 2)?;
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let day_ms = days_from_civil(year, month, day) * 86_400_000;
    if rest.is_empty() {
        return Some(day_ms);
    }
    let (hour, rest) = number(rest.strip_prefix(['T', 't', ' '])?, 2)?;
    let (minute, rest) = number(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = match rest.strip_prefix(':') {
        Some(rest) => number(rest, 2)?,
        None => (0, rest),
    };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix(['.', ',']) {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("0", rest),
    };
    let time = ((hour * 60 + minute) * 60 + second) * 1000 + millis(fraction)?;
    Some(day_ms + time - zone_minutes(zone.trim_start())? * 60_000)
}

/// Seconds until the year 5138, then milliseconds, microseconds and nanoseconds.
pub fn from_number(number: i64) -> i64 {
    match number.unsigned_abs() {
        0..100_000_000_000 => number * 1000,
        100_000_000_000..100_000_000_000_000 => number,
        100_000_000_000_000..100_000_000_000_000_000 => number / 1000,
        _ => number / 1_000_000,
    }
}

/// A number of exactly so many digits, and what follows it.
fn number(text: &str, digits: usize) -> Option<(i64, &str)> {
    let head = text.get(..digits).filter(|head| head.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((head.parse().ok()?, &text[digits..]))
}

/// The first three digits of a fraction of a second.
fn millis(fraction: &str) -> Option<i64> {
    let digits = fraction.len().min(3);
    let number: i64 = fraction.get(..digits)?.parse().ok()?;
    Some(number * [0, 100, 10, 1][digits])
}

fn zone_minutes(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first() {
        None => return Some(0),
        Some(b'Z' | b'z') => return (zone.len() == 1).then_some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    let (hours, rest) = number(&zone[1..], 2)?;
    let rest = rest.strip_prefix(':').unwrap_or(rest);
    let (minutes, rest) = if rest.is_empty() { (0, rest) } else { number(rest, 2)? };
    (rest.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970, in the proleptic Gregorian calendar (Howard Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_as_they_are_written() {
        let day = 1_795_219_200_000;
        assert_eq!(parse_millis("1970-01-01"), Some(0));
        assert_eq!(parse_millis("2026-11-21"), Some(day));
        assert_eq!(parse_millis("2026-11-21 09:54"), Some(day + 35_640_000));
        assert_eq!(parse_millis("2026-11-21T09:54:28.1Z"), Some(day + 35_668_100));
        assert_eq!(parse_millis("2026-11-21T09:54:28.123456+01:00"), Some(day + 32_068_123));
        assert_eq!(parse_millis("2026-11-21T09:54:28-0130"), Some(day + 41_068_000));
        assert_eq!(parse_millis("1969-12-31T23:59:59.999Z"), Some(-1));
        assert_eq!(parse_millis("2000-02-29"), Some(951_782_400_000));
    }

    #[test]
    fn numbers_by_their_size() {
        for same in
            ["1795219200", "1795219200000", "1795219200000000", "1795219200000000000", "1795219200.000"]
        {
            assert_eq!(parse_millis(same), Some(1_795_219_200_000), "{same}");
        }
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for no in [
            "",
            "soon",
            "2026-13-01",
            "2026-02-30",
            "2026-11-21T25:00",
            "2026-11-21T09:54:28X",
            "21.11.2026",
            "1.x",
        ] {
            assert_eq!(parse_millis(no), None, "{no}");
        }
    }
}
