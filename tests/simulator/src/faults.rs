//! What goes wrong in a life besides its end: stuck operations, reads that fail, a full disk, a control
//! thread that is late with space, clocks that are set, long pauses. All of it ends before the auditor asks for progress.

use ringmq::broker::locks::LOCK_MS_MAX;

use crate::client::{Answered, Asked};
use crate::place::{AUTO_QUEUES, Place, Topic};
use crate::world::{Finding, Life, World};

/// How far the wall clock is set at once, ms.
const CLOCK_JUMP_MS: i64 = 3_600_000;

/// A pause of the machine: longer than a send may wait for the disk.
const PAUSE_MS: u64 = 6_000;

/// A pause after which a queue that was locked is free.
const SILENCE_MS: u64 = LOCK_MS_MAX + 500;

impl World {
    /// Something goes wrong, seldom.
    pub(crate) fn disturb(&mut self, life: &mut Life) -> Result<(), Finding> {
        match self.rng.u16(..2_000) {
            0..8 => {
                let operations = self.rng.u32(10..300);
                life.any_ring(&mut self.rng).stick(operations, &mut self.rng);
            }
            8..20 => life.reads_failed |= life.any_ring(&mut self.rng).fail_read(&mut self.rng),
            20..22 => {
                let jump_ms = self.rng.i64(-CLOCK_JUMP_MS..CLOCK_JUMP_MS);
                self.now.wall_ms = self.now.wall_ms.saturating_add_signed(jump_ms);
            }
            22..24 => {
                self.now.wall_ms += PAUSE_MS;
                self.pass_time(life, PAUSE_MS * 1_000_000);
            }
            // Locks run out.
            56 => {
                self.now.wall_ms += SILENCE_MS;
                self.pass_time(life, SILENCE_MS * 1_000_000);
            }
            24..32 if life.actors.is_heavy && !life.is_full => {
                self.disk.fill(true);
                (life.is_full, life.was_full) = (true, true);
            }
            32..52 if life.is_full => {
                self.check_pulls_go_on(life)?;
                self.disk.fill(false);
                life.is_full = false;
            }
            52..56 if life.actors.is_heavy => life.control_is_late = self.rng.u32(50..600),
            _ => {}
        }
        life.control_is_late = life.control_is_late.saturating_sub(1);
        Ok(())
    }

    /// The monotonic clock goes on.
    pub(crate) fn pass_time(&mut self, life: &mut Life, ns: u64) {
        self.now.monotonic_ns += ns;
        let now_ns = self.now.monotonic_ns;
        life.cores.iter_mut().for_each(|core| core.ring().pass_time(now_ns));
    }

    /// Whatever the disk's space: a pull is answered.
    fn check_pulls_go_on(&mut self, life: &mut Life) -> Result<(), Finding> {
        let place = Place { topic: Topic::Auto, queue: self.rng.u32(..AUTO_QUEUES) };
        let mut client = self.connect_auditor(life)?;
        let asked =
            Asked::Pull { group: 0, place, from: 0, commit: None, suspend_ms: 0, filter: None };
        let answer = self.ask(life, &mut client, asked, &[])?;
        life.ring(client.connection).client_closes(client.connection, None);
        if answer.was_there
            && matches!(answer.answered, Answered::Code { .. })
            && !life.reads_failed
            && !life.is_poisoned()
        {
            return Err(format!("with a full disk a pull is answered {:?}", answer.answered));
        }
        self.answered(life, &answer)
    }
}
