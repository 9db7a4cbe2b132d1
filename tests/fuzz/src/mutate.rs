//! Damage to inputs: the same for the same seed, on any machine.

/// Longest mutated input, bytes: enough for every format here, short enough to stay fast.
const LENGTH_MAX: usize = 16 << 10;

/// Makes mutations of a corpus.
#[derive(Debug)]
pub struct Mutator<'a> {
    state: u64,
    corpus: &'a [Vec<u8>],
    dictionary: &'a [&'a [u8]],
}

impl<'a> Mutator<'a> {
    /// A mutator of this corpus. Equal seeds make equal mutations.
    pub fn new(seed: u64, corpus: &'a [Vec<u8>], dictionary: &'a [&'a [u8]]) -> Self {
        Self { state: seed, corpus, dictionary }
    }

    /// One input of the corpus with one to four kinds of damage.
    pub fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.pick();
        for _ in 0..=self.below(4) {
            self.damage(&mut input);
            input.truncate(LENGTH_MAX);
        }
        input
    }

    fn damage(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(9) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => {
                let byte = self.random() as u8;
                input.insert(at, byte);
            }
            2 => {
                input.drain(at..end);
            }
            3 => {
                let copy = input.get(at..end).unwrap_or_default().to_vec();
                self.insert(input, &copy);
            }
            4 => input.truncate(at),
            5 => self.number(input, at),
            6 => {
                let other = self.pick();
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(other.get(from..).unwrap_or_default());
            }
            _ => {
                let token = self.below(self.dictionary.len().max(1));
                let token = self.dictionary.get(token).copied().unwrap_or(b"\0");
                self.insert(input, token);
            }
        }
    }

    fn insert(&mut self, input: &mut Vec<u8>, piece: &[u8]) {
        let at = self.below(input.len() + 1);
        input.splice(at..at, piece.iter().copied());
    }

    /// A number that lengths and counts go wrong at, big endian, over what is there.
    fn number(&mut self, input: &mut [u8], at: usize) {
        let numbers = [0, 1, -1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, i64::from(i32::MAX)];
        let length = input.len() as i64;
        let number = match self.below(numbers.len() + 2) {
            index if index < numbers.len() => numbers[index],
            index if index == numbers.len() => length,
            _ => length - at as i64,
        };
        let size = [1, 2, 4, 8][self.below(4)];
        let bytes = number.to_be_bytes();
        if let Some(field) = input.get_mut(at..at + size) {
            field.copy_from_slice(&bytes[8 - size..]);
        }
    }

    fn pick(&mut self) -> Vec<u8> {
        let index = self.below(self.corpus.len().max(1));
        self.corpus.get(index).cloned().unwrap_or_default()
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random() % bound as u64) as usize
    }

    /// SplitMix64: every seed is as good as any other.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}
