//! Kafka's primitive types as bytes: big-endian numbers, varints, lengths.

use anyhow::{Context, Result, ensure};

/// Bytes of a request as they come about.
#[derive(Default)]
pub struct Out(pub Vec<u8>);

impl Out {
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn unsigned_varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Zigzag, as within records.
    pub fn varint(&mut self, number: i64) {
        self.unsigned_varint(((number << 1) ^ (number >> 63)) as u64);
    }

    /// The length of a text, of bytes or of a list; `None` is null.
    pub fn length(&mut self, length: Option<usize>, width: Width) {
        match width {
            Width::Compact => self.unsigned_varint(length.map_or(0, |length| length as u64 + 1)),
            Width::Two => self.put(&length.map_or(-1, |length| length as i16).to_be_bytes()),
            Width::Four => self.put(&length.map_or(-1, |length| length as i32).to_be_bytes()),
        }
    }
}

/// How a length is written.
#[derive(Clone, Copy)]
pub enum Width {
    Compact,
    Two,
    Four,
}

/// Bytes of an answer that are still to be read.
pub struct In<'a>(pub &'a [u8]);

impl<'a> In<'a> {
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        ensure!(count <= self.0.len(), "{count} bytes are to follow, {} do", self.0.len());
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    pub fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn unsigned_varint(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        anyhow::bail!("a varint does not end")
    }

    pub fn varint(&mut self) -> Result<i64> {
        let number = self.unsigned_varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// `None` is null.
    pub fn length(&mut self, width: Width) -> Result<Option<usize>> {
        let length = match width {
            Width::Compact => self.unsigned_varint()? as i64 - 1,
            Width::Two => self.i16()?.into(),
            Width::Four => self.i32()?.into(),
        };
        if length == -1 {
            return Ok(None);
        }
        usize::try_from(length).map(Some).context("a length below -1")
    }
}
