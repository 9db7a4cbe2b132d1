//! Space ahead of a log: segments created, zeros written and made durable (background tasks).
//! Kind: shell
//!
//! Zeros are written, not only reserved: an fdatasync or DSYNC write into merely allocated extents has
//! to change the file's metadata too and costs 3.6 times as much.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use glommio::io::OpenOptions;
use runtime::file::{DirectFile, OpenMode, sync_directory};

use super::store::segment_path;

/// Zeros written at a time: segments and the ranges asked for are multiples of it.
const ZEROS_BYTES: usize = 1024 * 1024;

/// How long to wait before a full disk is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Where a shard's segments are and how large.
#[derive(Clone, Debug)]
pub struct SpacePlace {
    /// The shard's directory.
    pub directory: PathBuf,
    /// Bytes of a segment.
    pub segment_bytes: u64,
}

/// Prepares log offsets within one segment. The segment's file comes back when the range begins it.
///
/// # Errors
/// What the file system says; ENOSPC when the disk is full. The same range can be tried again.
pub async fn prepare(place: &SpacePlace, range: &Range<u64>) -> io::Result<Option<DirectFile>> {
    let first = range.start / place.segment_bytes * place.segment_bytes;
    assert!(range.end <= first + place.segment_bytes);
    let path = segment_path(&place.directory, first);
    let is_new = range.start == first;
    let file = OpenOptions::new()
        .write(true)
        .read(true)
        .create(is_new)
        .dma_open(&path)
        .await
        .map_err(io::Error::from)?;
    let written = write_zeros(&file, is_new, place.segment_bytes, first, range).await;
    let closed = file.close().await.map_err(io::Error::from);
    written.and(closed)?;
    if !is_new {
        return Ok(None);
    }
    let (directory, path) = (place.directory.clone(), path.clone());
    // Blocking calls: on a thread of the executor's pool.
    glommio::executor().spawn_blocking(move || finish_new(&directory, &path)).await.map(Some)
}

async fn write_zeros(
    file: &glommio::io::DmaFile,
    is_new: bool,
    segment_bytes: u64,
    first: u64,
    range: &Range<u64>,
) -> io::Result<()> {
    if is_new {
        file.pre_allocate(segment_bytes, false).await.map_err(io::Error::from)?;
    }
    let mut zeros = file.alloc_dma_buffer(ZEROS_BYTES);
    zeros.as_bytes_mut().fill(0);
    let zeros = Rc::new(zeros);
    let mut at = range.start;
    while at < range.end {
        assert!(range.end - at >= ZEROS_BYTES as u64);
        let zeros = Rc::clone(&zeros);
        let written = file.write_rc_at(zeros, at - first).await.map_err(io::Error::from)?;
        if written != ZEROS_BYTES {
            return Err(io::ErrorKind::WriteZero.into());
        }
        at += written as u64;
    }
    file.fdatasync().await.map_err(io::Error::from)
}

fn finish_new(directory: &Path, path: &Path) -> io::Result<DirectFile> {
    sync_directory(directory)?;
    DirectFile::open(path, OpenMode::Existing)
}

/// Waits before a failed preparation is tried again.
pub async fn wait_to_retry() {
    glommio::timer::sleep(RETRY_AFTER).await;
}
