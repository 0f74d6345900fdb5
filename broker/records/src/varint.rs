//! Zigzag varints, with a fast path for the one and two bytes that most are.

use thiserror::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a variable-length number is cut short or too long")]
pub struct VarintError;

/// Reads a zigzag varint of up to 32 bits, advancing `at`.
#[inline]
pub fn read_i32(bytes: &[u8], at: &mut usize) -> Result<i32, VarintError> {
    let raw = read_u64(bytes, at, 5)?;
    let raw = u32::try_from(raw).map_err(|_| VarintError)?;
    Ok(((raw >> 1) as i32) ^ -((raw & 1) as i32))
}

/// Reads a zigzag varint of up to 64 bits, advancing `at`.
#[inline]
pub fn read_i64(bytes: &[u8], at: &mut usize) -> Result<i64, VarintError> {
    let raw = read_u64(bytes, at, 10)?;
    Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
}

#[inline]
fn read_u64(bytes: &[u8], at: &mut usize, bytes_max: usize) -> Result<u64, VarintError> {
    let rest = bytes.get(*at..).ok_or(VarintError)?;
    match rest {
        [a, ..] if *a < 0x80 => {
            *at += 1;
            Ok(u64::from(*a))
        }
        [a, b, ..] if *b < 0x80 => {
            *at += 2;
            Ok(u64::from(a & 0x7f) | (u64::from(*b) << 7))
        }
        _ => read_long(rest, at, bytes_max),
    }
}

fn read_long(rest: &[u8], at: &mut usize, bytes_max: usize) -> Result<u64, VarintError> {
    let mut value = 0_u64;
    for (i, byte) in rest.iter().take(bytes_max).enumerate() {
        let part = u64::from(byte & 0x7f);
        let shift = 7 * i as u32;
        // The tenth byte has room for one bit.
        if shift == 63 && part > 1 {
            return Err(VarintError);
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            *at += i + 1;
            return Ok(value);
        }
    }
    Err(VarintError)
}

#[inline]
pub fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_u64(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    write_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

#[inline]
fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes `write_i32` takes.
pub fn len_i32(value: i32) -> usize {
    len_u64(u64::from(((value << 1) ^ (value >> 31)) as u32))
}

/// How many bytes `write_i64` takes.
pub fn len_i64(value: i64) -> usize {
    len_u64(((value << 1) ^ (value >> 63)) as u64)
}

fn len_u64(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_comes_back(a: i32, b: i64) {
            let mut out = Vec::new();
            write_i32(&mut out, a);
            prop_assert_eq!(out.len(), len_i32(a));
            write_i64(&mut out, b);
            prop_assert_eq!(out.len(), len_i32(a) + len_i64(b));
            let mut at = 0;
            prop_assert_eq!(read_i32(&out, &mut at), Ok(a));
            prop_assert_eq!(read_i64(&out, &mut at), Ok(b));
            prop_assert_eq!(at, out.len());
        }

        #[test]
        fn any_bytes_are_a_number_or_an_error(bytes: Vec<u8>) {
            let mut at = 0;
            if read_i64(&bytes, &mut at).is_ok() { prop_assert!(at <= bytes.len()); }
            let mut at = 0;
            if read_i32(&bytes, &mut at).is_ok() { prop_assert!(at <= bytes.len()); }
        }
    }

    #[test]
    fn numbers_without_an_end_are_refused() {
        assert_eq!(read_i64(&[0xff; 11], &mut 0), Err(VarintError));
        assert_eq!(read_i32(&[0xff, 0xff, 0xff, 0xff, 0x7f], &mut 0), Err(VarintError));
        assert_eq!(read_i32(&[], &mut 0), Err(VarintError));
    }
}
