//! The calls of the operating system that the standard library lacks. All unsafe code is here.
#![allow(unsafe_code, reason = "system calls")]

use crate::die;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Loopback connections from one source address, fewer than there are ports.
const CONNECTIONS_PER_ADDRESS: u32 = 20_000;
/// Lets the kernel choose the port at connect, when it knows the whole address; not in all versions of libc.
const IP_BIND_ADDRESS_NO_PORT: libc::c_int = 24;

/// Nanoseconds of the monotonic clock.
#[inline]
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Ticks per second in `/proc/PID/stat`.
pub fn clock_ticks() -> f64 {
    // SAFETY: no pointers.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

/// Raises the limit of open files as far as allowed.
pub fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are to a local of the right type.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
    }
}

/// Binds this thread, and those it starts, to a CPU.
pub fn pin(cpu: usize) {
    // SAFETY: a CPU set is plain bits; the size given is its own.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// Listens with as long a backlog as the kernel allows.
pub fn listen_more(listener: libc::c_int) {
    // SAFETY: no pointers.
    unsafe { libc::listen(listener, 4096) };
}

/// A non-blocking socket, closed when dropped.
pub struct Socket(libc::c_int);

impl Socket {
    /// Begins to connect. `number` counts connections: loopback source addresses are changed before ports run out.
    pub fn connect(to: SocketAddrV4, number: u32) -> Option<Self> {
        let flags = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, flags, 0) };
        if fd < 0 {
            die(&format!("socket: {} (raise ulimit -n)", io::Error::last_os_error()));
        }
        let socket = Self(fd);
        socket.set(libc::IPPROTO_TCP, libc::TCP_NODELAY);
        if to.ip().is_loopback() {
            socket.set(libc::IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
            let source =
                Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 2)) + number / CONNECTIONS_PER_ADDRESS);
            let (source, len) = address(SocketAddrV4::new(source, 0));
            // SAFETY: a socket address of the length given.
            unsafe { libc::bind(fd, (&raw const source).cast(), len) };
        }
        let (to, len) = address(to);
        // SAFETY: as above.
        let result = unsafe { libc::connect(fd, (&raw const to).cast(), len) };
        let under_way = result == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EINPROGRESS);
        under_way.then_some(socket)
    }

    /// Accepts from a listener; `None` if nobody waits.
    pub fn accept(listener: libc::c_int) -> Option<Self> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the peer's address is not asked for.
        let fd = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        if fd < 0 {
            return None;
        }
        let socket = Self(fd);
        socket.set(libc::IPPROTO_TCP, libc::TCP_NODELAY);
        Some(socket)
    }

    fn set(&self, level: libc::c_int, option: libc::c_int) {
        let one: libc::c_int = 1;
        // SAFETY: a pointer to a local and its size.
        unsafe { libc::setsockopt(self.0, level, option, (&raw const one).cast(), 4) };
    }

    /// Whether connecting failed.
    pub fn has_failed(&self) -> bool {
        let (mut error, mut len): (libc::c_int, libc::socklen_t) = (0, 4);
        // SAFETY: pointers to locals and the size of the first.
        unsafe {
            libc::getsockopt(self.0, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut error).cast(), &mut len)
        };
        error != 0
    }

    /// Waits until it takes more, for 100 ms at most.
    pub fn wait_writable(&self) {
        let mut wanted = libc::pollfd { fd: self.0, events: libc::POLLOUT, revents: 0 };
        // SAFETY: one entry, as said.
        unsafe { libc::poll(&mut wanted, 1, 100) };
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and not used any more.
        unsafe { libc::close(self.0) };
    }
}

impl Read for &Socket {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the kernel writes within the slice.
        let len = unsafe { libc::recv(self.0, into.as_mut_ptr().cast(), into.len(), 0) };
        usize::try_from(len).map_err(|_| io::Error::last_os_error())
    }
}

impl Write for &Socket {
    #[inline]
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        // SAFETY: the kernel reads within the slice.
        let len = unsafe { libc::send(self.0, from.as_ptr().cast(), from.len(), libc::MSG_NOSIGNAL) };
        usize::try_from(len).map_err(|_| io::Error::last_os_error())
    }

    fn write_vectored(&mut self, from: &[io::IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: an IoSlice has the layout of an iovec; 64 of them are always allowed.
        let len = unsafe { libc::writev(self.0, from.as_ptr().cast(), from.len().min(64) as libc::c_int) };
        usize::try_from(len).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn address(of: SocketAddrV4) -> (libc::sockaddr_in, libc::socklen_t) {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: of.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*of.ip()).to_be() },
        sin_zero: [0; 8],
    };
    (address, size_of::<libc::sockaddr_in>() as libc::socklen_t)
}

/// What happened to a watched descriptor.
#[derive(Clone, Copy)]
pub struct Happened {
    /// The number it was added with.
    pub token: u64,
    /// It can be read, or has ended.
    pub readable: bool,
    /// It can be written, or has ended.
    pub writable: bool,
}

/// An epoll instance, level-triggered.
pub struct Poll {
    fd: libc::c_int,
    events: Vec<libc::epoll_event>,
}

impl Default for Poll {
    fn default() -> Self {
        // SAFETY: no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            die(&format!("epoll: {}", io::Error::last_os_error()));
        }
        Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; 1024] }
    }
}

impl Poll {
    /// Watches a socket.
    pub fn add(&self, socket: &Socket, token: u64, writable: bool) {
        self.control(libc::EPOLL_CTL_ADD, socket.0, interest(writable), token);
    }

    /// Changes what is waited for.
    pub fn change(&self, socket: &Socket, token: u64, writable: bool) {
        self.control(libc::EPOLL_CTL_MOD, socket.0, interest(writable), token);
    }

    /// Watches a listener that other threads watch too.
    pub fn add_listener(&self, listener: libc::c_int, token: u64) {
        self.control(libc::EPOLL_CTL_ADD, listener, libc::EPOLLIN | libc::EPOLLEXCLUSIVE, token);
    }

    fn control(&self, operation: libc::c_int, fd: libc::c_int, events: libc::c_int, token: u64) {
        let mut event = libc::epoll_event { events: events as u32, u64: token };
        // SAFETY: a pointer to a local.
        unsafe { libc::epoll_ctl(self.fd, operation, fd, &mut event) };
    }

    /// Waits for so many milliseconds (-1: for ever); how many things happened.
    pub fn wait(&mut self, millis: i32) -> usize {
        let (events, len) = (self.events.as_mut_ptr(), self.events.len() as libc::c_int);
        // SAFETY: the kernel writes as many events as there is room for.
        let count = unsafe { libc::epoll_wait(self.fd, events, len, millis) };
        usize::try_from(count).unwrap_or(0)
    }

    /// One of those that [`wait`](Self::wait) counted.
    #[inline]
    pub fn happened(&self, index: usize) -> Happened {
        let libc::epoll_event { events, u64: token } = self.events[index];
        let any = |wanted: libc::c_int| events & (wanted | libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0;
        Happened { token, readable: any(libc::EPOLLIN), writable: any(libc::EPOLLOUT) }
    }
}

fn interest(writable: bool) -> libc::c_int {
    if writable { libc::EPOLLIN | libc::EPOLLOUT } else { libc::EPOLLIN }
}
