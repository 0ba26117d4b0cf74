//! Certificates on disk. A folder of them is there with all its files or not at all, and a file is replaced as a
//! whole: other processes and other tasks may be reading.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::TlsError;
use super::authority::Authority;
use super::certificate::{Issued, Subject};

pub(super) const AUTHORITY: &str = "authority.pem";
pub(super) const CERTIFICATE: &str = "certificate.pem";
pub(super) const KEY: &str = "key.pem";
/// The names beside the usual ones that the certificate was asked for, one a line.
const NAMES: &str = "names.txt";

/// The names that the files in `folder` were made for; `None` when there are no files.
pub(super) fn names(folder: &Path) -> Result<Option<BTreeSet<String>>, TlsError> {
    match read(&folder.join(NAMES)) {
        Ok(text) => Ok(Some(text.lines().map(str::to_owned).collect())),
        Err(TlsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a folder with the files of `subject`, unless there is one.
pub(super) fn make(
    folder: &Path,
    authority: &Authority,
    issued: &Issued,
    subject: &Subject,
) -> Result<(), TlsError> {
    make_folder(folder, |making| {
        write(&making.join(AUTHORITY), authority.certificate())?;
        write_secret(&making.join(KEY), &issued.key)?;
        write(&making.join(CERTIFICATE), &issued.certificate)?;
        write(&making.join(NAMES), &lines(subject))
    })
}

/// Replaces the key and the certificate.
pub(super) fn replace(folder: &Path, issued: &Issued, subject: &Subject) -> Result<(), TlsError> {
    // Two tasks must not leave the key of one and the certificate of the other.
    static REPLACING: Mutex<()> = Mutex::new(());
    let _turn = REPLACING.lock().unwrap_or_else(PoisonError::into_inner);
    let making = tempfile::Builder::new()
        .prefix(".renewing-")
        .tempdir_in(folder)
        .map_err(|source| cannot_write(folder, source))?;
    let new = |name: &str| making.path().join(name);
    write_secret(&new(KEY), &issued.key)?;
    write(&new(CERTIFICATE), &issued.certificate)?;
    write(&new(NAMES), &lines(subject))?;
    for name in [NAMES, KEY, CERTIFICATE] {
        let path = folder.join(name);
        std::fs::rename(new(name), &path).map_err(|source| cannot_write(&path, source))?;
    }
    Ok(())
}

fn lines(subject: &Subject) -> String {
    subject.extra().iter().map(|name| format!("{name}\n")).collect()
}

/// Makes a folder with what `fill` writes into it, for whoever is first; who comes second finds that one.
pub(super) fn make_folder(
    folder: &Path,
    fill: impl FnOnce(&Path) -> Result<(), TlsError>,
) -> Result<(), TlsError> {
    let parent = folder.parent().unwrap_or(folder);
    let making = std::fs::create_dir_all(parent)
        .and_then(|()| tempfile::Builder::new().prefix(".making-").tempdir_in(parent))
        .map_err(|source| cannot_write(folder, source))?;
    fill(making.path())?;
    match std::fs::rename(making.path(), folder) {
        Ok(()) => {
            // It is no longer where it was made, and stays.
            let _renamed: PathBuf = making.keep();
            Ok(())
        }
        // A folder is renamed over an empty one at most.
        Err(_) if folder.is_dir() => Ok(()),
        Err(source) => Err(cannot_write(folder, source)),
    }
}

pub(super) fn read(path: &Path) -> Result<String, TlsError> {
    std::fs::read_to_string(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    write_new(path, text, 0o644)
}

/// Writes what nobody but the owner may read.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), TlsError> {
    write_new(path, text, 0o600)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| cannot_write(path, source))
}

fn cannot_write(path: &Path, source: io::Error) -> TlsError {
    TlsError::Write {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_second_finds_what_the_first_made_and_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("a/tls");
        make_folder(&folder, |making| {
            // Another process is quicker.
            make_folder(&folder, |making| write(&making.join("who"), "first"))?;
            write(&making.join("who"), "second")
        })
        .unwrap();
        assert_eq!(read(&folder.join("who")).unwrap(), "first");
        assert_eq!(std::fs::read_dir(home.path().join("a")).unwrap().count(), 1);
    }
}
