//! The disk that can fail, really mounted. Where that is not possible these tests are skipped, and say so on stderr; with
//! `ROBUST_REQUIRE=all` they fail.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::num::NonZeroU32;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::disk_programs::Process;
use super::{Fixture, are_installed, is_allowed, skip_because};
use crate::disk::{Disk, DiskError, Lost};
use crate::prelude::*;

/// A case with a disk, where there can be one.
pub(super) async fn mounted() -> Option<(Fixture, Disk)> {
    if !is_allowed(Disk::available()) {
        return None;
    }
    let fixture = Fixture::new();
    let folder = fixture.case.folder().unwrap().to_owned();
    let disk = Disk::mount(&fixture.case, "disk", folder.join("backing"), folder.join("data"));
    let disk = disk.await.unwrap();
    Some((fixture, disk))
}

/// Does what the case deferred, while its folder is still there.
async fn unmounted(fixture: &Fixture) {
    while let Some(closer) = fixture.case.pop_closer() {
        (closer.close)().await.unwrap();
    }
}

pub(super) fn is_mounted(at: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.contains(&format!(" {} ", at.display()))
}

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn sync_all(path: &Path) {
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            sync_all(&entry.path());
        } else if kind.is_file() {
            sync(&entry.path());
        }
    }
    sync(path);
}

/// What is below a folder: contents of files, targets of links, `/` for folders.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut work = vec![folder.to_owned()];
    while let Some(at) = work.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_dir() {
                work.push(path.clone());
                b"/".to_vec()
            } else if metadata.is_symlink() {
                std::fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else {
                let content = std::fs::read(&path).unwrap();
                assert_eq!(content.len() as u64, metadata.len());
                content
            };
            all.insert(path.strip_prefix(folder).unwrap().to_owned(), content);
        }
    }
    all
}

/// One random operation below `folder`: the same for the same draws. Returns what came of it.
fn act(rng: &mut ChaCha8Rng, folder: &Path, step: u8) -> String {
    let mut place = || {
        let name = ["a", "b", "c", "d", "e/a", "e/b", "e/f/a", "e", "e/f", "g"][rng.random_range(0..10)];
        folder.join(name)
    };
    let (one, other) = (place(), place());
    let at = rng.random_range(0..24_u64) * 1000;
    let length = rng.random_range(1..9000_usize);
    let open = || File::options().read(true).write(true).open(&one);
    let result = match rng.random_range(0..16) {
        0..3 => {
            let options = File::options().write(true).create(true).truncate(false).clone();
            options
                .open(&one)
                .and_then(|file| file.write_all_at(&vec![step; length], at))
        }
        3 => std::fs::write(&one, vec![step; length]),
        4 => File::options()
            .append(true)
            .open(&one)
            .and_then(|mut file| file.write_all(&vec![step; length])),
        5 => open().and_then(|file| file.set_len(at)),
        6 => open().and_then(|file| {
            let flags = [
                rustix::fs::FallocateFlags::empty(),
                rustix::fs::FallocateFlags::KEEP_SIZE,
                rustix::fs::FallocateFlags::KEEP_SIZE | rustix::fs::FallocateFlags::PUNCH_HOLE,
            ];
            Ok(rustix::fs::fallocate(
                &file,
                flags[at as usize / 1000 % 3],
                at,
                length as u64,
            )?)
        }),
        7 => open().and_then(|file| {
            // Used on after its name is gone.
            std::fs::remove_file(&one)?;
            file.write_all_at(b"nameless", at)?;
            let mut read = [0; 8];
            file.read_exact_at(&mut read, at)?;
            assert_eq!(&read, b"nameless");
            match file.metadata()?.nlink() {
                0 => Ok(()),
                _ => Err(ErrorKind::Other.into()),
            }
        }),
        8 => std::fs::remove_file(&one),
        9 | 10 => std::fs::rename(&one, &other),
        11 => std::fs::hard_link(&one, &other),
        12 => std::os::unix::fs::symlink("somewhere", &one),
        13 => std::fs::create_dir(&one),
        14 => std::fs::remove_dir(&one),
        _ => std::fs::read(&one).map(|_| ()),
    };
    result
        .map_err(|error| error.kind())
        .map_or_else(|error| format!("{error:?}"), |()| "ok".to_owned())
}

#[tokio::test]
async fn random_operations_come_to_the_same_as_elsewhere() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(fixture.case.seed().0);
    let mut came = BTreeMap::<String, usize>::new();
    for step in 0..1500_u32 {
        let mut same = rng.clone();
        let here = act(&mut rng, disk.path(), step as u8);
        assert_eq!(here, act(&mut same, elsewhere.path(), step as u8), "step {step}");
        if step % 50 == 0 {
            let (here, there) = (tree(disk.path()), tree(elsewhere.path()));
            assert!(here == there, "step {step}");
        }
        *came.entry(here).or_default() += 1;
    }
    assert!(came["ok"] > 300 && came.len() > 3, "{came:?}");
    assert_eq!(tree(disk.path()), tree(elsewhere.path()));
    // Also in the backing directory, and once more when it is mounted again.
    let (backing, at) = (disk.backing().to_owned(), disk.path().to_owned());
    drop(disk);
    unmounted(&fixture).await;
    assert!(!is_mounted(&at) && std::fs::read_dir(&at).unwrap().next().is_none());
    assert!(!backing.with_extension("aside").exists());
    assert_eq!(tree(&backing), tree(elsewhere.path()));
    let disk = Disk::mount(&fixture.case, "again", &backing, &at).await.unwrap();
    assert_eq!(tree(disk.path()), tree(elsewhere.path()));
    assert!(disk.lose_power(None).unwrap().is_nothing());
    assert_eq!(tree(disk.path()), tree(elsewhere.path()));
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn without_power_it_is_what_it_was_when_all_was_synced() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let mut rng = ChaCha8Rng::seed_from_u64(fixture.case.seed().0);
    for round in 0..20_u8 {
        for step in 0..40 {
            act(&mut rng, disk.path(), step);
        }
        sync_all(disk.path());
        let durable = tree(disk.path());
        for step in 0..60 {
            act(&mut rng, disk.path(), 100 + step);
        }
        let before = tree(disk.path());
        let lost = disk.lose_power(None).unwrap();
        assert!(tree(disk.path()) == durable, "round {round}");
        assert_eq!(lost.is_nothing(), before == durable, "round {round}: {lost}");
        assert_eq!(disk.hits().power_losses, u64::from(round) + 1);
        assert_eq!(
            std::fs::read_dir(disk.backing().with_extension("aside"))
                .unwrap()
                .count(),
            0
        );
    }
    assert!(disk.lose_power(None).unwrap().is_nothing());
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn torn_it_is_something_between_and_the_same_for_a_seed() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let file = disk.path().join("file");
    let mut left = Vec::new();
    for seed in [1, 2, 1] {
        std::fs::write(&file, vec![1; 64 << 10]).unwrap();
        sync_all(disk.path());
        std::fs::write(disk.path().join("new"), "new").unwrap();
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .write_all_at(&vec![2; 64 << 10], 0)
            .unwrap();
        disk.lose_power(Some(ChaCha8Rng::seed_from_u64(seed))).unwrap();
        let content = std::fs::read(&file).unwrap();
        assert!(
            content
                .chunks(512)
                .all(|sector| sector == [1; 512] || sector == [2; 512])
        );
        assert!(content.contains(&1) && content.contains(&2));
        left.push(content);
        let _lost = std::fs::remove_file(disk.path().join("new"));
    }
    assert!(left[0] == left[2] && left[0] != left[1]);
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn a_file_written_aside_and_renamed_is_the_old_or_the_new_one() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let (file, new) = (disk.path().join("file"), disk.path().join("file.new"));
    let text = |path: &Path| std::fs::read_to_string(path).ok();
    std::fs::write(&file, "old").unwrap();
    sync_all(disk.path());
    // Neither content nor name.
    std::fs::write(&new, "newer").unwrap();
    std::fs::rename(&new, &file).unwrap();
    let lost = disk.lose_power(None).unwrap();
    assert_eq!((text(&file).as_deref(), text(&new)), (Some("old"), None));
    // Its first name was not durable either, so it had no other.
    assert_eq!(
        lost,
        Lost {
            files: 1,
            bytes: 5,
            entries: 1,
            renames: 0
        }
    );
    // The name without the content: what programs forget.
    std::fs::write(&new, "newer").unwrap();
    std::fs::rename(&new, &file).unwrap();
    sync(disk.path());
    disk.lose_power(None).unwrap();
    assert_eq!((text(&file).as_deref(), text(&new)), (Some(""), None));
    // The content without the name.
    std::fs::write(&new, "newest").unwrap();
    sync(&new);
    std::fs::rename(&new, &file).unwrap();
    let lost = disk.lose_power(None).unwrap();
    assert_eq!(
        (text(&file).as_deref(), text(&new).as_deref()),
        (Some(""), Some("newest"))
    );
    assert_eq!(
        lost,
        Lost {
            files: 0,
            bytes: 0,
            entries: 2,
            renames: 1
        }
    );
    // Both.
    std::fs::rename(&new, &file).unwrap();
    sync(disk.path());
    assert!(disk.lose_power(None).unwrap().is_nothing());
    assert_eq!((text(&file).as_deref(), text(&new)), (Some("newest"), None));
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn logs_keep_what_was_synced_by_any_means() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let at = |name: &str| disk.path().join(name);
    std::fs::write(at("a"), "").unwrap();
    let mut file = File::options().append(true).open(at("a")).unwrap();
    file.write_all(b"1 ").unwrap();
    file.sync_data().unwrap();
    file.write_all(b"2 ").unwrap();
    let options = |flags| {
        File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(flags)
            .clone()
    };
    let (dsync, sync) = (0o10000, 0o4010000);
    options(dsync).open(at("b")).unwrap().write_all(b"dsync").unwrap();
    options(sync).open(at("c")).unwrap().write_all(b"sync").unwrap();
    let syncs = disk.hits().syncs;
    assert_eq!(syncs, 3, "each once");
    // As etcd's log: reserved, then overwritten.
    let log = File::create(at("d")).unwrap();
    rustix::fs::fallocate(&log, rustix::fs::FallocateFlags::empty(), 0, 1 << 20).unwrap();
    log.sync_all().unwrap();
    log.write_all_at(b"first", 0).unwrap();
    log.sync_data().unwrap();
    log.write_all_at(b"second", 5).unwrap();
    // Written back is not durable.
    rustix::fs::sync();
    drop(log);
    drop(file);
    disk.lose_power(None).unwrap();
    let text = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    assert_eq!([text("a"), text("b"), text("c")], ["1 ", "dsync", "sync"]);
    let log = std::fs::read(at("d")).unwrap();
    assert_eq!((log.len(), &log[..5]), (1 << 20, &b"first"[..]));
    assert!(log[5..].iter().all(|&byte| byte == 0));
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn who_has_files_open_when_the_power_goes_gets_errors_and_new_ones_are_served() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let path = disk.path().join("file");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.write_all(b"gone").unwrap();
    disk.lose_power(None).unwrap();
    assert_eq!(file.write_at(b"x", 100).unwrap_err().raw_os_error(), Some(5));
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(5));
    assert!(!path.exists());
    std::fs::write(&path, "new").unwrap();
    sync(&path);
    drop(file);
    disk.lose_power(None).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_until_it_is_healed() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let path = disk.path().join("file");
    let mut file = File::create(&path).unwrap();
    file.write_all(&[1; 8192]).unwrap();
    assert_eq!(disk.used(), 8192);
    disk.set_full(Some(disk.used() + 4096));
    assert_eq!(file.write(&[2; 10000]).unwrap(), 4096);
    assert_eq!(file.write(&[2; 1]).unwrap_err().kind(), ErrorKind::StorageFull);
    let space = rustix::fs::statvfs(disk.path()).unwrap();
    assert_eq!((space.f_blocks * space.f_frsize, space.f_bavail), (12288, 0));
    let reserve = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 1 << 20);
    assert_eq!(reserve.unwrap_err(), rustix::io::Errno::NOSPC);
    // What it has can be overwritten, and space that is given back used again.
    file.write_all_at(&[3; 12288], 0).unwrap();
    assert_eq!(disk.hits().writes_refused, 3);
    std::fs::remove_file(&path).unwrap();
    drop(file);
    eventually("the file's space is free", secs(5), async || {
        (disk.used() == 0).then_some(())
    })
    .await
    .unwrap();
    std::fs::write(&path, [4; 12288]).unwrap();
    assert!(std::fs::write(disk.path().join("other"), [5; 1]).is_err());
    disk.heal();
    std::fs::write(disk.path().join("other"), [5; 1 << 20]).unwrap();
    assert_eq!(disk.hits().writes_refused, 4);
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn slow_syncs_hold_up_nothing_else_and_go_on_when_healed() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let path = disk.path().join("file");
    let file = File::create(&path).unwrap();
    file.sync_all().unwrap();
    disk.slow_fsync(Some(millis(200)));
    let begin = Instant::now();
    file.sync_all().unwrap();
    let took = begin.elapsed();
    assert!(took >= millis(200), "{took:?}");
    disk.slow_fsync(Some(secs(600)));
    // Of one file the system itself lets one sync begin at a time.
    let syncing: Vec<_> = (0..10)
        .map(|number| {
            let file = File::create(disk.path().join(format!("file-{number}"))).unwrap();
            std::thread::spawn(move || file.sync_all().map(|()| begin.elapsed()))
        })
        .collect();
    eventually("all wait", secs(10), async || {
        (disk.hits().syncs_delayed == 11).then_some(())
    })
    .await
    .unwrap();
    std::fs::write(disk.path().join("other"), "at once").unwrap();
    assert_eq!(
        std::fs::read_to_string(disk.path().join("other")).unwrap(),
        "at once"
    );
    disk.heal();
    for thread in syncing {
        thread.join().unwrap().unwrap();
    }
    // One that waits when the power goes did not come to anything.
    disk.slow_fsync(Some(secs(600)));
    file.write_all_at(b"x", 0).unwrap();
    let waiting = std::thread::spawn(move || file.sync_all());
    eventually("it waits", secs(10), async || {
        (disk.hits().syncs_delayed == 12).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(
        disk.lose_power(None).unwrap().bytes,
        "x".len() as u64 + "at once".len() as u64
    );
    assert!(waiting.join().unwrap().is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"");
    // Nor does one keep it from being unmounted.
    let waiting = std::thread::spawn(move || File::open(&path).unwrap().sync_all());
    eventually("it waits", secs(10), async || {
        (disk.hits().syncs_delayed == 13).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(fixture.end().await, [""; 0]);
    drop(waiting.join().unwrap());
    assert!(!is_mounted(disk.path()));
}

#[tokio::test]
async fn what_a_failed_sync_lost_is_read_until_the_power_goes() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let path = disk.path().join("file");
    std::fs::write(&path, "durable").unwrap();
    sync_all(disk.path());
    disk.fail_fsync(NonZeroU32::new(2));
    let file = File::options().read(true).write(true).open(&path).unwrap();
    file.sync_all().unwrap();
    file.write_all_at(b"DUR", 0).unwrap();
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(5));
    disk.fail_fsync(None);
    file.sync_all().unwrap();
    file.write_all_at(b"L", 5).unwrap();
    file.sync_all().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"DURabLe");
    drop(file);
    let lost = disk.lose_power(None).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"durabLe");
    assert_eq!((lost.files, lost.bytes, disk.hits().syncs_failed), (1, 3, 1));
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn files_mapped_into_memory_are_read_and_written() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let script = "import mmap, os, sys\n\
        f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n\
        os.ftruncate(f, 8192); os.pwrite(f, b'pwrite', 0); os.fsync(f)\n\
        m = mmap.mmap(f, 8192, mmap.MAP_SHARED)\n\
        assert m[:6] == b'pwrite'\n\
        os.pwrite(f, b'PW', 0); assert m[:6] == b'PWrite'\n\
        m[4096:4102] = b'synced'; m.flush(4096, 4096)\n\
        m[4096:4098] = b'no'; os.pwrite(f, b'RITE', 2)\n\
        assert os.pread(f, 6, 4096) == b'nonced'\n\
        m.close()\n";
    if !are_installed(&["python3"]) {
        return;
    }
    let run = |script: &str| {
        let ran = Command::new("python3")
            .args(["-c", script])
            .arg(disk.path().join("file"))
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    };
    run(script);
    let content = || std::fs::read(disk.path().join("file")).unwrap();
    assert_eq!(&content()[..6], b"PWRITE");
    assert_eq!(&content()[4096..4102], b"nonced");
    disk.lose_power(None).unwrap();
    // `msync` syncs the file.
    assert_eq!(&content()[..6], b"PWrite");
    assert_eq!(&content()[4096..4102], b"synced");
    // The system asks who ends for it.
    run("import mmap, os, sys\n\
        f = os.open(sys.argv[1], os.O_RDWR)\n\
        m = mmap.mmap(f, 8192, mmap.MAP_SHARED)\n\
        m[4096:4102] = b'mapped'; os._exit(0)\n");
    unmounted(&fixture).await;
    let kept = std::fs::read(disk.backing().join("file")).unwrap();
    assert_eq!(&kept[4096..4102], b"mapped");
    assert_eq!(fixture.end().await, [""; 0]);
}

/// As containers and sandboxes have, which copy what is mounted when they begin.
#[tokio::test]
async fn a_disk_that_others_have_in_mounts_of_their_own_is_unmounted_all_the_same() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let file = disk.path().join("file");
    std::fs::write(&file, "here").unwrap();
    let mut copy = Command::new("unshare")
        .args(["--mount", "sh", "-c", "cat \"$0\"; read line; cat \"$0\""])
        .arg(&file)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut there = [0; 4];
    std::io::Read::read_exact(copy.stdout.as_mut().unwrap(), &mut there).unwrap();
    assert_eq!(&there, b"here");
    unmounted(&fixture).await;
    // It is told that there is no disk any more.
    drop(copy.stdin.take());
    assert!(!copy.wait().unwrap().success());
}

#[tokio::test]
async fn a_disk_in_use_is_unmounted_all_the_same() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let path = disk.path().join("file");
    std::fs::write(&path, "x".repeat(1 << 20)).unwrap();
    let file = File::open(&path).unwrap();
    let sleeper = Process::start(Command::new("sleep").arg("7820").current_dir(disk.path()));
    unmounted(&fixture).await;
    assert!(!is_mounted(disk.path()));
    drop(sleeper);
    assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(107));
    assert_eq!(
        std::fs::metadata(disk.backing().join("file")).unwrap().len(),
        1 << 20
    );
}

#[tokio::test]
async fn what_cannot_be_mounted_is_told_with_the_folder() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let folder = fixture.case.folder().unwrap();
    let error = Disk::mount(&fixture.case, "b", folder, folder.join("x"))
        .await
        .unwrap_err();
    assert!(matches!(error, DiskError::Nested { .. }), "{error}");
    std::fs::write(folder.join("x/file"), "").unwrap();
    let error = Disk::mount(&fixture.case, "b", folder.join("y"), folder.join("x"))
        .await
        .unwrap_err();
    assert!(matches!(error, DiskError::NotEmpty { .. }), "{error}");
    let error = Disk::mount(&fixture.case, "b", folder.join("x/file"), folder.join("z"))
        .await
        .unwrap_err();
    assert!(error.to_string().ends_with("x/file"), "{error}");
    drop(disk);
    assert_eq!(fixture.end().await, [""; 0]);
}

#[tokio::test]
async fn other_users_files_are_theirs() {
    let Some((fixture, disk)) = mounted().await else {
        return;
    };
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(disk.path(), open).unwrap();
    let mut way = disk.path();
    while let Some(parent) = way
        .parent()
        .filter(|parent| parent.starts_with(std::env::temp_dir()))
    {
        let mode = std::fs::metadata(parent).unwrap().permissions().mode();
        std::fs::set_permissions(parent, std::fs::Permissions::from_mode(mode | 0o755)).unwrap();
        way = parent;
    }
    let ran = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c"])
        .arg("umask 027 && echo x > file && mkdir d && touch d/f && chmod 600 d/f && ! touch /etc/no 2>/dev/null")
        .current_dir(disk.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let of = |name: &str| {
        let metadata = std::fs::metadata(disk.path().join(name)).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
    };
    assert_eq!(of("file"), (65534, 65534, 0o640));
    assert_eq!(of("d"), (65534, 65534, 0o750));
    assert_eq!(of("d/f"), (65534, 65534, 0o600));
    assert_eq!(fixture.end().await, [""; 0]);
}

/// Runs also as a user who may nothing.
#[test]
fn a_user_who_may_not_mount_is_told_why_in_one_line() {
    const ALONE: &str = "ROBUST_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        println!("told: {}", Disk::available().unwrap_err());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let ran = Command::new(program)
            .args(arguments)
            .arg(&copy)
            .args(["--exact", "--nocapture"])
            .arg("tests::disk::a_user_who_may_not_mount_is_told_why_in_one_line")
            .env(ALONE, "1")
            .current_dir("/")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let told = said
            .split_once("told: ")
            .map(|(_, told)| told.lines().next().unwrap_or_default().to_owned());
        told.ok_or_else(|| String::from_utf8_lossy(&ran.stderr).into_owned())
    };
    if !rustix::process::geteuid().is_root() {
        skip_because("this user cannot become another one");
        return;
    }
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let told = run("setpriv", &nobody).unwrap();
    assert!(
        told.contains("/dev/fuse") || told.contains("may not mount"),
        "{told}"
    );
    let told = run("setpriv", &["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]).unwrap();
    assert!(
        told.starts_with("this user may not mount: run as root or with CAP_SYS_ADMIN"),
        "{told}"
    );
}
