//! The folder of what a case left: made for cases that did not pass, moved out of the run's temporary folder.

use std::io;
use std::path::{Path, PathBuf};

use crate::capture::Capture;
use crate::mounts;
use crate::seed::stable_hash;

/// The name of the file with every byte of a case's output.
pub(crate) const LOG: &str = "output.log";
/// More files than this are kept, but not listed one by one in reports.
const LISTED_MAX: usize = 50;

/// What was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) folder: PathBuf,
    /// Relative to the folder, sorted; the log first.
    pub(crate) files: Vec<String>,
    /// How many files are not listed.
    pub(crate) more: usize,
}

/// How much of the end of each log reports show.
const SHOWN_BYTES: u64 = 64 << 10;
/// How much of all of them.
const ALL_SHOWN_BYTES: usize = 1 << 20;

impl Kept {
    /// The logs beside the case's own output, each under its name: whole, or their ends, with what is left out and
    /// where that is.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        let logs = self.files.iter();
        for file in logs.filter(|file| file.ends_with(".log") && *file != LOG) {
            text.push_str(&format!("\n---- {file} ----\n"));
            let path = self.folder.join(file);
            if text.len() >= ALL_SHOWN_BYTES {
                text.push_str(&format!("[... left out here: {} ...]\n", path.display()));
                continue;
            }
            match tail(&path) {
                Ok((0, shown)) => text.push_str(&shown),
                Ok((left_out, shown)) => text.push_str(&format!(
                    "[... {left_out} bytes are left out here; all of it: {} ...]\n{shown}",
                    path.display()
                )),
                Err(error) => text.push_str(&error.to_string()),
            }
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
        if self.more > 0 {
            let folder = self.folder.display();
            text.push_str(&format!("\n[... {} more files in {folder} ...]\n", self.more));
        }
        text
    }
}

/// The last lines of each log in a case's folder that is not kept yet.
pub(crate) fn ends_of_logs(folder: &Path, lines_max: usize) -> Vec<(String, Vec<String>)> {
    let mut files = Vec::new();
    // Before its first file there is no folder.
    let _none = list(folder, &mut files);
    files.retain(|file| file.ends_with(".log"));
    files.sort();
    files.truncate(LISTED_MAX);
    let end = |file: String| {
        let text = tail(&folder.join(&file)).map_or_else(|error| error.to_string(), |(_, text)| text);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(lines_max)..];
        (file, last.iter().map(|&line| line.to_owned()).collect())
    };
    files.into_iter().map(end).collect()
}

/// How many bytes are before it, and the end of a file, from the beginning of a line on where there is one.
fn tail(path: &Path) -> io::Result<(u64, String)> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let mut before = file.metadata()?.len().saturating_sub(SHOWN_BYTES);
    file.seek(SeekFrom::Start(before))?;
    let mut bytes = Vec::new();
    file.take(SHOWN_BYTES).read_to_end(&mut bytes)?;
    if before > 0 {
        let line = bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        bytes.drain(..line);
        before += line as u64;
    }
    Ok((before, crate::capture::readable(&bytes)))
}

/// A file name for a case: readable, unique, without characters that artifact uploads refuse.
pub(crate) fn slug(case: &str) -> String {
    let mut slug = String::with_capacity(72);
    for character in case.chars() {
        let safe = character.is_ascii_alphanumeric() || character == '-' || character == '.';
        if safe {
            slug.push(character);
        } else if !slug.ends_with('_') {
            slug.push('_');
        }
        if slug.len() >= 60 {
            break;
        }
    }
    format!(
        "{}-{:08x}",
        slug.trim_matches(['_', '.']),
        stable_hash(case) as u32
    )
}

/// A longer log that is in use is not copied: it moves when it no longer is.
const COPIED_BYTES_MAX: u64 = 64 << 20;

/// Where the files of a case are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// In folders whose contents move.
    Moved(&'a [PathBuf]),
    /// In folders that are in use, of which the logs are copied.
    Copied(&'a [PathBuf]),
}

/// Keeps the output and the files of a case under `cases`, in place of what was kept for this case before.
///
/// # Errors
/// When the folder cannot be made or written; the error names it.
pub(crate) fn keep(cases: &Path, case: &str, capture: &mut Capture, sources: Source<'_>) -> io::Result<Kept> {
    let folder = cases.join(slug(case));
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    if folder.exists() {
        remove_all(&folder).map_err(named)?;
    }
    std::fs::create_dir_all(&folder).map_err(named)?;
    let log = folder.join(LOG);
    match sources {
        Source::Moved(sources) => {
            capture.save(&log).map_err(named)?;
            for source in sources {
                // What is mounted cannot move, and may not even answer.
                let _unmounted = mounts::unmount_below(source);
                move_contents(source, &folder).map_err(named)?;
            }
        }
        Source::Copied(sources) => {
            capture.copy(&log).map_err(named)?;
            for source in sources {
                copy_logs(source, &folder).map_err(named)?;
            }
        }
    }
    let mut files = Vec::new();
    list(&folder, &mut files)?;
    for file in &files {
        // What cannot be given back stays.
        let _kept_whole = give_back_reserved(&folder.join(file));
    }
    files.sort_by_key(|file| (file != LOG, file.clone()));
    // Logs are listed before a database's thousands of files.
    files.sort_by_key(|file| !file.ends_with(".log"));
    let more = files.len().saturating_sub(LISTED_MAX);
    files.truncate(LISTED_MAX);
    Ok(Kept { folder, files, more })
}

/// Removes a folder and all in it, also what was made read-only; what is mounted in it is unmounted before, and keeps its
/// files.
pub(crate) fn remove_all(folder: &Path) -> io::Result<()> {
    let _unmounted = mounts::unmount_below(folder);
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(folder);
            std::fs::remove_dir_all(folder)
        }
        other => other,
    }
}

/// Lets the owner read and write every folder in it, as far as they are this user's.
fn open_up(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let _not_ours = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        // Not through links.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Copies the logs in a folder, which may not be there.
fn copy_logs(from: &Path, to: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    let _none = list(from, &mut files);
    for file in files.iter().filter(|file| file.ends_with(".log")) {
        if std::fs::metadata(from.join(file))?.len() > COPIED_BYTES_MAX {
            continue;
        }
        let target = to.join(file);
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::copy(from.join(file), target)?;
    }
    Ok(())
}

fn move_contents(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if std::fs::rename(entry.path(), &target).is_err() {
            if entry.file_type()?.is_dir() {
                open_up(&entry.path());
            }
            copy(&entry.path(), &target)?;
        }
    }
    let _reported_where_it_matters = remove_all(from);
    Ok(())
}

/// Copies files and folders; sockets, pipes and links out of the tree are of no use elsewhere.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let kind = std::fs::symlink_metadata(from)?.file_type();
    if kind.is_dir() {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if kind.is_file() {
        std::fs::copy(from, to)?;
    }
    Ok(())
}

/// Files shorter than this are left as they are.
const RESERVING_BYTES: u64 = 1 << 20;

/// Gives back the disk that a file has reserved and never written: databases reserve a log of 64 MiB before they write
/// a line of it, and a case leaves several. The file reads as before.
fn give_back_reserved(file: &Path) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
    let length = std::fs::metadata(file)?.len();
    if length < RESERVING_BYTES {
        return Ok(());
    }
    let file = std::fs::File::options().write(true).open(file)?;
    let mut at = 0;
    while at < length {
        let hole = seek(&file, SeekFrom::Hole(at))?;
        if hole >= length {
            break;
        }
        let data = match seek(&file, SeekFrom::Data(hole)) {
            Ok(data) => data,
            // None after it.
            Err(rustix::io::Errno::NXIO) => length,
            Err(error) => return Err(error.into()),
        };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, flags, hole, data - hole)?;
        at = data;
    }
    Ok(())
}

/// The files in a folder, relative to it. Not those of file systems that are mounted there: who serves one may be the
/// process that is looked at because it does not answer.
fn list(root: &Path, files: &mut Vec<String>) -> io::Result<()> {
    let mounts = mounts::below(root);
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let Ok(relative) = path.strip_prefix(root) else {
                continue;
            };
            if mounts.iter().any(|mount| mount.within == relative) {
                continue;
            }
            // As the folder has it: nothing is asked of the file itself.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                files.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_short_safe_and_distinct() {
        let long = format!("a::b[{}]", "x".repeat(500));
        for case in [
            "a::b[broker=mosquitto,qos=1]",
            &long,
            "…",
            "CON",
            "..",
            "a/../b",
            "é:*?\"<>|",
        ] {
            let slug = slug(case);
            assert!(slug.len() <= 72, "{slug}");
            assert!(
                slug.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
                "{slug}"
            );
        }
        assert_ne!(slug("a[b=1]"), slug("a_b_1"));
    }

    #[test]
    fn what_a_file_reserved_is_given_back() {
        use std::os::unix::fs::{FileExt as _, MetadataExt as _};
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        let file = std::fs::File::create(&path).unwrap();
        let bytes = 8 << 20;
        if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).is_err() {
            return; // A file system that reserves nothing.
        }
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", bytes / 2).unwrap();
        file.sync_all().unwrap();
        assert!(file.metadata().unwrap().blocks() * 512 >= bytes);
        give_back_reserved(&path).unwrap();
        let kept = file.metadata().unwrap().blocks() * 512;
        assert!(kept < bytes / 8, "{kept}");
        let mut whole = vec![0; bytes as usize];
        whole[..5].copy_from_slice(b"begin");
        whole[bytes as usize / 2..][..6].copy_from_slice(b"middle");
        assert!(std::fs::read(&path).unwrap() == whole);
    }

    #[test]
    fn everything_is_moved_and_an_older_folder_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let (cases, source) = (home.path().join("cases"), home.path().join("source"));
        for round in ["first", "second"] {
            std::fs::create_dir_all(source.join("node")).unwrap();
            std::fs::write(source.join("node").join(format!("{round}.log")), round).unwrap();
            let mut capture = Capture::new(home.path().join("spill"));
            capture.push(b"said");
            let sources = std::slice::from_ref(&source);
            let name = "m::case[a=1]";
            std::fs::write(source.join("data"), "of a server that runs").unwrap();
            let copied = keep(&cases, name, &mut capture, Source::Copied(sources)).unwrap();
            assert_eq!(
                copied.files,
                ["output.log".to_owned(), format!("node/{round}.log")]
            );
            std::fs::remove_file(source.join("data")).unwrap();
            let kept = keep(&cases, name, &mut capture, Source::Moved(sources)).unwrap();
            assert_eq!(kept.files, ["output.log".to_owned(), format!("node/{round}.log")]);
            assert_eq!(kept.logs(), format!("\n---- node/{round}.log ----\n{round}\n"));
            assert!(!source.exists());
        }
    }

    #[test]
    fn what_is_left_out_of_logs_is_told_with_where_it_is() {
        let home = tempfile::tempdir().unwrap();
        let (cases, source) = (home.path().join("cases"), home.path().join("source"));
        std::fs::create_dir_all(source.join("data")).unwrap();
        for number in 0..LISTED_MAX + 10 {
            std::fs::write(source.join("data").join(format!("{number:03}")), "").unwrap();
        }
        for number in 0..20 {
            let name = format!("node-{number:02}.log");
            let mut log = std::fs::File::create(source.join(name)).unwrap();
            // As long as a server's that printed for hours, and as quick to make.
            log.set_len(3 << 30).unwrap();
            std::io::Seek::seek(&mut log, io::SeekFrom::End(0)).unwrap();
            let line = format!("{}\n", "x".repeat(99));
            io::Write::write_all(&mut log, line.repeat(1000).as_bytes()).unwrap();
        }
        let mut capture = Capture::new(home.path().join("spill"));
        let kept = keep(
            &cases,
            "a",
            &mut capture,
            Source::Moved(std::slice::from_ref(&source)),
        )
        .unwrap();
        assert_eq!(kept.files.len(), LISTED_MAX);
        assert_eq!(
            kept.files[..2],
            ["output.log".to_owned(), "node-00.log".to_owned()]
        );
        let logs = kept.logs();
        assert!(logs.len() < ALL_SHOWN_BYTES + (100 << 10), "{}", logs.len());
        let length = (3_u64 << 30) + 100_000;
        let shown = SHOWN_BYTES / 100 * 100;
        let first = kept.folder.join("node-00.log");
        let told = format!(
            "---- node-00.log ----\n[... {} bytes are left out here; all of it: {} ...]\nxxx",
            length - shown,
            first.display()
        );
        assert!(logs.contains(&told), "{told}");
        let last = kept.folder.join("node-19.log");
        assert!(logs.contains(&format!("[... left out here: {} ...]", last.display())));
        let more = format!("[... 31 more files in {} ...]\n", kept.folder.display());
        assert!(logs.ends_with(&more), "{}", &logs[logs.len() - 200..]);
    }
}
