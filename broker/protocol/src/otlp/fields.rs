//! Protobuf as it is on the wire: the fields of a message one after the other, as far as OTLP needs them.
//!
//! ```text
//! field: varint (number << 3 | kind) | by kind: 0 varint | 1 8 bytes | 2 varint length, and so many bytes | 5 4 bytes
//! ```
//!
//! Invariant: nothing is allocated; what is read is borrowed from the message. Groups (kinds 3 and 4), which
//! proto3 does not have, are an error.

use super::Malformed;

/// What a field holds; what that means says its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        match self {
            Value::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| Malformed("a text is not UTF-8")),
            _ => Err(Malformed("a text is a number")),
        }
    }
}

/// The fields of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Fields<'a> {
        Fields(message)
    }

    /// The messages under a number.
    pub(super) fn messages(self, number: u64) -> impl Iterator<Item = Result<Fields<'a>, Malformed>> {
        self.filter_map(move |field| match field {
            Ok((found, Value::Bytes(bytes))) if found == number => Some(Ok(Fields(bytes))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// What a number says; of several the last, as protobuf has it.
    pub(super) fn last(self, number: u64) -> Result<Option<Value<'a>>, Malformed> {
        let mut last = None;
        for field in self {
            match field? {
                (found, value) if found == number => last = Some(value),
                _ => {}
            }
        }
        Ok(last)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.take::<1>()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a number has no end"))
    }

    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("it is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(*self.take()?)),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed("it is cut short"))?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(*self.take()?)),
            _ => return Err(Malformed("a field is of no known kind")),
        };
        Ok((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_field_is_read() {
        let message = [
            0x08, 0x96, 0x01, // 1: 150, protobuf's own example
            0x12, 0x02, b'h', b'i', // 2: "hi"
            0x19, 1, 0, 0, 0, 0, 0, 0, 0, // 3: 8 bytes
            0x25, 2, 0, 0, 0, // 4: 4 bytes
        ];
        let fields: Result<Vec<_>, _> = Fields::of(&message).collect();
        let expected = [
            (1, Value::Varint(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Fixed64(1)),
            (4, Value::Fixed32(2)),
        ];
        assert_eq!(fields.unwrap(), expected);
        assert_eq!(Fields::of(&message).last(1).unwrap(), Some(Value::Varint(150)));
        assert_eq!(Fields::of(&message).last(9).unwrap(), None);
    }

    #[test]
    fn what_ends_too_early_or_never_is_an_error() {
        let endless = [&[0x08][..], &[0xff; 10]].concat();
        for wrong in [&[0x08][..], &[0x12, 5, b'h'], &[0x19, 1], &[0x25, 1], &[0x0b], &[0x80], &endless] {
            assert!(Fields::of(wrong).last(1).is_err(), "{wrong:?}");
        }
    }
}
