//! What a configuration needs to know of the machine.
//! Kind: shell

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

/// Facts about the machine, gathered once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its host name.
    pub name: Option<String>,
    /// The home directory of the user that this runs as.
    pub home: Option<PathBuf>,
    /// Its address on the way to other machines, if it has such a way.
    pub outward: Option<IpAddr>,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// `NAMESRV_ADDR` of the environment, which RocketMQ's images set for their brokers.
    pub name_servers: Option<String>,
}

/// The variable that names a broker's NameServers.
pub const NAME_SERVERS_VARIABLE: &str = "NAMESRV_ADDR";

impl Host {
    /// Asks the kernel.
    pub fn observe() -> Self {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let name = name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let name_servers = std::env::var(NAME_SERVERS_VARIABLE).ok();
        let name_servers = name_servers.filter(|text| !text.trim().is_empty());
        let outward = outward_address().ok().filter(|address| !address.is_loopback());
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Self { name, home, outward, cpus, name_servers }
    }
}

/// The source address that the kernel would choose towards an address that is reserved for
/// documentation. Connecting a datagram socket sends nothing; it only asks the routing table,
/// which knows better than the order of the interfaces which of them leads out.
fn outward_address() -> std::io::Result<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))?;
    socket.connect(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9)))?;
    Ok(socket.local_addr()?.ip())
}
