//! Files that cannot be used: what is damaged is made again, what cannot be opened now stays.

use std::cell::RefCell;

use engine::commitlog::FlushMode;
use engine::messageindex::MessageIndex;
use engine::shard::{Opening, SealLimits};
use runtime::file::{DirectFile, SystemFiles};
use rustix::io::Errno;

use super::*;
use crate::server::store::{Store, StoreSettings};

const SEGMENT_BYTES: u64 = 16 << 20;

/// Where the first run ends.
const END: u64 = 1 << 16;

/// The kernel's file system, where files whose names begin so cannot be opened or read.
#[derive(Default)]
struct Failing {
    begin: RefCell<Option<(String, Errno)>>,
}

impl Failing {
    fn fail(&self, begin: &str, errno: Errno) {
        self.begin.replace(Some((begin.to_owned(), errno)));
    }

    fn heal(&self) {
        self.begin.replace(None);
    }

    fn look(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        match &*self.begin.borrow() {
            Some((begin, errno)) if name.starts_with(begin) => Err((*errno).into()),
            _ => Ok(()),
        }
    }
}

impl FileSystem for Failing {
    type File = DirectFile;

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        SystemFiles.create_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        SystemFiles.list(directory)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<DirectFile> {
        if mode == OpenMode::Existing {
            self.look(path)?;
        }
        SystemFiles.open(path, mode)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.look(path)?;
        SystemFiles.read(path)
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        SystemFiles.write(path, content)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        SystemFiles.sync(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemFiles.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        SystemFiles.sync_directory(path)
    }
}

/// A store with a shard whose log has no messages, and yet runs.
struct World {
    files: Failing,
    folder: tempfile::TempDir,
    place: ShardPlace,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Failing::default();
        let store = open(&files, folder.path()).expect("a new store");
        let place = store.shards[0].place.clone();
        World { files, folder, place }
    }

    fn open(&self) -> Result<Store<DirectFile>, StoreError> {
        open(&self.files, self.folder.path())
    }

    fn write_run(&self, range: Range<u64>) {
        let seal = SealLimits::default();
        let mut opening = Opening::new(seal, SEGMENT_BYTES, range.start, u64::MAX);
        let encoded = opening.cut(range.end).encode(&self.place.identity);
        write_run(&self.files, &self.place, &encoded).expect("room");
    }

    fn write_index(&self, range: Range<u64>) {
        let mut keys = MessageIndex::new(self.place.shape.seed, SEGMENT_BYTES, true);
        keys.seal(range);
        let work = keys.next_work().expect("a file to write");
        index::perform(&self.files, &self.place, &work).expect("room");
    }

    fn fold(&self) -> io::Result<u64> {
        fold(&self.files, &self.place)
    }

    /// The shard's files but its segments, in the order of their names.
    fn names(&self) -> Vec<String> {
        let mut names = SystemFiles.list(&self.place.directory).expect("a folder");
        names.retain(|name| name.contains('-'));
        names.sort_unstable();
        names
    }
}

fn open(files: &Failing, directory: &Path) -> Result<Store<DirectFile>, StoreError> {
    let settings = StoreSettings {
        directory: directory.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        shard_count: Some(1),
        new_shard_count: 1,
        flush: FlushMode::Sync,
        sync_flush_timeout_ms: 5_000,
        write_buffer_bytes: 1 << 20,
        read_cache_bytes: 1 << 20,
        message_index: true,
        delay_levels_ms: vec![1000],
        transaction_timeout_ms: 6_000,
        seal: SealLimits::default(),
    };
    let random = |bytes: &mut [u8]| {
        bytes.fill(7);
        Ok(())
    };
    store::open_files(files, &settings, 4096, random)
}

#[test]
fn a_start_that_cannot_open_files_is_refused_and_removes_none() {
    let world = World::new();
    world.write_run(0..END);
    world.write_index(0..END);
    world.fold().expect("a snapshot");
    let names = world.names();
    assert_eq!(names.len(), 3, "{names:?}");
    for begin in [RUN_PREFIX, INDEX_PREFIX, SNAPSHOT_PREFIX] {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS] {
            world.files.fail(begin, errno);
            let said = world.open().expect_err("it is refused").to_string();
            assert!(said.contains(&format!("/{begin}")), "{said}");
            let is_advised = said.contains("LimitNOFILE");
            assert_eq!(is_advised, [Errno::MFILE, Errno::NFILE].contains(&errno), "{said}");
            assert_eq!(world.names(), names, "{begin} {errno}");
        }
    }
    world.files.heal();
    let store = world.open().expect("whole");
    assert_eq!((store.shards[0].runs.len(), store.shards[0].indexes.len()), (1, 1));
}

#[test]
fn what_the_disk_does_not_give_is_made_again() {
    let world = World::new();
    world.write_run(0..END);
    world.write_index(0..END);
    world.fold().expect("a snapshot");
    let names = world.names();
    for (begin, runs, indexes) in
        [(RUN_PREFIX, 1, 1), (SNAPSHOT_PREFIX, 1, 1), (INDEX_PREFIX, 1, 0)]
    {
        world.files.fail(begin, Errno::IO);
        let store = world.open().unwrap_or_else(|error| panic!("{begin}: {error}"));
        let shard = &store.shards[0];
        assert_eq!((shard.runs.len(), shard.indexes.len()), (runs, indexes), "{begin}");
        let is_there = world.names().iter().any(|name| name.starts_with(begin));
        assert_eq!(is_there, begin == RUN_PREFIX, "{begin}");
        assert!(world.names().iter().all(|name| names.contains(name)));
    }
}
