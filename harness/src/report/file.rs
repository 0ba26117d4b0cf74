//! Reports on disk: whole or not at all.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}; choose another place with --report-dir or --junit", path.display())]
pub struct WriteError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// How the names of files that are being written begin and end.
pub(crate) const TORN: (&str, &str) = (".robust-", ".tmp");

/// Writes a file so that readers see the old one or the new one, never a part: into a temporary file in the
/// same folder, then renamed. Makes the folders. What is not a regular file (`/dev/stdout`) is written to.
///
/// # Errors
/// Names the path and what could not be done with it.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| WriteError { action, path, source }
    };
    if path
        .metadata()
        .is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
    {
        return std::fs::write(path, bytes).map_err(failed("write", path));
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(failed("create the folder", folder))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(TORN.0).suffix(TORN.1);
    #[cfg(unix)]
    {
        // As any file a program makes: the umask decides, not the care for temporary files.
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder
        .tempfile_in(folder)
        .map_err(failed("create a file in", folder))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    file.persist(path)
        .map_err(|error| failed("replace", path)(error.error))?;
    Ok(())
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> Result<(), WriteError> {
    std::fs::remove_file(path).map_err(|source| WriteError {
        action: "remove",
        path: path.to_owned(),
        source,
    })
}

/// `path` from `folder`, where both are absolute: for links that survive a move of both.
pub(super) fn relative(path: &Path, folder: &Path) -> PathBuf {
    if !path.is_absolute() || !folder.is_absolute() {
        return path.to_owned();
    }
    let shared = path
        .components()
        .zip(folder.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = folder.components().skip(shared).map(|_| Path::new(".."));
    let down = path
        .components()
        .skip(shared)
        .map(|part| Path::new(part.as_os_str()));
    up.chain(down).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_an_error_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/junit.xml");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1);

        let below_a_file = path.join("c.xml");
        let error = write_atomically(&below_a_file, b"").unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(error.to_string().contains("--report-dir"), "{error}");
    }

    #[test]
    fn links_are_relative_to_the_report() {
        let folder = Path::new("/t/robust/p/s");
        assert_eq!(
            relative(Path::new("/t/robust/p/s/cases/x"), folder),
            Path::new("cases/x")
        );
        assert_eq!(
            relative(Path::new("/t/other/x"), folder),
            Path::new("../../../other/x")
        );
    }
}
