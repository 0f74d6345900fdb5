//! The Retry-After header: seconds, or an HTTP date.

use std::time::Duration;

/// Longer is a mistake of the service's, or as good as one.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long to wait. A date is seen from `now`, the service's own Date where it gave one.
pub(crate) fn parse(value: &str, now_ms: i64) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => Duration::from_millis(u64::try_from(http_date(value)? - now_ms).unwrap_or(0)),
    };
    Some(wait.min(LONGEST))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that servers may still send.
pub(crate) fn http_date(value: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = value.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    flumen_sdk::time::parse_millis(&format!("{year}-{month:02}-{day}T{time}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates() {
        assert_eq!(parse("7", 0), Some(Duration::from_secs(7)));
        assert_eq!(parse("999999", 0), Some(LONGEST));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(http_date(date), Some(784_111_777_000));
        assert_eq!(parse(date, 784_111_770_000), Some(Duration::from_secs(7)));
        assert_eq!(parse(date, 784_111_999_000), Some(Duration::ZERO));
        assert_eq!(parse("soon", 0), None);
    }
}
