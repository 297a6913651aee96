use std::time::{Duration, SystemTime};

/// How long a `Retry-After` header asks to wait (RFC 9110, section 10.2.3): seconds, or a date. A date in the
/// past is no wait.
pub(super) fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number mean "never" to any caller.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    http_date(value).map(|date| date.duration_since(now).unwrap_or_default())
}

/// The three forms of an HTTP date (RFC 9110, section 5.6.7); all are in UTC.
fn http_date(value: &str) -> Option<SystemTime> {
    let parts: Vec<&str> = value.split([' ', ',', '-']).filter(|part| !part.is_empty()).collect();
    let (day, month, year, time) = match *parts.as_slice() {
        [_, day, month, year, time, "GMT"] => (day, month, year, time),
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        .iter()
        .position(|name| *name == month)?
        + 1;
    let day: u32 = day.parse().ok()?;
    let year = match (year.len(), year.parse::<u32>().ok()?) {
        // RFC 850 dates have two digits. None of them is older than the web.
        (2, year @ 0..70) => 2000 + year,
        (2, year) => 1900 + year,
        (_, year) => year,
    };
    humantime::parse_rfc3339(&format!("{year:04}-{month:02}-{day:02}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// 1994-11-06 08:49:37 UTC, the example of RFC 9110.
    const EXAMPLE: Duration = Duration::from_secs(784_111_777);

    fn parsed(value: &str) -> Option<Duration> {
        parse(value, UNIX_EPOCH + EXAMPLE - Duration::from_secs(90))
    }

    #[test]
    fn seconds_are_seconds() {
        assert_eq!(parsed("120"), Some(Duration::from_secs(120)));
        assert_eq!(parsed(" 0 "), Some(Duration::ZERO));
        assert_eq!(parsed("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn each_form_of_an_http_date_is_the_time_until_then() {
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parsed(date), Some(Duration::from_secs(90)), "{date}");
        }
        assert_eq!(parsed("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn nonsense_is_no_wait_at_all() {
        for value in ["", "soon", "-5", "1.5", "Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT", "é"] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }
}
