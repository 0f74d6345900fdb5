//! Numbers as JSON writes them: how much of one a database keeps.

use flumen_sdk::json;

/// So many digits a double keeps, whatever they are.
const DIGITS_SURE: usize = 15;
/// No double has more.
const DIGITS_MAX: usize = 767;

/// What a whole number of 64 bits needs, and what a column of them has. The order is from less to more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Whole {
    /// 32 bits.
    Narrow,
    /// 64 bits, and a double keeps it too.
    Double,
    Long,
}

impl Whole {
    pub(crate) fn of(number: i64) -> Whole {
        match i32::try_from(number) {
            Ok(_) => Whole::Narrow,
            Err(_) if i128::from(number) == (number as f64) as i128 => Whole::Double,
            Err(_) => Whole::Long,
        }
    }
}

/// Whether a double keeps the number: written with as many digits, it is the same again.
pub(crate) fn is_double(number: &str) -> bool {
    let plain = number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'.'));
    if plain && number.bytes().filter(u8::is_ascii_digit).count() <= DIGITS_SURE {
        return true;
    }
    let (digits, power) = scientific(number);
    match number.parse::<f64>() {
        Ok(_) if digits.is_empty() => true,
        Ok(double) if double.is_finite() && digits.len() <= DIGITS_MAX => {
            scientific(&format!("{double:.*e}", digits.len() - 1)) == (digits, power)
        }
        _ => false,
    }
}

/// Digits without the zeros at both ends, none for zero; and which power of ten the first one counts.
fn scientific(number: &str) -> (String, i64) {
    let number = number.trim_start_matches('-');
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let zeros = digits.len() - significant.len();
    // One that does not fit is the power of no double.
    let exponent = exponent.parse().unwrap_or(i64::from(i32::MAX));
    let power = exponent.saturating_add(whole.len() as i64 - 1 - zeros as i64);
    (significant.trim_end_matches('0').to_owned(), power)
}

/// Whether SQLite keeps the text in a column that is made for numbers, where one that reads as a number
/// becomes one: `1.50` is 1.5 there, which is as much, but `007` is 7 and a long decimal is rounded.
pub(crate) fn is_kept_by_sqlite(text: &str) -> bool {
    let text = text.trim();
    let reads_as_number = text.bytes().any(|byte| byte.is_ascii_digit()) && text.parse::<f64>().is_ok();
    !reads_as_number || (json::is_number(text) && (text.parse::<i64>().is_ok() || is_double(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_double_keeps() {
        for kept in [
            "0",
            "-0.0",
            "0e999999999999999999999",
            "1.10",
            "0.1",
            "123456789012345",
            "0.30000000000000004",
            // As C writes a double's 17 digits, and all that it has.
            "0.10000000000000001",
            "0.1000000000000000055511151231257827021181583404541015625",
            "9007199254740992",
            "-9007199254740994",
            "18446744073709551616",
            "1e300",
            "1.7976931348623157E+308",
            "5e-324",
        ] {
            assert!(is_double(kept), "{kept}");
        }
        for lost in [
            "12345678901234567.89",
            "9007199254740993",
            "0.12345678901234567890",
            "9223372036854775807",
            "1e400",
            "-1e400",
            "1e-400",
            "1e99999999999999999999",
        ] {
            assert!(!is_double(lost), "{lost}");
        }
        assert!(!is_double(&format!("0.{}", "1".repeat(100_000))));
    }

    #[test]
    fn what_whole_numbers_need() {
        for (number, need) in [
            (0, Whole::Narrow),
            (i64::from(i32::MIN), Whole::Narrow),
            (1 << 31, Whole::Double),
            (1 << 62, Whole::Double),
            ((1 << 53) + 1, Whole::Long),
            (i64::MAX, Whole::Long),
            (i64::MIN, Whole::Double),
        ] {
            assert_eq!(Whole::of(number), need, "{number}");
        }
    }

    #[test]
    fn texts_that_sqlite_would_turn_into_other_numbers() {
        for kept in ["", "n/a", "-", "inf", "nan", "12", "-1.50", "1e3", "9223372036854775807", "1.2.3"] {
            assert!(is_kept_by_sqlite(kept), "{kept}");
        }
        for lost in ["007", "+49", ".5", "5.", "12345678901234567.89", " 9223372036854775809"] {
            assert!(!is_kept_by_sqlite(lost), "{lost}");
        }
    }
}
