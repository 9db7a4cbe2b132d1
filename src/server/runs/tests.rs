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

    fn snapshots(&self) -> Vec<u64> {
        find(&self.files, &self.place).expect("a folder").snapshots
    }

    fn damage_snapshot(&self, at: u64) -> Vec<u8> {
        let path = self.place.snapshot_path(at);
        let whole = std::fs::read(&path).expect("a small file");
        let mut bytes = whole.clone();
        *bytes.last_mut().expect("a head at least") ^= 1;
        std::fs::write(path, bytes).expect("room");
        whole
    }
}

fn open(files: &Failing, directory: &Path) -> Result<Store<DirectFile>, StoreError> {
    let settings = StoreSettings {
        directory: directory.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        shard_count: Some(1),
        core_count: 1,
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

/// A world with two snapshots whose log does not begin at 0 any more, and its names.
fn aged() -> (World, Vec<String>) {
    let world = World::new();
    for at in 0..2 {
        world.write_run(at * END..(at + 1) * END);
        world.fold().expect("a snapshot");
    }
    remove_run(&world.files, &world.place, &(0..END)).expect("it is there");
    assert_eq!((world.snapshots(), world.fold().ok()), (vec![END, 2 * END], Some(END)));
    let names = world.names();
    (world, names)
}

#[test]
fn snapshots_that_cannot_be_read_now_stay() {
    let (world, names) = aged();
    world.write_run(2 * END..3 * END);
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS] {
        world.files.fail(SNAPSHOT_PREFIX, errno);
        assert_eq!(
            world.fold().map_err(|error| error.raw_os_error()),
            Err(Some(errno.raw_os_error()))
        );
    }
    world.files.fail(SNAPSHOT_PREFIX, Errno::IO);
    assert_eq!(world.fold().expect("runs are not to wait for it"), 0);
    assert_eq!(world.snapshots(), [END, 2 * END]);
    world.files.heal();
    assert_eq!(world.fold().expect("it is made now"), 2 * END);
    assert_eq!((world.snapshots(), world.names().len()), (vec![2 * END, 3 * END], names.len() + 1));
}

#[test]
fn a_snapshot_that_the_disk_does_not_give_is_gone_round() {
    let (world, _) = aged();
    world.write_run(2 * END..3 * END);
    let path = world.place.snapshot_path(2 * END);
    world.files.fail(path.file_name().and_then(|it| it.to_str()).expect("text"), Errno::IO);
    assert_eq!(world.fold().expect("the one before it is whole"), END);
    assert_eq!(world.snapshots(), [END, 2 * END, 3 * END]);
    world.write_run(3 * END..4 * END);
    assert_eq!(world.fold().expect("the newest one is whole"), 3 * END);
    assert_eq!(world.snapshots(), [3 * END, 4 * END]);
}

#[test]
fn damaged_snapshots_are_removed_where_something_takes_their_place() {
    let (world, names) = aged();
    let first = world.damage_snapshot(END);
    world.damage_snapshot(2 * END);
    assert_eq!((world.fold().expect("nothing is done"), world.names()), (0, names));
    std::fs::write(world.place.snapshot_path(END), first).expect("room");
    world.write_run(2 * END..3 * END);
    assert_eq!(world.fold().expect("the first one is whole"), END);
    assert_eq!(world.snapshots(), [END, 3 * END]);

    let world = World::new();
    world.write_run(0..END);
    world.fold().expect("a snapshot");
    world.damage_snapshot(END);
    world.write_run(END..2 * END);
    assert_eq!(world.fold().expect("the runs say all"), 0);
    assert_eq!(world.snapshots(), [2 * END]);
}
