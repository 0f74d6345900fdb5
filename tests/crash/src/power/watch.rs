//! Stops a process at each of its syncs: a seccomp filter of its own makes the kernel ask here first.
//!
//! Invariant: a sync is answered after the device has noted what it makes durable. The real sync is not
//! done: the device is what decides.

use std::fs::File;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

use super::Device;

/// The thread that answers for one process.
pub(crate) struct Watch {
    thread: JoinHandle<Result<()>>,
    aim: Arc<Mutex<Aim>>,
}

/// A sync that is never answered, so that the power goes while what it covers is in the balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Aim {
    #[default]
    Nothing,
    /// The sync of a folder behind so many others.
    Names(u32),
    /// Any sync behind so many others.
    Any(u32),
    Hit,
}

impl Aim {
    /// Whether this sync is the one; what comes behind it is answered.
    fn takes(&mut self, folder: bool) -> bool {
        match self {
            Aim::Names(0) if folder => *self = Aim::Hit,
            Aim::Any(0) => *self = Aim::Hit,
            Aim::Names(left) if folder => *left -= 1,
            Aim::Any(left) => *left -= 1,
            _ => return false,
        }
        *self == Aim::Hit
    }
}

/// The end of the socket on which the process hands over its listener.
pub(crate) struct Listener(OwnedFd);

const SYNCS: [i64; 3] = [libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_syncfs];

impl Watch {
    /// Lets the process that `command` starts be watched.
    pub(crate) fn install(command: &mut Command) -> Result<Listener> {
        let mut pair = [0; 2];
        // SAFETY: `pair` has room for the two descriptors.
        check(unsafe {
            libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0, pair.as_mut_ptr())
        })?;
        // SAFETY: both are new and nobody else's.
        let [ours, theirs] = pair.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        let filter = move || {
            let listener = refer_syncs()?;
            send(theirs.as_raw_fd(), listener.as_raw_fd())
        };
        // SAFETY: between fork and exec it makes system calls only and allocates nothing.
        unsafe { command.pre_exec(filter) };
        Ok(Listener(ours))
    }

    /// Answers until the process is gone.
    pub(crate) fn begin(listener: Listener, device: Arc<Mutex<Device>>, aim: Aim) -> Result<Watch> {
        let listener = receive(listener.0.as_raw_fd()).context("taking the process's seccomp listener")?;
        let aim = Arc::new(Mutex::new(aim));
        let shared = aim.clone();
        let answer = move || answer(&listener, &device, &shared);
        let thread = std::thread::Builder::new().name("power".into()).spawn(answer)?;
        Ok(Watch { thread, aim })
    }

    /// The sync that was aimed at waits for its answer: only a kill ends the process.
    pub(crate) fn has_hit(&self) -> bool {
        *lock(&self.aim) == Aim::Hit
    }

    pub(crate) fn take_aim(&self, aim: Aim) {
        *lock(&self.aim) = aim;
    }

    /// Aims at nothing any more, unless it has hit.
    pub(crate) fn give_up(&self) {
        let mut aim = lock(&self.aim);
        if *aim != Aim::Hit {
            *aim = Aim::Nothing;
        }
    }

    /// After the process has ended: its last sync is noted, or was never answered.
    pub(crate) fn end(self) -> Result<()> {
        self.thread.join().map_err(|_| anyhow!("the thread that answers syncs panicked"))?
    }
}

fn answer(listener: &OwnedFd, device: &Mutex<Device>, aim: &Mutex<Aim>) -> Result<()> {
    loop {
        let mut poll = libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, as said.
        let polled = check(unsafe { libc::poll(&raw mut poll, 1, -1) });
        if polled.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            continue;
        }
        polled.context("waiting for a sync")?;
        if poll.revents & libc::POLLIN == 0 {
            return Ok(());
        }
        // SAFETY: a structure of integers, which the kernel wants zeroed.
        let mut asked: libc::seccomp_notif = unsafe { zeroed() };
        // SAFETY: the listener is seccomp's and the structure what this request fills.
        let received =
            unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) };
        // Killed, or interrupted, before we could look.
        if received < 0 {
            continue;
        }
        let noted = note(&asked, device, aim).context("noting a sync")?;
        if !noted {
            continue;
        }
        let mut answer = libc::seccomp_notif_resp { id: asked.id, val: 0, error: 0, flags: 0 };
        // SAFETY: as above. It fails if the process is gone meanwhile, which changes nothing.
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    }
}

/// False if this sync is not to be answered.
fn note(asked: &libc::seccomp_notif, device: &Mutex<Device>, aim: &Mutex<Aim>) -> Result<bool> {
    let mut device = lock(device);
    if i64::from(asked.data.nr) == libc::SYS_syncfs {
        return device.sync_all().map(|()| true);
    }
    // Opened again through /proc: the same file, whatever its name is now.
    match File::open(format!("/proc/{}/fd/{}", asked.pid, asked.data.args[0])) {
        Ok(file) if lock(aim).takes(file.metadata()?.is_dir()) => Ok(false),
        Ok(file) => device.sync(&file).map(|()| true),
        // The process was killed while it asked.
        Err(_) => Ok(true),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In the new process: refers its syncs to the listener that is returned.
fn refer_syncs() -> io::Result<OwnedFd> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let equal = |k: i64, jt: u8| libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt,
        jf: 0,
        k: k as u32,
    };
    let mut program = [
        // The system call's number, the first field of seccomp_data.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        equal(SYNCS[0], 3),
        equal(SYNCS[1], 2),
        equal(SYNCS[2], 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: the program is valid until the call returns.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let listener = check(listener as i32)?;
    // SAFETY: a descriptor that the kernel has just made.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

/// Room for a control message with one descriptor, aligned as one.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// A message of one byte, whose control part carries a descriptor; the pointers in it must outlive it.
fn message(byte: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: a structure of numbers and pointers, for which zero is nothing.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = byte;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as _;
    message
}

fn send(socket: RawFd, descriptor: RawFd) -> io::Result<()> {
    let (mut byte, mut control) = (0_u8, Control([0; 64]));
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let message = message(&mut part, &mut control);
    // SAFETY: the control buffer has room for one header with one descriptor, and lives until the end.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(descriptor);
        check(libc::sendmsg(socket, &raw const message, 0) as i32)?;
    }
    Ok(())
}

fn receive(socket: RawFd) -> io::Result<OwnedFd> {
    let (mut byte, mut control) = (0_u8, Control([0; 64]));
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut message = message(&mut part, &mut control);
    // SAFETY: as in `send`; the header is there if the kernel says so, and its descriptor is ours.
    unsafe {
        check(libc::recvmsg(socket, &raw mut message, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) as i32)?;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()))
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the file after a shell has run, for each of several power cuts.
    fn left_by(script: &str) -> std::collections::BTreeSet<Option<String>> {
        let mut left = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("data");
            std::fs::create_dir(&root).unwrap();
            let device = Arc::new(Mutex::new(Device::new(&root).unwrap()));
            let mut command = Command::new("sh");
            command.args(["-c", script]).current_dir(&root);
            let listener = Watch::install(&mut command).unwrap();
            let mut child = command.spawn().unwrap();
            let watch = Watch::begin(listener, device.clone(), Aim::Nothing).unwrap();
            assert!(child.wait().unwrap().success());
            watch.end().unwrap();
            device.lock().unwrap().crash(seed).unwrap();
            left.insert(std::fs::read_to_string(root.join("file")).ok());
        }
        left
    }

    #[test]
    fn a_process_keeps_what_it_has_synced() {
        assert_eq!(left_by("printf new > file; sync file; sync ."), [Some("new".to_owned())].into());
    }

    #[test]
    fn a_process_may_lose_what_it_has_not_synced() {
        assert!(left_by("printf new > file; sync file").contains(&None));
        assert!(left_by("printf new > file; sync .").contains(&Some(String::new())));
    }

    #[test]
    fn an_aim_hits_once() {
        let mut aim = Aim::Names(1);
        let syncs = [false, true, false, true, true, false];
        assert_eq!(syncs.map(|folder| aim.takes(folder)), [false, false, false, true, false, false]);
        assert_eq!(aim, Aim::Hit);
    }
}
