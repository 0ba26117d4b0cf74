//! What is mounted below a folder, so that the folder can be removed: file systems of cases that did not unmount them, or
//! whose worker or runner was killed. It knows nothing of any file system.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use rustix::mount::UnmountFlags;

use crate::reaper;

const TABLE: &str = "/proc/self/mountinfo";

/// One line of the table of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) at: PathBuf,
    /// The same within the folder that was asked for.
    pub(crate) within: PathBuf,
    /// `tmpfs`, `fuse`, ..
    pub(crate) kind: String,
    /// Major and minor number: the same for all mounts of one file system.
    device: String,
    /// Whether it is mounted nowhere else.
    is_alone: bool,
}

/// What is mounted at or below `folder`, what was mounted first before what is upon it.
pub(crate) fn below(folder: &Path) -> Vec<Mount> {
    let text = table();
    // Nearly always there is none.
    let Some(name) = folder
        .file_name()
        .filter(|name| mentions(&text, name.as_encoded_bytes()))
    else {
        return Vec::new();
    };
    let real = match folder.parent().map(Path::canonicalize) {
        Some(Ok(parent)) => parent.join(name),
        _ => folder.to_owned(),
    };
    let mut mounts = parse(&text);
    mounts.retain_mut(|mount| match mount.at.strip_prefix(&real) {
        Ok(within) => {
            mount.within = within.to_owned();
            true
        }
        Err(_) => false,
    });
    mounts
}

/// Whether anything can be mounted at or below `folder`: not where it is empty and nothing is mounted over it. Tells that in
/// a tenth of the time that the table takes.
pub(crate) fn is_worth_a_look(folder: &Path) -> bool {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::SYMLINK_NOFOLLOW;
    let is_plain =
        rustix::fs::statx(rustix::fs::CWD, folder, flags, StatxFlags::empty()).is_ok_and(|found| {
            let (told, is) = (found.stx_attributes_mask, found.stx_attributes);
            told.contains(StatxAttributes::MOUNT_ROOT) && !is.contains(StatxAttributes::MOUNT_ROOT)
        });
    !is_plain || std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_some())
}

/// Whether the folder's name is anywhere; one with characters that the table escapes may be.
fn mentions(text: &[u8], name: &[u8]) -> bool {
    let is_plain = name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    !is_plain || text.windows(name.len()).any(|part| part == name)
}

/// Unmounts everything at or below `folder`. Who still uses it goes on with files that are open; where the file system is
/// mounted nowhere else, whoever waits for an answer of it is told that there is none. Returns what was unmounted.
pub(crate) fn unmount_below(folder: &Path) -> Vec<Mount> {
    let mut mounts = below(folder);
    // What is upon it before it.
    mounts.reverse();
    mounts.retain(|mount| {
        let mut flags = UnmountFlags::DETACH;
        if mount.is_alone {
            flags |= UnmountFlags::FORCE;
        }
        rustix::mount::unmount(&mount.at, flags).is_ok()
    });
    mounts
}

/// The folders in `temporary`, with names that begin with `prefix`, in which something is mounted and which are those of
/// runs that were killed, reaper and all.
pub(crate) fn left_by_killed_runs(temporary: &Path, prefix: &str) -> Vec<PathBuf> {
    let temporary = temporary.canonicalize().unwrap_or_else(|_| temporary.to_owned());
    let text = table();
    let names: BTreeSet<OsString> = parse(&text)
        .iter()
        .filter_map(|mount| {
            mount
                .at
                .strip_prefix(&temporary)
                .ok()?
                .iter()
                .next()
                .map(OsStr::to_owned)
        })
        .filter(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes()) && !reaper::waits_for(name))
        .collect();
    names.iter().map(|name| temporary.join(name)).collect()
}

/// The table of mounts of this process; empty where it cannot be read.
pub(crate) fn table() -> Vec<u8> {
    std::fs::read(TABLE).unwrap_or_default()
}

/// A line of the table, as it is written there.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    device: &'a [u8],
    root: &'a [u8],
    at: &'a [u8],
    pub(crate) kind: &'a [u8],
    /// Those of the file system, with commas between them.
    pub(crate) options: &'a [u8],
}

impl Line<'_> {
    pub(crate) fn at(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(unescaped(self.at)))
    }

    /// What of the file system is mounted.
    pub(crate) fn root(&self) -> PathBuf {
        PathBuf::from(OsString::from_vec(unescaped(self.root)))
    }
}

/// Lines are `ID PARENT MAJOR:MINOR ROOT AT OPTIONS .. - KIND SOURCE OPTIONS` (`proc_pid_mountinfo(5)`).
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        Some(Line {
            device: fields.get(2)?,
            root: fields.get(3)?,
            at: fields.get(4)?,
            kind: fields.get(dash + 1)?,
            options: fields.get(dash + 3).copied().unwrap_or_default(),
        })
    })
}

fn parse(text: &[u8]) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines(text) {
        let device = String::from_utf8_lossy(line.device).into_owned();
        *counts.entry(device.clone()).or_default() += 1;
        mounts.push(Mount {
            at: line.at(),
            within: PathBuf::new(),
            kind: String::from_utf8_lossy(line.kind).into_owned(),
            device,
            is_alone: false,
        });
    }
    for mount in &mut mounts {
        mount.is_alone = counts.get(&mount.device) == Some(&1);
    }
    mounts
}

/// Space, tab, newline and backslash are written as `\` and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                rest = &after[3..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_read_with_what_is_escaped_in_them() {
        let text =
            b"36 35 98:0 /mnt1 /a\\040b\\134c rw,noatime master:1 - ext4 /dev/root rw,errors=continue\n\
            37 36 0:41 / /tmp/x rw - fuse source rw\n\
            bad line\n\
            38 36 98:0 / /other rw shared:3 master:9 - ext4 /dev/root rw\n";
        let mounts = parse(text);
        let told: Vec<_> = mounts
            .iter()
            .map(|mount| (mount.at.to_str().unwrap(), mount.kind.as_str(), mount.is_alone))
            .collect();
        assert_eq!(
            told,
            [
                ("/a b\\c", "ext4", false),
                ("/tmp/x", "fuse", true),
                ("/other", "ext4", false)
            ]
        );
        assert_eq!(unescaped(b"\\04"), b"\\04");
    }

    /// What is mounted needs the right to mount.
    fn mount(source: &Path, at: &Path, kind: &str) -> bool {
        let mounted = rustix::mount::mount(source, at, kind, rustix::mount::MountFlags::empty(), None);
        crate::privilege_tests::is_allowed("mount", &mounted)
    }

    #[test]
    fn a_folder_with_mounts_in_it_is_removed_and_what_was_mounted_keeps_its_files() {
        let home = tempfile::tempdir().unwrap();
        let (folder, outside) = (home.path().join("a case"), home.path().join("outside"));
        let (inner, bound) = (folder.join("in ner"), folder.join("bound"));
        for folder in [&inner, &bound, &outside] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(outside.join("precious"), "x").unwrap();
        if !mount(Path::new("tmpfs"), &inner, "tmpfs") {
            return;
        }
        std::fs::create_dir(inner.join("deep")).unwrap();
        assert!(mount(Path::new("tmpfs"), &inner.join("deep"), "tmpfs"));
        std::fs::create_dir(inner.join("deep/empty")).unwrap();
        rustix::mount::mount_bind(&outside, &bound).unwrap();
        // In use.
        let open = std::fs::File::create(inner.join("deep/file")).unwrap();
        assert_eq!(below(&folder).len(), 3);
        assert!(is_worth_a_look(&folder) && is_worth_a_look(&inner) && is_worth_a_look(&bound));
        assert!(!is_worth_a_look(&inner.join("deep/empty")));
        assert_eq!(below(home.path()).len(), 3);
        assert_eq!(below(&outside), []);
        crate::artifacts::remove_all(&folder).unwrap();
        assert!(!folder.exists());
        assert_eq!(below(home.path()), []);
        assert_eq!(std::fs::read_to_string(outside.join("precious")).unwrap(), "x");
        drop(open);
    }

    #[test]
    fn what_a_killed_run_left_is_found_and_what_a_run_has_that_goes_on_is_not() {
        let home = tempfile::tempdir().unwrap();
        let (dead, alive) = (home.path().join("robust-dead"), home.path().join("robust-alive"));
        let other = home.path().join("other");
        for folder in [&dead, &alive, &other] {
            std::fs::create_dir_all(folder.join("1/data")).unwrap();
            if !mount(Path::new("tmpfs"), &folder.join("1/data"), "tmpfs") {
                return;
            }
        }
        let mut reaper = std::process::Command::new("sh")
            .args(["-c", "echo up; read line", "reaper"])
            .arg(alive.canonicalize().unwrap())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // It is what it will be, not still this program.
        let mut up = [0; 3];
        std::io::Read::read_exact(reaper.stdout.as_mut().unwrap(), &mut up).unwrap();
        let temporary = home.path().canonicalize().unwrap();
        let left = || left_by_killed_runs(home.path(), "robust-");
        assert_eq!(left(), [temporary.join("robust-dead")]);
        crate::artifacts::remove_all(&dead).unwrap();
        assert!(left().is_empty());
        // A killed run's, once its reaper is gone too.
        drop(reaper.stdin.take());
        reaper.wait().unwrap();
        assert_eq!(left(), [temporary.join("robust-alive")]);
        assert_eq!(unmount_below(home.path()).len(), 2);
    }
}
