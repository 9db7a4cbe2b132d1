//! Frames of one call of the socket, patched where they lie.
//! Owns: one buffer, made at the start.
//! Kind: machine
//! Invariants: the frames taken since `clear` lie without gaps at the buffer's start.
//!
//! If all requests of a run have one template, the buffer holds copies of it from the start and a
//! message costs what is patched; otherwise each is copied before.

use crate::template::SendTemplate;

/// Bytes of frames that one send gathers: more would fall out of the second-level cache.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// See the module's first lines.
pub struct Arena {
    bytes: Vec<u8>,
    used_bytes: usize,
    is_uniform: bool,
}

impl Arena {
    /// Room for frames of these templates: for at least one, at most for `count_max` if all are alike.
    pub fn new(templates: &[SendTemplate], count_max: usize) -> Arena {
        let frames = || templates.iter().map(|template| template.frame());
        let longest_bytes = frames().map(<[u8]>::len).max().expect("there is a template");
        let is_uniform = templates.len() == 1;
        let bytes = if is_uniform {
            let count = (BATCH_BYTES_MAX / longest_bytes).clamp(1, count_max);
            frames().next().expect("there is a template").repeat(count)
        } else {
            vec![0; BATCH_BYTES_MAX.max(longest_bytes)]
        };
        Arena { bytes, used_bytes: 0, is_uniform }
    }

    /// The next frame, a copy of this template's; `None` if the room is used up.
    pub fn take(&mut self, template: &SendTemplate) -> Option<&mut [u8]> {
        let end = self.used_bytes + template.frame().len();
        let frame = self.bytes.get_mut(self.used_bytes..end)?;
        self.used_bytes = end;
        if !self.is_uniform {
            frame.copy_from_slice(template.frame());
        }
        Some(frame)
    }

    /// The frames taken since the last `clear`.
    pub fn taken(&self) -> &[u8] {
        &self.bytes[..self.used_bytes]
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.used_bytes = 0;
    }
}
