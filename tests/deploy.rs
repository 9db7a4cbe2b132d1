//! What `deploy/` promises: the settings script on a made-up machine, the seccomp profile and the words
//! to a supervisor with the real program.

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::{Client, DEADLINE, Server, write_config};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

// ---- what the supervisor is told ----------------------------------------------------------------

#[test]
fn the_supervisor_hears_of_start_and_stop() {
    // Not below the target folder: the path of a socket has at most 107 bytes.
    let directory = tempfile::tempdir().expect("a folder");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
    let hear = || {
        let mut bytes = [0; 4096];
        let count = socket.recv(&mut bytes).expect("the program says something");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let mut program = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    program.env("NOTIFY_SOCKET", &path);
    let store = folder();
    let server = spawn_small(program, store.path());
    assert!(hear().starts_with("STATUS=opening "));
    // Told after the lines that `Server` waits for: what is told is true already.
    Client::connect(server.broker);
    let ready = hear();
    assert!(ready.starts_with("READY=1\n"), "{ready}");
    server.stop();
    let stopping = hear();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
}

#[test]
fn nobody_at_the_notify_socket_is_no_reason_to_fail() {
    let store = folder();
    let mut program = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    program.env("NOTIFY_SOCKET", store.path().join("nobody"));
    spawn_small(program, store.path()).stop();
}

fn spawn_small(program: Command, directory: &Path) -> Server {
    let config = write_config(directory, 64 << 20, "");
    let flags = ["-c", &config, "--log-level", "error"];
    Server::spawn(program, &directory.join("store"), &flags, Stdio::inherit())
        .unwrap_or_else(|status| panic!("the program ended before it was ready: {status}"))
}

// ---- the probe of a container -------------------------------------------------------------------

fn ping(broker: &str, name_server: &str) -> (String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["ping", "--timeout-ms", "2000", "--broker", broker, "--namesrv", name_server])
        .output()
        .expect("the program starts");
    (said(&output), output.status.code())
}

#[test]
fn a_ping_tells_who_answers_from_who_only_listens() {
    let store = folder();
    let server = spawn_small(Command::new(env!("CARGO_BIN_EXE_ringmq")), store.path());
    let (broker, name_server) = (server.broker.to_string(), server.name_server.to_string());
    let (said, status) = ping(&broker, &name_server);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (said, status) = ping(&hangs.local_addr().expect("bound").to_string(), &name_server);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("does not answer"), "{said}");
    assert_eq!(ping(&broker, "").1, Some(0), "an empty address is not asked");
    server.stop();
    assert_eq!(ping(&broker, &name_server).1, Some(1));
}

// ---- the seccomp profile ------------------------------------------------------------------------

const IO_URING: [&str; 3] = ["io_uring_enter", "io_uring_register", "io_uring_setup"];

/// Calls that no container's default allows without further rights, and ones that it allows, but
/// nobody here needs: the profile must not grow by accident.
const NEVER: [&str; 20] = [
    "add_key",
    "bpf",
    "chroot",
    "delete_module",
    "finit_module",
    "init_module",
    "io_submit",
    "kcmp",
    "kexec_load",
    "keyctl",
    "mount",
    "open_by_handle_at",
    "perf_event_open",
    "pivot_root",
    "process_vm_readv",
    "ptrace",
    "reboot",
    "setns",
    "unshare",
    "userfaultfd",
];

fn profile() -> serde_json::Value {
    let text = fs::read_to_string(file("deploy/container/seccomp.json")).expect("the profile");
    serde_json::from_str(&text).expect("the profile is JSON")
}

/// Names that are allowed whatever their arguments are.
fn allowed(profile: &serde_json::Value) -> Vec<&str> {
    let rules = profile["syscalls"].as_array().expect("rules");
    let plain = rules
        .iter()
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW" && rule.get("args").is_none());
    plain
        .flat_map(|rule| rule["names"].as_array().expect("names"))
        .map(|name| name.as_str().expect("a name"))
        .collect()
}

#[test]
fn the_profile_denies_what_it_does_not_name_and_names_io_uring() {
    let profile = profile();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(profile["defaultErrnoRet"], 1, "EPERM, which the program explains");
    let allowed = allowed(&profile);
    let io_uring: Vec<_> = allowed.iter().filter(|it| it.starts_with("io_uring_")).collect();
    assert_eq!(io_uring, IO_URING.iter().collect::<Vec<_>>());
    for name in NEVER {
        assert!(!allowed.contains(&name), "{name}");
    }
    let mut sorted = allowed.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), allowed.len(), "a name stands twice");
    // containerd reads the profile as the OCI's form, where Docker's conditions do not exist: a rule
    // with one would hold always.
    let rules = profile["syscalls"].as_array().expect("rules");
    assert!(rules.iter().all(|it| it.get("includes").is_none() && it.get("excludes").is_none()));
}

fn under_seccomp(without: &str) -> Command {
    let mut command = Command::new(file("tests/deploy/under-seccomp"));
    command.args(["--without", without]).arg(file("deploy/container/seccomp.json"));
    command.arg(env!("CARGO_BIN_EXE_ringmq"));
    command
}

#[test]
fn the_program_serves_under_the_profile() {
    let store = folder();
    let server = spawn_small(under_seccomp(""), store.path());
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    assert!(status.lines().any(|line| line == "Seccomp:\t2"), "{status}");
    let mut client = Client::connect(server.broker);
    client.write_send("Filtered", 0, b"x").expect("open");
    assert_eq!(client.read().expect("an answer").code, 0);
    assert_eq!(client.pull("Filtered", 0, 0).code, 0);
    server.stop();
}

#[test]
fn without_io_uring_the_program_ends_with_the_reason_and_the_fix() {
    let store = folder();
    let output = under_seccomp(&IO_URING.join(","))
        .args(["server", "--broker-port", "0", "--namesrv-port", "0", "--store"])
        .arg(store.path())
        .output()
        .expect("the program starts");
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a seccomp filter denies io_uring_setup"), "{said}");
    assert!(said.contains("--security-opt seccomp="), "{said}");
}

// ---- limits of a process ------------------------------------------------------------------------

/// Each limit that is too low, what is said, and the line of a unit that mends it.
const LOW_LIMITS: [(&str, &str, &str); 2] = [
    ("memlock=65536:65536", "an executor needs 512 KiB", "LimitMEMLOCK=infinity"),
    ("nofile=64:64", "make the ring of a thread", "LimitNOFILE=65536"),
];

#[test]
fn a_limit_that_is_too_low_is_named_with_the_fix() {
    for (limit, told, fix) in LOW_LIMITS {
        let store = folder();
        let output = Command::new("timeout")
            .args(["60", "prlimit", &format!("--{limit}")])
            .arg(env!("CARGO_BIN_EXE_ringmq"))
            .args(["server", "--broker-port", "0", "--namesrv-port", "0", "--store"])
            .arg(store.path())
            .output()
            .expect("util-linux");
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{limit}: {said}");
        assert!(said.contains(told) && said.contains(fix), "{limit}: {said}");
    }
}

// ---- the settings of the machine ----------------------------------------------------------------

/// A made-up machine: files below a folder that stand for /proc and /sys.
struct Machine {
    root: tempfile::TempDir,
}

const DISK: &str = "sys/devices/pci0/block/sda";

impl Machine {
    /// One that is as wanted.
    fn good() -> Machine {
        let machine = Machine { root: folder() };
        for (path, text) in [
            ("proc/sys/kernel/osrelease", "6.1.0-18-amd64"),
            ("proc/sys/kernel/io_uring_disabled", "0"),
            ("proc/sys/kernel/io_uring_group", "-1"),
            ("proc/sys/fs/nr_open", "1048576"),
            ("proc/swaps", "Filename Type Size Used Priority\n/dev/sdb partition 1 0 -2"),
            ("proc/sys/vm/swappiness", "1"),
            ("proc/sys/vm/dirty_ratio", "20"),
            ("proc/sys/vm/dirty_background_ratio", "10"),
            ("proc/sys/vm/dirty_writeback_centisecs", "500"),
            ("proc/sys/vm/dirty_expire_centisecs", "3000"),
            ("proc/sys/net/core/somaxconn", "4096"),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "4096"),
            ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "0"),
            ("proc/self/limits", "Max open files 1048576 1048576 files"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
            ("sys/kernel/mm/transparent_hugepage/defrag", "always defer [madvise] never"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance"),
            ("device", "8:1"),
            (&format!("{DISK}/queue/logical_block_size"), "512"),
            (&format!("{DISK}/queue/rotational"), "0"),
            (&format!("{DISK}/queue/scheduler"), "[none] mq-deadline"),
            (&format!("{DISK}/queue/nr_requests"), "256"),
            (&format!("{DISK}/queue/write_cache"), "write through"),
            (&format!("{DISK}/sda1/partition"), "1"),
        ] {
            machine.write(path, text);
        }
        let link = machine.root.path().join("sys/dev/block/8:1");
        fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
        let disk = machine.root.path().join(DISK).join("sda1");
        std::os::unix::fs::symlink(disk, link).expect("a link");
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, format!("{text}\n")).expect("a file");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.path().join(path)).expect("a file").trim().to_owned()
    }

    /// What the script says, and its exit status.
    fn tune(&self, flags: &[&str]) -> (String, i32) {
        let output = Command::new(file("deploy/tune"))
            .arg("--root")
            .arg(self.root.path())
            .args(["--store", "/store"])
            .args(flags)
            .output()
            .expect("the script starts");
        (said(&output), output.status.code().expect("an exit status"))
    }

    /// All files and what is in them.
    fn files(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                } else if let Ok(text) = fs::read_to_string(&path) {
                    found.push((path, text));
                }
            }
        }
        found.sort();
        found
    }
}

#[test]
fn a_machine_that_is_as_wanted_has_no_findings() {
    let machine = Machine::good();
    let (said, status) = machine.tune(&[]);
    assert_eq!(status, 0, "{said}");
    assert!(said.lines().all(|line| line.starts_with("ok ") || is_file_system(line)), "{said}");
    let (said, status) = machine.tune(&["--quiet"]);
    assert_eq!((&*said, status), ("", 0));
}

/// The file system below the test's folder is not made up, and need not be one that is wanted.
fn is_file_system(line: &str) -> bool {
    line.starts_with("note  file system") || line.starts_with("  ")
}

/// Each setting with a value that is not wanted, what is wanted there, and whether it can be set.
const UNWANTED: [(&str, &str, &str, i32); 15] = [
    ("proc/sys/kernel/io_uring_disabled", "2", "0", 2),
    ("proc/sys/fs/nr_open", "4096", "1048576", 1),
    ("proc/sys/vm/swappiness", "60", "1", 1),
    ("proc/sys/vm/dirty_ratio", "50", "20", 1),
    ("proc/sys/vm/dirty_background_ratio", "50", "10", 1),
    ("proc/sys/vm/dirty_writeback_centisecs", "360000", "500", 1),
    ("proc/sys/vm/dirty_expire_centisecs", "360000", "3000", 1),
    ("proc/sys/net/core/somaxconn", "128", "1024", 1),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "128", "1024", 1),
    ("proc/sys/net/ipv4/tcp_slow_start_after_idle", "1", "0", 1),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never", "madvise", 1),
    ("sys/kernel/mm/transparent_hugepage/defrag", "[always] defer madvise never", "madvise", 1),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave", "performance", 1),
    ("sys/devices/pci0/block/sda/queue/scheduler", "none [mq-deadline]", "none", 1),
    ("sys/devices/pci0/block/sda/queue/nr_requests", "2", "64", 1),
];

#[test]
fn each_unwanted_setting_is_told_set_and_put_back() {
    for (path, unwanted, wanted, expected) in UNWANTED {
        let machine = Machine::good();
        machine.write(path, unwanted);
        let before = machine.files();
        let (said, status) = machine.tune(&["--quiet"]);
        assert_eq!(status, expected, "{path}: {said}");
        assert!(said.contains(&format!("fix: echo {wanted} > /{path}")), "{path}: {said}");
        assert!(said.contains("why: "), "{path}: {said}");
        assert_eq!(machine.files(), before, "{path}: without --apply nothing is written");

        let (said, status) = machine.tune(&["--apply", "--quiet"]);
        assert_eq!(status, 0, "{path}: {said}");
        assert!(said.starts_with("set "), "{path}: {said}");
        assert_eq!(machine.read(path), wanted);
        assert_eq!(machine.tune(&["--quiet"]).1, 0, "{path}");

        let (said, status) = machine.tune(&["--undo"]);
        assert_eq!(status, 0, "{path}: {said}");
        // The kernel shows all words again; a file has the one that was written.
        let chosen = unwanted.split(['[', ']']).nth(1).unwrap_or(unwanted);
        assert_eq!(machine.read(path), chosen);
        let (said, _) = machine.tune(&["--undo"]);
        assert!(said.starts_with("nothing to put back"), "{said}");
    }
}

#[test]
fn what_somebody_changed_after_tune_is_left_alone() {
    let machine = Machine::good();
    machine.write("proc/sys/vm/swappiness", "60");
    machine.write("proc/sys/vm/dirty_ratio", "50");
    assert_eq!(machine.tune(&["--apply"]).1, 0);
    machine.write("proc/sys/vm/swappiness", "10");
    let (said, status) = machine.tune(&["--undo"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("kept  /proc/sys/vm/swappiness = 10"), "{said}");
    assert_eq!(machine.read("proc/sys/vm/swappiness"), "10");
    assert_eq!(machine.read("proc/sys/vm/dirty_ratio"), "50");
}

#[test]
fn what_no_setting_mends_has_its_exit_status() {
    for (path, unwanted, expected, tells) in [
        ("proc/sys/kernel/osrelease", "5.15.0-91-generic", 2, "6.1 or newer"),
        ("sys/devices/pci0/block/sda/queue/logical_block_size", "8192", 2, "another disk"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet", 1, "TSC"),
        ("sys/devices/pci0/block/sda/queue/write_cache", "write back", 0, "power-loss"),
        ("proc/self/limits", "Max locked memory 65536 65536 bytes", 0, "LimitMEMLOCK=infinity"),
    ] {
        let machine = Machine::good();
        machine.write(path, unwanted);
        for flags in [&[][..], &["--apply"]] {
            let (said, status) = machine.tune(flags);
            assert_eq!(status, expected, "{path}: {said}");
            assert!(said.contains(tells), "{path}: {said}");
            assert!(!said.contains("set  "), "{path}: {said}");
        }
    }
    for flags in [&["--frobnicate"][..], &["--store"]] {
        assert_eq!(Machine::good().tune(flags).1, 64);
    }
}

#[test]
fn network_interrupts_on_one_processor_are_told() {
    let machine = Machine::good();
    for irq in ["24", "25"] {
        machine.write(&format!("sys/class/net/eth0/device/msi_irqs/{irq}"), "msix");
        machine.write(&format!("proc/irq/{irq}/effective_affinity_list"), "3");
    }
    let (said, status) = machine.tune(&[]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("network interrupts = all 2 on CPU 3"), "{said}");
    assert!(said.contains("ethtool -L eth0"), "{said}");
    machine.write("proc/irq/25/effective_affinity_list", "0");
    assert_eq!(machine.tune(&["--quiet"]), (String::new(), 0));
}

#[test]
fn a_group_that_io_uring_is_kept_for_is_no_reason_to_open_it_to_all() {
    let machine = Machine::good();
    machine.write("proc/sys/kernel/io_uring_disabled", "1");
    assert_eq!(machine.tune(&[]).1, 2, "for nobody but the superuser");
    machine.write("proc/sys/kernel/io_uring_group", "991");
    let (said, status) = machine.tune(&["--apply"]);
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("SupplementaryGroups=991"), "{said}");
    assert_eq!(machine.read("proc/sys/kernel/io_uring_disabled"), "1");
}

#[test]
fn a_setting_that_cannot_be_written_is_said() {
    let machine = Machine::good();
    let path = machine.root.path().join("proc/sys/vm/swappiness");
    fs::remove_file(&path).expect("it was there");
    // A number that not even the superuser can write.
    std::os::unix::fs::symlink("/proc/sys/kernel/ngroups_max", path).expect("a link");
    let (said, status) = machine.tune(&["--apply"]);
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("cannot be written"), "{said}");
}

// ---- the book -----------------------------------------------------------------------------------

/// docs/operating.md quotes messages in the first column of its tables, `…` for what differs.
#[test]
fn the_messages_that_operators_look_up_are_said() {
    let mut sources = String::new();
    let mut folders = vec![file("src"), file("shards")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                sources.push_str(&text);
            }
        }
    }
    // A string that goes on in the next line, as it is said.
    let sources: Vec<_> = sources.split("\\\n").map(str::trim_start).collect();
    let sources = sources.concat();
    let book = fs::read_to_string(file("docs/operating.md")).expect("the book");
    let quotes: Vec<_> = book
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(quotes.len() > 30, "the tables are not where they were: {quotes:?}");
    for quote in quotes {
        for piece in quote.split('…').map(str::trim).filter(|piece| piece.len() > 2) {
            assert!(sources.contains(piece), "nothing says {piece:?} ({quote:?})");
        }
    }
}

#[test]
fn the_units_are_what_systemd_understands() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        return; // another init, or a container
    };
    assert!(version.status.success());
    let directory = folder();
    let units = ["ringmq.service", "ringmq-tune.service"];
    for unit in units {
        let text = fs::read_to_string(file("deploy/systemd").join(unit)).expect("a unit");
        // The programs must be there.
        let text = text
            .replace("/usr/bin/ringmq ", concat!(env!("CARGO_BIN_EXE_ringmq"), " "))
            .replace("/usr/libexec/ringmq/tune", file("deploy/tune").to_str().expect("text"));
        fs::write(directory.path().join(unit), text).expect("a file");
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--recursive-errors=no"])
        .args(units.map(|unit| directory.path().join(unit)))
        .output()
        .expect("it was there before");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "");
}
