//! The index against a naive model: a list of all keys of all messages.

use proptest::prelude::*;

use super::*;
use crate::page::{FileIdentity, PAGE_BYTES};

const IDENTITY: FileIdentity = FileIdentity { store_id: 77, shard: 2, seed: 9 };
const SEGMENT: u64 = 1 << 20;
const TOPIC: u32 = 7;

/// Messages as (payload, when, keys), as the model keeps them.
type Noted = Vec<(u64, u64, Vec<String>)>;

/// An index with its disk: files by address.
struct Played {
    index: MessageIndex,
    disk: Vec<(u64, Vec<u8>, IndexHead)>,
    sealed: u64,
    noted: Noted,
}

impl Played {
    fn new() -> Played {
        let index = MessageIndex::new(IDENTITY.seed, SEGMENT, true);
        Played { index, disk: Vec::new(), sealed: 0, noted: Vec::new() }
    }

    fn note(&mut self, payload: u64, ms: u64, keys: &[&str]) {
        let (unique, more) = keys.split_first().expect("a key");
        let more = more.join(" ");
        self.index.note(TOPIC, unique.as_bytes(), more.as_bytes(), payload, ms);
        self.noted.push((payload, ms, keys.iter().map(|key| (*key).to_owned()).collect()));
    }

    fn seal(&mut self, to: u64) {
        self.index.seal(self.sealed..to);
        self.sealed = to;
    }

    fn head_of(&self, range: &Range<u64>) -> (&[u8], &IndexHead) {
        let (_, bytes, head) =
            self.disk.iter().find(|(_, _, head)| head.range == *range).expect("a file");
        (bytes, head)
    }

    /// Does one piece of work; whether there was one.
    fn work(&mut self) -> bool {
        let Some(work) = self.index.next_work() else { return false };
        let (bytes, head) = match work {
            IndexWork::Write(draft) => {
                let encoded = draft.encode(&IDENTITY);
                (encoded.bytes, encoded.head)
            }
            IndexWork::Make(range) => {
                let mut again = MessageIndex::new(IDENTITY.seed, SEGMENT, true);
                for (payload, ms, keys) in &self.noted {
                    if range.contains(payload) {
                        let more = keys[1..].join(" ");
                        again.note(TOPIC, keys[0].as_bytes(), more.as_bytes(), *payload, *ms);
                    }
                }
                again.seal(range);
                let Some(IndexWork::Write(draft)) = again.next_work() else { panic!("a draft") };
                let encoded = draft.encode(&IDENTITY);
                (encoded.bytes, encoded.head)
            }
            IndexWork::Merge(ranges) => self.merge(&ranges),
        };
        let read = IndexHead::read(&IDENTITY, &head.range, &bytes).expect("whole");
        assert_eq!((&read, bytes.len() as u64), (&head, head.file_bytes()));
        if let Some((address, old)) = self.index.file_written(&head) {
            self.disk.retain(|(address, _, _)| !old.contains(address));
            self.disk.push((address, bytes, head));
        }
        true
    }

    fn merge(&self, ranges: &[Range<u64>]) -> (Vec<u8>, IndexHead) {
        let inputs: Vec<_> = ranges.iter().map(|range| self.head_of(range)).collect();
        let mut merge =
            Merge::new(IDENTITY, inputs.iter().map(|(_, head)| (*head).clone()).collect());
        let mut bytes = vec![0; merge.pages_start() as usize];
        loop {
            match merge.step(&mut bytes) {
                MergeStep::Need { file, page } => {
                    let (input, head) = inputs[file];
                    let at = head.pages_start() as usize + page as usize * PAGE_BYTES;
                    merge.supply(file, &input[at..at + PAGE_BYTES]).expect("whole");
                }
                MergeStep::Made => {}
                MergeStep::Done => break,
            }
        }
        let head = merge.finish(&mut bytes);
        let first = head.write(&IDENTITY);
        bytes[..first.len()].copy_from_slice(&first);
        (bytes, head)
    }

    /// All hits, each payload once, rising.
    fn find(&self, key: &str, (begin_ms, end_ms): (u64, u64), hits_max: usize) -> Vec<u64> {
        let hash = self.index.hash(TOPIC, key.as_bytes());
        let wanted = Wanted { hash, begin_ms, end_ms, hits_max };
        let (mut found, mut below) = (Vec::new(), u64::MAX);
        loop {
            let mut hits = Vec::new();
            let is_through = self.index.scan(&wanted, &mut below, &mut 10_000, &mut hits);
            assert!(hits.len() <= hits_max && hits.is_sorted_by(|a, b| a > b), "the newest first");
            found.extend(hits);
            if is_through {
                break;
            }
        }
        for file in self.index.files().iter() {
            let (_, bytes, _) =
                self.disk.iter().find(|it| it.0 == file.address).expect("it is on disk");
            let Some(mut probe) = Probe::new(file, &wanted) else { continue };
            let mut hits = Vec::new();
            while !probe.is_done() {
                while let Some(page) = probe.next_page(&wanted) {
                    let at = file.addresses(page);
                    let page_bytes = &bytes[(at.start - file.address) as usize..];
                    let count = file.entries_of(page);
                    let entries =
                        read_entries(IDENTITY.seed, file.range.start, page, count, page_bytes);
                    probe.look(&wanted, page, entries.expect("whole"));
                }
                hits.append(&mut probe.hits);
            }
            assert!(hits.is_sorted_by(|a, b| a > b), "the newest first: {hits:?}");
            found.extend(hits);
        }
        found.sort_unstable();
        let before = found.len();
        found.dedup();
        assert_eq!(before, found.len(), "each once");
        found
    }

    fn expected(&self, key: &str, (begin_ms, end_ms): (u64, u64)) -> Vec<u64> {
        let hits = self.noted.iter().filter(|(_, ms, keys)| {
            (begin_ms..=end_ms).contains(ms) && keys.iter().any(|it| it == key)
        });
        hits.map(|(payload, _, _)| *payload).collect()
    }
}

/// A step of a random play.
#[derive(Clone, Debug)]
enum Step {
    /// So many messages with a key of so few, so many units and ms apart.
    Note(usize, u8, u64, u64),
    Seal(u64),
    Work,
    Damage(prop::sample::Index),
    Expire(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let note = (1usize..3000, 0u8..8, 1u64..40, 0u64..30)
        .prop_map(|(n, k, gap, ms)| Step::Note(n, k, gap, ms));
    let step = prop_oneof![
        4 => note,
        3 => (0u64..2000).prop_map(Step::Seal),
        5 => Just(Step::Work),
        1 => any::<prop::sample::Index>().prop_map(Step::Damage),
        1 => any::<prop::sample::Index>().prop_map(Step::Expire),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn finds_what_a_list_finds(steps in steps(), hits_max in 1usize..70) {
        let mut played = Played::new();
        let (mut payload, mut ms, mut number) = (32, 1_000_000, 0);
        let mut slices = Vec::new();
        for step in steps {
            match step {
                Step::Note(count, few, gap, gap_ms) => {
                    for _ in 0..count {
                        number += 1;
                        let unique = format!("unique{number}");
                        let other = format!("key{}", number % (u64::from(few) + 1));
                        let keys = [&unique[..], "hot", &other, &other];
                        played.note(payload, ms, &keys);
                        payload += gap * 8;
                        ms += gap_ms;
                    }
                }
                Step::Seal(left) => {
                    // Not everything is durable yet.
                    let payload = payload.saturating_sub(left * 8).max(played.sealed);
                    let segment_end = (played.sealed + 1).next_multiple_of(SEGMENT);
                    let mut to = payload.min(segment_end);
                    while to > played.sealed {
                        slices.push(played.sealed..to);
                        played.seal(to);
                        to = payload.min((to + 1).next_multiple_of(SEGMENT));
                    }
                }
                Step::Work => _ = played.work(),
                Step::Damage(which) if !played.disk.is_empty() => {
                    let which = which.index(played.disk.len());
                    let range = played.disk[which].2.range.clone();
                    let address = played.index.damaged(&range, slices.iter().cloned());
                    prop_assert_eq!(address, Some(played.disk[which].0));
                    played.disk.remove(which);
                }
                Step::Expire(which) => {
                    let segments = played.sealed / SEGMENT + 1;
                    let start = which.index(segments as usize) as u64 * SEGMENT;
                    let gone = played.index.expire(start);
                    played.disk.retain(|(address, _, _)| !gone.contains(address));
                    slices.retain(|slice| slice.end > start);
                    played.noted.retain(|(payload, _, _)| *payload >= start);
                }
                Step::Damage(_) => {}
            }
            prop_assert!(!played.index.is_idle || played.index.choose().is_none());
        }
        while played.work() {}
        prop_assert_eq!(played.index.unwritten(), 0);
        let all = (0, u64::MAX);
        let middle = (1_000_000 + (ms - 1_000_000) / 3, 1_000_000 + (ms - 1_000_000) / 2);
        for key in ["hot", "key0", "key3", "unique1", "unique77", "none"] {
            for time in [all, middle, (ms, ms), (5, 4)] {
                let expected = if time.0 > time.1 { Vec::new() } else { played.expected(key, time) };
                prop_assert_eq!(played.find(key, time, hits_max), expected, "{} {:?}", key, time);
            }
        }
        // What was merged is one file a segment.
        let full = played.sealed / SEGMENT;
        let in_full = played.index.files().iter().filter(|file| file.range.end <= full * SEGMENT);
        prop_assert!(in_full.count() as u64 <= full);
    }

    #[test]
    fn any_flipped_bit_is_found(place in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut played = Played::new();
        for number in 0..900u64 {
            played.note(32 + number * 64, 5, &[&format!("unique{number}")]);
        }
        played.seal(SEGMENT);
        played.work();
        let (_, bytes, head) = &mut played.disk[0];
        let directory_end = PAGE_BYTES + head.directory.len() * 4;
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let read = IndexHead::read(&IDENTITY, &head.range, bytes).and_then(|head| {
            for page in 0..head.directory.len() as u64 {
                let at = head.pages_start() as usize + page as usize * PAGE_BYTES;
                read_entries(IDENTITY.seed, 0, page, head.entries_of(page), &bytes[at..])?.count();
            }
            Ok(())
        });
        // Padding behind the directory is nobody's.
        let is_padding = (directory_end..head.pages_start() as usize).contains(&at);
        prop_assert_eq!(read.is_err(), !is_padding);
    }
}

#[test]
fn hashes_are_those_that_files_hold() {
    // Written down once: files of older versions hold them.
    let keys = [&b""[..], b"key", b"0123456789ABCDEF0123456789ABCDEF"];
    let hashes = keys.map(|key| key_hash(9, 7, key));
    assert_eq!(hashes, [3_083_786_149, 2_428_462_599, 3_794_811_293]);
    assert_ne!(key_hash(9, 7, b"key"), key_hash(9, 8, b"key"));
    assert_ne!(key_hash(9, 7, b"key"), key_hash(8, 7, b"key"));
}

#[test]
fn hashes_spread() {
    let mut hashes: Vec<_> =
        (0..100_000).map(|number| key_hash(1, 1, format!("{number:032X}").as_bytes())).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert!(hashes.len() > 99_980, "{} of 100,000", hashes.len());
    let buckets = hashes.chunk_by(|a, b| a >> 24 == b >> 24).map(<[u32]>::len);
    let (least, most) = (buckets.clone().min(), buckets.max());
    assert!(least > Some(300) && most < Some(480), "{least:?} {most:?}");
}

#[test]
fn keys_are_split_as_rocketmq_does() {
    let text = b"KEYS\x01a  b \x02UNIQ_KEY\x01u v\x02";
    assert_eq!(keys_of(text), (&b"u v"[..], &b"a  b "[..]));
    for (key, is_there) in [("a", true), ("b", true), ("u v", true), ("u", false), ("", false)] {
        assert_eq!(has_key(text, key.as_bytes()), is_there, "{key}");
    }
}

#[test]
fn what_memory_has_no_room_for_is_made_from_the_log() {
    let mut index = MessageIndex::new(1, SEGMENT, true);
    index.unwritten_entries = INDEX_UNWRITTEN_ENTRIES_MAX;
    index.note(TOPIC, b"key", b"", 64, 1);
    assert_eq!(index.recent_entries(), 0);
    index.seal(0..4096);
    assert!(matches!(index.next_work(), Some(IndexWork::Make(range)) if range == (0..4096)));
}

/// The slices that have no draft are those that messages were left out of, wherever slices end.
#[test]
fn what_was_left_out_is_known_until_its_slice_is_sealed() {
    let mut index = MessageIndex::new(1, SEGMENT, true);
    index.unwritten_entries = INDEX_UNWRITTEN_ENTRIES_MAX;
    index.note(TOPIC, b"key", b"", 8192, 1);
    index.seal(0..4096);
    index.unwritten_entries = 0;
    index.seal(4096..16384);
    index.seal(16384..32768);
    let drafts = index.unwritten.iter().map(|sealed| sealed.draft.is_some());
    assert_eq!(drafts.collect::<Vec<_>>(), [true, false, true]);
    for range in [0..4096, 16384..32768] {
        let Some(IndexWork::Write(draft)) = index.next_work() else { panic!("a draft") };
        assert_eq!(draft.range(), range);
        index.file_written(&draft.encode(&IDENTITY).head).expect("wanted");
    }
    assert!(matches!(index.next_work(), Some(IndexWork::Make(range)) if range == (4096..16384)));

    let mut index = MessageIndex::new(1, SEGMENT, true);
    for (is_full, payload) in [(true, 2048), (false, 4096 + 32), (true, 8192), (true, 20000)] {
        index.unwritten_entries = if is_full { INDEX_UNWRITTEN_ENTRIES_MAX } else { 0 };
        index.note(TOPIC, b"key", b"", payload, 1);
    }
    for range in [0..4096, 4096..16384, 16384..20000, 20000..20480, 20480..32768] {
        index.seal(range);
    }
    let drafts = index.unwritten.iter().map(|sealed| sealed.draft.is_some());
    assert_eq!(drafts.collect::<Vec<_>>(), [false, false, false, false, true]);
}

#[test]
fn a_slice_that_is_made_from_the_log_has_all_of_its_keys() {
    let mut index = MessageIndex::new(1, SEGMENT, true).without_limit();
    index.unwritten_entries = INDEX_UNWRITTEN_ENTRIES_MAX;
    index.note(TOPIC, b"key", b"more keys", 64, 1);
    index.seal(0..4096);
    let Some(IndexWork::Write(draft)) = index.next_work() else { panic!("a draft") };
    assert_eq!((draft.range(), draft.entries()), (0..4096, 3));
}

#[test]
fn what_has_nothing_to_do_is_not_gone_through_again() {
    let mut played = Played::new();
    played.note(64, 1, &["key"]);
    played.seal(4096);
    while played.work() {}
    // Nobody told it of these, so only who goes through all finds them.
    let slip_in = |played: &mut Played, range| {
        played.index.unwritten.push_back(Sealed { range, draft: None });
    };
    slip_in(&mut played, 4096..8192);
    assert!(played.index.next_work().is_none(), "nothing has changed");
    played.sealed = 8192;
    played.seal(12288);
    while played.work() {}
    assert_eq!((played.index.unwritten(), played.index.files().len()), (0, 3));
    // A file that goes is a change, too.
    slip_in(&mut played, 12288..16384);
    assert!(played.index.next_work().is_none(), "nothing has changed");
    let slices = [0..4096, 4096..8192, 8192..12288];
    assert!(played.index.damaged(&(4096..8192), slices.into_iter()).is_some());
    while played.work() {}
    assert_eq!((played.index.unwritten(), played.index.files().len()), (0, 4));
}

#[test]
fn an_index_that_is_off_notes_nothing_and_keeps_files() {
    let mut played = Played::new();
    played.note(64, 1, &["key"]);
    played.seal(4096);
    assert!(played.work());
    let mut off = MessageIndex::new(IDENTITY.seed, SEGMENT, false);
    off.found_file(&played.disk[0].2);
    off.note(TOPIC, b"key", b"", 8192, 1);
    off.sealed_before(4096..8000);
    off.seal(8000..12000);
    assert_eq!((off.recent_entries(), off.files().len()), (0, 1));
    assert!(off.next_work().is_none());
}

#[test]
fn directories_are_bounded_and_thin_ones_find_the_same() {
    let mut played = Played::new();
    for number in 0..20_000u64 {
        played.note(32 + number * 8, 5, &[&format!("unique{number}"), "hot"]);
    }
    played.seal(SEGMENT);
    while played.work() {}
    for _ in 0..4 {
        played.index.files.thin_all();
        for key in ["hot", "unique0", "unique19999", "none"] {
            assert_eq!(played.find(key, (0, 9), 64), played.expected(key, (0, 9)), "{key}");
        }
    }
}

#[test]
fn expired_files_are_given_back() {
    let mut played = Played::new();
    played.note(64, 1, &["key"]);
    played.seal(SEGMENT);
    assert!(played.work());
    played.note(SEGMENT + 64, 1, &["key"]);
    played.seal(2 * SEGMENT);
    assert_eq!(played.index.expire(SEGMENT), [played.disk[0].0]);
    let IndexWork::Write(draft) = played.index.next_work().expect("work") else {
        panic!("a write")
    };
    assert_eq!(played.index.expire(2 * SEGMENT), Vec::<u64>::new());
    let head = draft.encode(&IDENTITY).head;
    assert_eq!(played.index.file_written(&head), None, "nobody wants it");
    assert!(played.index.next_work().is_none());
}
