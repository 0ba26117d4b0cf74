//! Mounting and unmounting, and whether that can be done here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

/// Why there can be no such disk on this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// There is no device for it.
    #[error("this system has no /dev/fuse: load the module `fuse`, or give the container that device")]
    NoDevice,
    /// This user may not use it.
    #[error("this user may not open /dev/fuse: run as root, or let the user read and write that device")]
    NotOpened,
    /// This user may not mount.
    #[error(
        "this user may not mount: run as root or with CAP_SYS_ADMIN (`unshare --user --map-root-user --mount`)"
    )]
    NotMounted,
    /// The system said something else.
    #[error("a file system in user space cannot be mounted here: {0}")]
    Other(String),
}

pub(super) const DEVICE: &str = "/dev/fuse";
/// What `mount` shows as the device.
const SOURCE: &str = "robust-test-disk";

pub(super) fn available() -> Result<(), Unavailable> {
    static AVAILABLE: OnceLock<Result<(), Unavailable>> = OnceLock::new();
    AVAILABLE.get_or_init(probe).clone()
}

/// Mounts one that never answers, and unmounts it.
fn probe() -> Result<(), Unavailable> {
    let device = open_device().map_err(|error| match error {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => Unavailable::NoDevice,
        Errno::ACCESS | Errno::PERM => Unavailable::NotOpened,
        error => Unavailable::Other(format!("{DEVICE}: {error}")),
    })?;
    let folder = tempfile::tempdir().map_err(|error| Unavailable::Other(error.to_string()))?;
    mount(&device, folder.path()).map_err(|error| match error {
        Errno::PERM | Errno::ACCESS => Unavailable::NotMounted,
        error => Unavailable::Other(error.to_string()),
    })?;
    // Nothing waits for an answer of it after this.
    drop(device);
    unmount(folder.path()).map_err(|error| Unavailable::Other(error.to_string()))
}

pub(super) fn open_device() -> Result<OwnedFd, Errno> {
    rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Requests for what is below `at` come to `device` from now on, whoever makes them; the system checks permissions.
pub(super) fn mount(device: &OwnedFd, at: &Path) -> Result<(), Errno> {
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
        device.as_raw_fd(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(SOURCE, at, "fuse", flags, Some(options.as_c_str()))
}

/// Unmounts it. Whoever uses it gets errors from now on, also who has it among mounts of its own, as containers do that began
/// meanwhile: without force it would go on as long as they do. What a process that goes on wrote by way of memory alone is lost.
pub(super) fn unmount(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(
        at,
        UnmountFlags::FORCE | UnmountFlags::DETACH,
    )?)
}
