//! Ports that the kernel is behind: net_af_packet on a veth whose other end is in another namespace,
//! and net_tap. Needs root. Both namespaces belong to threads and sockets of this test: they vanish
//! with it, whatever happens.

mod common;

use common::{frame, mbuf, plan, receive, send};
use dpdk::{Device, Eal, MacFilter, Mempool, PoolConfig, PortConfig, QueuePair};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn ports_of_the_kernel() {
    unshare();
    ip("link set lo up");
    ip("link add fs0 type veth peer name fs1");
    let host = host_with("fs1");
    ip("link set fs0 up");

    let eal = Eal::init(&plan(&["net_af_packet0,iface=fs0,qpairs=2", "net_tap0,iface=fstap0"])).unwrap();
    let pool = Mempool::new(&eal, PoolConfig { packets: 4095, ..PoolConfig::default() }).unwrap();
    af_packet(&eal, &pool, &host);
    tap(&eal, &pool);
    assert_eq!(pool.in_use(), 0, "every packet came back");
}

fn af_packet(eal: &Eal, pool: &Mempool, host: &Host) {
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        mtu: 1400,
        promiscuous: true,
        ..PortConfig::new("net_af_packet0")
    };
    let (device, mut pairs) = Device::start(eal, &config, pool).unwrap();
    assert_eq!((device.mtu().unwrap(), kernel("fs0", "mtu")), (1400, "1400".into()));
    assert_eq!(format!("{}", device.mac().unwrap()), kernel("fs0", "address"));
    assert!(device.link().unwrap().up);
    // Its two queues are two sockets: neither may receive what the other sends.
    both_ways(&mut pairs, pool, host);
    a_stripped_tag_is_put_back(&mut pairs, host);
    assert!(device.stats().unwrap().ipackets > 0 && device.stats().unwrap().opackets > 0);
    assert!(!device.xstats().unwrap().is_empty());
    // The driver has no filter of addresses.
    assert_eq!(device.add_mac(device.mac().unwrap()).unwrap(), MacFilter::Promiscuous);
}

fn both_ways(pairs: &mut [QueuePair], pool: &Mempool, host: &Host) {
    // A ping is 98 bytes; then what fills the MTU.
    for (seed, len) in [(1, 98), (2, 1414)] {
        let there = frame(seed, len);
        for pair in &mut *pairs {
            send(pair, mbuf(&mut pool.clone(), &there));
            assert_eq!(host.receive(), there);
        }
        let back = frame(seed + 10, len);
        host.send(&back);
        assert_eq!(receive(pairs, 1, experimental), [back]);
    }
}

fn a_stripped_tag_is_put_back(pairs: &mut [QueuePair], host: &Host) {
    for tci in [0x0005_u16, 0xeffe, 0x0000] {
        let mut tagged = frame(u32::from(tci), 98);
        tagged.splice(12..12, [0x81, 0x00, (tci >> 8) as u8, tci as u8]);
        host.send(&tagged);
        let got = receive(pairs, 1, |bytes| bytes.get(12..14) == Some(&[0x81, 0x00]));
        assert_eq!(got, [tagged]);
    }
    assert!(pairs.iter().all(|pair| pair.rx_dropped().total() == 0));
}

fn tap(eal: &Eal, pool: &Mempool) {
    let (device, mut pairs) = Device::start(eal, &PortConfig::new("net_tap0"), pool).unwrap();
    assert_eq!(format!("{}", device.mac().unwrap()), kernel("fstap0", "address"));
    let kernel_side = Host::open("fstap0");
    let there = frame(21, 98);
    send(&mut pairs[0], mbuf(&mut pool.clone(), &there));
    assert_eq!(kernel_side.receive(), there);
    let back = frame(22, 98);
    kernel_side.send(&back);
    assert_eq!(receive(&mut pairs, 1, experimental), [back]);
}

fn experimental(bytes: &[u8]) -> bool {
    bytes.get(12..14) == Some(&common::ETHERTYPE)
}

/// What the kernel says of one of our interfaces, by `ip -o link`.
fn kernel(interface: &str, what: &str) -> String {
    let output = Command::new("ip").args(["-o", "link", "show", interface]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let key = if what == "address" { "link/ether" } else { what };
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|&word| word == key).unwrap_or_else(|| panic!("{what} in {text}"));
    words[at + 1].to_owned()
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Puts the calling thread, and what it starts, into a new network namespace.
fn unshare() {
    // SAFETY: changes the calling thread's namespace only.
    let rc = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(rc, 0, "this test needs root: {}", io::Error::last_os_error());
}

/// Moves `interface` into a namespace of its own and opens it there.
fn host_with(interface: &'static str) -> Host {
    let (ready, is_ready) = mpsc::channel();
    let (moved, was_moved) = mpsc::channel::<()>();
    let host = thread::spawn(move || {
        unshare();
        // SAFETY: always succeeds.
        ready.send(unsafe { libc::gettid() }).unwrap();
        was_moved.recv().unwrap();
        ip(&format!("link set {interface} up"));
        // The socket keeps the namespace when the thread is gone.
        Host::open(interface)
    });
    ip(&format!("link set {interface} netns {}", is_ready.recv().unwrap()));
    moved.send(()).unwrap();
    host.join().unwrap()
}

/// A raw socket on an interface.
struct Host(OwnedFd);

impl Host {
    fn open(interface: &str) -> Host {
        let all = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: a new descriptor, checked, that nobody else owns.
        let fd = unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(all));
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        let name = CString::new(interface).unwrap();
        // SAFETY: a zero address is valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        // SAFETY: the name is terminated.
        address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the address is as long as said.
        let rc = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
        assert_eq!(rc, 0, "{}", io::Error::last_os_error());
        Host(fd)
    }

    fn send(&self, bytes: &[u8]) {
        // SAFETY: the buffer is as long as said.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        assert_eq!(sent, bytes.len() as isize, "{}", io::Error::last_os_error());
    }

    /// The next frame of ours, within 5 s.
    fn receive(&self) -> Vec<u8> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut buffer = vec![0; 65536];
        while Instant::now() < deadline {
            // SAFETY: the buffer is as long as said.
            let n = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            match usize::try_from(n) {
                Ok(n) if experimental(&buffer[..n]) => return buffer[..n].to_vec(),
                Ok(_) => {}
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
        panic!("nothing arrived")
    }
}
