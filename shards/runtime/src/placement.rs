//! Which CPU a core's thread runs on.
//! Kind: machine (`place`), and the two system calls around it.

use std::io;

use core_affinity::CoreId;
use rustix::thread::CpuSet;

/// Where a core's thread may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On any CPU that the process may use; the scheduler moves it.
    Free,
    /// On this CPU only.
    Pinned(usize),
}

/// Whose the machine is: what the operator says, because it cannot be seen from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// The broker's own: nothing else of weight runs on it, so each core keeps a CPU and its caches.
    Own,
    /// Shared with others (a client beside it, a container's neighbours): a pinned core would wait
    /// behind whatever else the scheduler put on its CPU, while another one idles.
    Shared,
}

/// A thread could not be put where it belongs.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// The CPU is not among those the process may use.
    #[error(
        "cpu {cpu} is not among the cpus this process may use {allowed:?}: choose one of them, or \
         widen the affinity (taskset, systemd AllowedCPUs, the container's cpuset)"
    )]
    NotAllowed {
        /// The CPU asked for.
        cpu: usize,
        /// What sched_getaffinity names.
        allowed: Vec<usize>,
    },
    /// The kernel did not tell or take an affinity.
    #[error("read or set the cpu affinity of a thread: {source}")]
    Affinity {
        /// What the kernel said.
        #[from]
        source: io::Error,
    },
}

/// The CPUs that the calling thread may use, ascending.
///
/// # Errors
/// What the kernel says; on a machine of more than 1024 possible CPUs, `EINVAL`.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let allowed = rustix::thread::sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect())
}

/// Where `core_count` cores go on the CPUs in `allowed`: pinned only where the machine is the
/// broker's own and has a CPU for each of them, free otherwise.
///
/// Cores take the last CPUs, so that the first, where most systems serve interrupts, is left to the
/// control thread as long as there is one to spare.
pub fn place(machine: Machine, core_count: usize, allowed: &[usize]) -> Vec<Placement> {
    match machine {
        Machine::Own if core_count <= allowed.len() => allowed[allowed.len() - core_count..]
            .iter()
            .map(|cpu| Placement::Pinned(*cpu))
            .collect(),
        Machine::Own | Machine::Shared => vec![Placement::Free; core_count],
    }
}

/// Puts the calling thread where `placement` says. Threads that it starts later inherit the place,
/// and memory that it touches first comes from that CPU's node.
///
/// # Errors
/// The CPU is not one that the process may use, or the kernel refuses.
pub fn pin_current_thread(placement: Placement) -> Result<(), PlacementError> {
    let Placement::Pinned(cpu) = placement else { return Ok(()) };
    let allowed = allowed_cpus()?;
    if !allowed.contains(&cpu) {
        return Err(PlacementError::NotAllowed { cpu, allowed });
    }
    if core_affinity::set_for_current(CoreId { id: cpu }) {
        Ok(())
    } else {
        Err(PlacementError::Affinity { source: io::Error::last_os_error() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(machine: Machine, core_count: usize, allowed: &[usize], expect: &[Placement]) {
        assert_eq!(place(machine, core_count, allowed), expect, "{machine:?} {core_count}");
    }

    #[test]
    fn cores_are_pinned_only_on_a_machine_of_their_own() {
        use Placement::{Free, Pinned};
        check(Machine::Own, 2, &[0, 1, 2], &[Pinned(1), Pinned(2)]);
        check(Machine::Own, 3, &[0, 4, 6], &[Pinned(0), Pinned(4), Pinned(6)]);
        check(Machine::Own, 3, &[0, 1], &[Free, Free, Free]);
        check(Machine::Shared, 2, &[0, 1, 2], &[Free, Free]);
        check(Machine::Own, 0, &[0, 1], &[]);
    }

    #[test]
    fn a_pinned_thread_and_its_children_stay_on_their_cpu() {
        let allowed = allowed_cpus().unwrap();
        let cpu = *allowed.last().unwrap();
        let (own, child) = std::thread::spawn(move || {
            pin_current_thread(Placement::Pinned(cpu)).unwrap();
            let child = std::thread::spawn(|| allowed_cpus().unwrap()).join().unwrap();
            (allowed_cpus().unwrap(), child)
        })
        .join()
        .unwrap();
        assert_eq!(own, [cpu]);
        assert_eq!(child, [cpu]);
        assert_eq!(allowed_cpus().unwrap(), allowed);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused() {
        let error = pin_current_thread(Placement::Pinned(1_000_000)).unwrap_err();
        assert!(matches!(error, PlacementError::NotAllowed { cpu: 1_000_000, .. }));
    }
}
