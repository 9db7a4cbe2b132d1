//! The body of a batch (request code 320): message after message, without what the header says once.
//!
//! ```text
//! i32 record bytes | i32 magic | i32 bodyCRC | i32 flag | i32 body bytes, body
//! i16 properties bytes, properties
//! ```
//! Source: `MessageDecoder.encodeMessage` and `MessageExtEncoder.encode(MessageExtBatch)`, 5.3.3.

use thiserror::Error;

/// Bytes of a record with neither body nor properties.
pub const BATCH_RECORD_BYTES_MIN: usize = 22;

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRecord<'a> {
    /// The user's flag.
    pub flag: i32,
    /// Body, as compressed as the header says.
    pub body: &'a [u8],
    /// Properties text of this message alone.
    pub properties: &'a [u8],
}

/// Why a batch cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchError {
    /// A record ends behind the batch, or a length is negative.
    #[error("the batch record at byte {at} ends behind the batch's {batch} bytes")]
    Truncated {
        /// Where the record begins.
        at: usize,
        /// Length of the batch.
        batch: usize,
    },
}

/// Iterator over a batch; stops after the first error.
#[derive(Debug, Clone)]
pub struct BatchRecords<'a> {
    batch: &'a [u8],
    at: usize,
}

impl<'a> BatchRecords<'a> {
    /// The messages of the body of a send with the batch flag.
    pub const fn new(batch: &'a [u8]) -> Self {
        Self { batch, at: 0 }
    }

    /// How many messages there are, all of them checked, so that a second pass cannot fail.
    ///
    /// # Errors
    /// The first [`BatchError`].
    pub fn count_checked(&self) -> Result<usize, BatchError> {
        self.clone().try_fold(0, |count, record| record.map(|_| count + 1))
    }

    fn read(&self) -> Result<(BatchRecord<'a>, usize), BatchError> {
        let at = self.at;
        let truncated = BatchError::Truncated { at, batch: self.batch.len() };
        let record = self.batch.get(at..).unwrap_or_default();
        let (head, rest) = record.split_first_chunk::<20>().ok_or(truncated)?;
        // Size, magic and CRC are not looked at, as in Java: the parts say where the record ends.
        let [_, _, _, _, _, _, _, _, _, _, _, _, f0, f1, f2, f3, b0, b1, b2, b3] = *head;
        let flag = i32::from_be_bytes([f0, f1, f2, f3]);
        let body_bytes = usize::try_from(i32::from_be_bytes([b0, b1, b2, b3]));
        let body_bytes = body_bytes.map_err(|_| truncated)?;
        let (body, rest) = rest.split_at_checked(body_bytes).ok_or(truncated)?;
        let (properties_bytes, rest) = rest.split_first_chunk::<2>().ok_or(truncated)?;
        let properties_bytes = usize::try_from(i16::from_be_bytes(*properties_bytes));
        let properties_bytes = properties_bytes.map_err(|_| truncated)?;
        let properties = rest.get(..properties_bytes).ok_or(truncated)?;
        let record = BatchRecord { flag, body, properties };
        Ok((record, record.encoded_bytes()))
    }
}

impl<'a> Iterator for BatchRecords<'a> {
    type Item = Result<BatchRecord<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.batch.len() {
            return None;
        }
        match self.read() {
            Ok((record, size_bytes)) => {
                self.at += size_bytes;
                Some(Ok(record))
            }
            Err(error) => {
                self.at = self.batch.len();
                Some(Err(error))
            }
        }
    }
}

impl BatchRecord<'_> {
    /// Size of the record in a batch.
    pub const fn encoded_bytes(&self) -> usize {
        BATCH_RECORD_BYTES_MIN + self.body.len() + self.properties.len()
    }

    /// Appends the record to the body of a batch.
    ///
    /// # Panics
    /// If the properties are longer than 32767 bytes or the record is longer than 2 GiB.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let size = i32::try_from(self.encoded_bytes()).expect("a record is below 2 GiB");
        let properties_bytes = i16::try_from(self.properties.len());
        let properties_bytes = properties_bytes.expect("properties have at most 32767 bytes");
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&self.flag.to_be_bytes());
        out.extend_from_slice(&(self.body.len() as i32).to_be_bytes());
        out.extend_from_slice(self.body);
        out.extend_from_slice(&properties_bytes.to_be_bytes());
        out.extend_from_slice(self.properties);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Appendix A of the protocol notes: flag 0, body `abc`, TAGS=x.
    const ONE: &[u8] = b"\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03abc\0\x07TAGS\x01x\x02";

    #[test]
    fn one_record_is_read_and_written() {
        let record = BatchRecord { flag: 0, body: b"abc", properties: b"TAGS\x01x\x02" };
        let found: Result<Vec<_>, _> = BatchRecords::new(ONE).collect();
        assert_eq!(found, Ok(vec![record]));
        let mut out = Vec::new();
        record.encode(&mut out);
        assert_eq!(out, ONE);
    }

    fn check_truncated(batch: &[u8], at: usize) {
        let expect = BatchError::Truncated { at, batch: batch.len() };
        assert_eq!(BatchRecords::new(batch).count_checked(), Err(expect), "{batch:?}");
        assert_eq!(BatchRecords::new(batch).last(), Some(Err(expect)));
    }

    #[test]
    fn records_that_end_behind_the_batch_are_refused() {
        for length in 1..ONE.len() {
            check_truncated(&ONE[..length], 0);
            check_truncated(&[ONE, &ONE[..length]].concat(), ONE.len());
        }
        let mut negative = ONE.to_vec();
        negative[16] = 0x80;
        check_truncated(&negative, 0);
        let mut negative = ONE.to_vec();
        negative[23] = 0x80;
        check_truncated(&negative, 0);
        assert_eq!(BatchRecords::new(b"").count_checked(), Ok(0));
    }

    proptest! {
        #[test]
        fn batches_are_read_back(
            parts in prop::collection::vec((any::<i32>(), any::<Vec<u8>>(), any::<Vec<u8>>()), 0..5),
        ) {
            let records: Vec<_> = parts
                .iter()
                .map(|(flag, body, properties)| BatchRecord { flag: *flag, body, properties })
                .collect();
            let mut batch = Vec::new();
            records.iter().for_each(|record| record.encode(&mut batch));
            prop_assert_eq!(BatchRecords::new(&batch).count_checked(), Ok(records.len()));
            let found: Result<Vec<_>, _> = BatchRecords::new(&batch).collect();
            prop_assert_eq!(found, Ok(records));
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            let _ = BatchRecords::new(&bytes).count_checked();
        }
    }
}
