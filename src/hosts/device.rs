//! The one network device of a host: a TUN, whose other end is a descriptor. It is not persistent: with the last copy of that
//! descriptor it goes, however the process ends that held it.

// The `ioctl`s of network devices.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use super::fork::Step;

/// Its name in every host.
const NAME: &[u8] = b"host0";
const LOOPBACK: &[u8] = b"lo";
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// Packets that may wait for the switch; more are dropped by the kernel.
const QUEUE: u32 = 8192;

// linux/if_tun.h, linux/sockios.h, linux/if.h, linux/rtnetlink.h
const TUNSETIFF: Opcode = opcode::write::<c_int>(b'T', 202);
const SIOCSIFFLAGS: Opcode = 0x8914;
const SIOCSIFADDR: Opcode = 0x8916;
const SIOCSIFNETMASK: Opcode = 0x891c;
const SIOCSIFMTU: Opcode = 0x8922;
const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;
const IFF_UP: u16 = 0x1;
const IFF_NOARP: u16 = 0x80;
const IFF_MULTICAST: u16 = 0x1000;
const AF_INET: u16 = 2;
const RTM_SETLINK: u16 = 19;
const NLM_F_REQUEST_AND_ACK: u16 = 0x5;
const IFLA_IFNAME: u16 = 3;
const IFLA_TXQLEN: u16 = 13;

/// `struct ifreq`: a device's name and a union.
#[repr(C, align(8))]
struct Request {
    name: [u8; 16],
    value: [u8; 24],
}

impl Request {
    fn new(name: &[u8], value: &[u8]) -> Self {
        let mut request = Self {
            name: [0; 16],
            value: [0; 24],
        };
        for (to, from) in request.name.iter_mut().zip(name) {
            *to = *from;
        }
        for (to, from) in request.value.iter_mut().zip(value) {
            *to = *from;
        }
        request
    }

    /// The union is a `struct sockaddr_in`.
    fn of_address(address: Ipv4Addr) -> Self {
        let [a, b] = AF_INET.to_ne_bytes();
        let [c, d, e, f] = address.octets();
        Self::new(NAME, &[a, b, 0, 0, c, d, e, f])
    }

    fn send<const OPCODE: Opcode>(mut self, to: impl AsFd) -> Result<(), Errno> {
        // SAFETY: each `OPCODE` of this file reads and writes a `struct ifreq`, which this is: 40 bytes at most.
        unsafe { ioctl(to, Updater::<OPCODE, Self>::new(&mut self)) }
    }
}

/// Makes the device in the network of the calling process, and brings it and the loopback device up. Nothing but system
/// calls.
pub(super) fn make(address: Ipv4Addr, mtu: c_int) -> Result<OwnedFd, (Step, Errno)> {
    let failed = |step| move |error| (step, error);
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let device = rustix::fs::open(c"/dev/net/tun", flags, Mode::empty()).map_err(failed(Step::OpenDevice))?;
    Request::new(NAME, &(IFF_TUN | IFF_NO_PI).to_ne_bytes())
        .send::<TUNSETIFF>(&device)
        .map_err(failed(Step::MakeDevice))?;
    let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(failed(Step::OpenSocket))?;
    Request::of_address(address)
        .send::<SIOCSIFADDR>(&any)
        .and_then(|()| Request::of_address(NETMASK).send::<SIOCSIFNETMASK>(&any))
        .and_then(|()| Request::new(NAME, &mtu.to_ne_bytes()).send::<SIOCSIFMTU>(&any))
        .map_err(failed(Step::SetAddress))?;
    set_queue().map_err(failed(Step::SetQueue))?;
    Request::new(LOOPBACK, &IFF_UP.to_ne_bytes())
        .send::<SIOCSIFFLAGS>(&any)
        .and_then(|()| {
            let flags = IFF_UP | IFF_NOARP | IFF_MULTICAST;
            Request::new(NAME, &flags.to_ne_bytes()).send::<SIOCSIFFLAGS>(&any)
        })
        .map_err(failed(Step::BringUp))?;
    Ok(device)
}

/// Asks for it by netlink: the `ioctl` is not for user namespaces.
fn set_queue() -> Result<(), Errno> {
    const HEADERS: usize = 32;
    const LEN: usize = HEADERS + 12 + 8;
    let mut message = [0; LEN];
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in message.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    // `struct nlmsghdr`; all of `struct ifinfomsg` is 0; two attributes: length, kind, value.
    put(0, &(LEN as u32).to_ne_bytes());
    put(4, &RTM_SETLINK.to_ne_bytes());
    put(6, &NLM_F_REQUEST_AND_ACK.to_ne_bytes());
    put(HEADERS, &10_u16.to_ne_bytes());
    put(HEADERS + 2, &IFLA_IFNAME.to_ne_bytes());
    put(HEADERS + 4, NAME);
    put(HEADERS + 12, &8_u16.to_ne_bytes());
    put(HEADERS + 14, &IFLA_TXQLEN.to_ne_bytes());
    put(HEADERS + 16, &QUEUE.to_ne_bytes());
    let kernel = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    send(&kernel, &message, SendFlags::empty())?;
    // It is answered before it returns: a header, and what came of it, negative.
    let mut answer = [0; 128];
    let (count, _) = recv(&kernel, &mut answer, RecvFlags::DONTWAIT)?;
    match answer[16..].first_chunk() {
        Some(said) if count >= 20 => match i32::from_ne_bytes(*said) {
            0 => Ok(()),
            error => Err(Errno::from_raw_os_error(-error)),
        },
        _ => Err(Errno::BADMSG),
    }
}
