//! Space ahead of a log: segments created, zeros written and made durable (background tasks).
//! Kind: shell
//!
//! Zeros are written, not only reserved: an fdatasync or DSYNC write into merely allocated extents has
//! to change the file's metadata too and costs 3.6 times as much.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use runtime::DirectBuffer;
use runtime::file::{FileSystem, OpenMode, SharedFiles, StoreFile};

use super::runs::ShardPlace;
use super::store::segment_path;

/// Zeros written at a time: one huge page, which the kernel need not gather from small ones.
const ZEROS_BYTES: usize = 2 * 1024 * 1024;

/// How long to wait before a full disk is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Prepares space, one range after the other.
#[derive(Debug)]
pub struct Preparer {
    zeros: Arc<DirectBuffer>,
}

impl Preparer {
    /// A preparer with its page of zeros.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new() -> io::Result<Preparer> {
        Ok(Preparer { zeros: Arc::new(DirectBuffer::huge(ZEROS_BYTES)?) })
    }

    /// Prepares log offsets within one segment. The segment's file comes back when the range begins
    /// it. The calls block, so they are made on a thread of the executor's pool.
    ///
    /// # Errors
    /// What the file system says; ENOSPC when the disk is full. The same range can be tried again.
    pub async fn prepare<S: SharedFiles>(
        &self,
        files: &S,
        place: &ShardPlace,
        range: &Range<u64>,
    ) -> io::Result<Option<S::File>> {
        let (zeros, place, range) = (Arc::clone(&self.zeros), place.clone(), range.clone());
        let files = files.clone();
        glommio::executor().spawn_blocking(move || zero_range(&files, &zeros, &place, range)).await
    }
}

/// Zeros log offsets within one segment and makes that durable; the segment's file if it is new.
///
/// # Errors
/// What the file system says; ENOSPC when the disk is full. The same range can be tried again.
pub fn zero_range<F: FileSystem>(
    files: &F,
    zeros: &DirectBuffer,
    place: &ShardPlace,
    range: Range<u64>,
) -> io::Result<Option<F::File>> {
    let segment_bytes = place.shape.segment_bytes;
    let first = range.start / segment_bytes * segment_bytes;
    assert!(range.end <= first + segment_bytes);
    let path = segment_path(&place.directory, first);
    let is_new = range.start == first;
    let mode = if is_new { OpenMode::OrCreate } else { OpenMode::Existing };
    let file = files.open(&path, mode)?;
    if is_new {
        file.allocate(segment_bytes)?;
    }
    write_zeros(&file, zeros, range.start - first..range.end - first)?;
    if !is_new {
        return Ok(None);
    }
    files.sync_directory(&place.directory)?;
    Ok(Some(file))
}

/// Writes zeros to bytes of a file and makes them durable.
///
/// # Errors
/// What the file system says.
pub fn write_zeros(
    file: &impl StoreFile,
    zeros: &DirectBuffer,
    range: Range<u64>,
) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let len = range.end.min(at + zeros.size() as u64) - at;
        file.write_at(zeros, usize::try_from(len).expect("at most the zeros"), at)?;
        at += len;
    }
    file.sync_data()
}

/// Waits before a failed preparation is tried again.
pub async fn wait_to_retry() {
    glommio::timer::sleep(RETRY_AFTER).await;
}
