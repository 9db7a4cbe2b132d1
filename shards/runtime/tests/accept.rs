//! Accepting while the process has no descriptor left. A test of its own process, whose limit it lowers.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use runtime::clock::Clock;
use runtime::limits::ACCEPT_PAUSE;
use runtime::{ConnectionId, Events, NetEvent, Reactor, ReactorConfig, socket};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes a turn and gives the connections that it accepted.
fn accepted(reactor: &mut Reactor) -> Vec<ConnectionId> {
    let mut events = Events::default();
    reactor.poll(&mut events).expect("a ring");
    let connection_of = |event| match event {
        NetEvent::Accepted { connection, .. } => Some(connection),
        _ => None,
    };
    events.net.drain(..).filter_map(connection_of).collect()
}

#[test]
fn without_descriptors_it_waits_and_goes_on_when_one_is_free() {
    let mut reactor =
        Reactor::new(ReactorConfig { core: 0, connections_max: 100 }).expect("io_uring");
    let listener = socket::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let address = socket::local_address(&listener).expect("a bound socket");
    let mut clients: Vec<_> =
        (0..10).map(|_| TcpStream::connect(address).expect("in the backlog")).collect();

    // The lowest number that is free, and two more.
    let end = listener.try_clone().expect("a descriptor").as_raw_fd() as u64 + 3;
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(end), ..before }).expect("lower");
    reactor.listen(listener);
    reactor.wake_at(Clock.now().monotonic_ns + 60_000_000_000); // it fails rather than hangs

    let mut open = Vec::new();
    let started = Instant::now();
    let pauses = 5;
    for _ in 0..pauses {
        open.extend(accepted(&mut reactor));
        // Nothing completes but what ends a pause.
        reactor.wait().expect("a ring");
    }
    assert!(started.elapsed() >= ACCEPT_PAUSE * (pauses - 2), "{:?}", started.elapsed());
    assert!(!open.is_empty() && open.len() < clients.len(), "{} accepted", open.len());

    reactor.close(open.remove(0));
    let until = Instant::now() + Duration::from_secs(60);
    let next = loop {
        assert!(Instant::now() < until, "the next one is accepted");
        if let Some(next) = accepted(&mut reactor).pop() {
            break next;
        }
        reactor.wait().expect("a ring");
    };
    assert!(reactor.peer(next).is_some());
    assert_eq!(clients[0].read(&mut [0; 1]).expect("closed in order"), 0);
    setrlimit(Resource::Nofile, before).expect("as it was");
}
