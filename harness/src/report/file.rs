//! Reports on disk: whole or not at all.

use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::ops::ControlFlow;
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

/// A file that is being written, so that readers see the old one or the new one, never a part: into a temporary
/// file in the same folder, then renamed. What is not a regular file (`/dev/stdout`) is written to.
struct Replacement {
    path: PathBuf,
    into: Into,
}

enum Into {
    Temporary(tempfile::NamedTempFile),
    Itself(File),
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError { action, path, source }
}

impl Replacement {
    /// Begins with nothing. Makes the folders.
    fn create(path: &Path) -> Result<Self, WriteError> {
        let is_other = |metadata: Metadata| !metadata.is_file() && !metadata.is_dir();
        let into = if path.metadata().is_ok_and(is_other) {
            Into::Itself(File::create(path).map_err(failed("write", path))?)
        } else {
            Into::Temporary(temporary(path)?)
        };
        let path = path.to_owned();
        Ok(Self { path, into })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let written = match &mut self.into {
            Into::Temporary(file) => file.write_all(bytes),
            Into::Itself(file) => file.write_all(bytes),
        };
        written.map_err(failed("write", &self.path))
    }

    /// Puts it in its place. Without that nothing is left of it.
    fn finish(self) -> Result<(), WriteError> {
        if let Into::Temporary(file) = self.into {
            file.persist(&self.path)
                .map_err(|error| failed("replace", &self.path)(error.error))?;
        }
        Ok(())
    }
}

fn temporary(path: &Path) -> Result<tempfile::NamedTempFile, WriteError> {
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
    builder
        .tempfile_in(folder)
        .map_err(failed("create a file in", folder))
}

/// Replaces a file.
///
/// # Errors
/// When it or its folder cannot be written to.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = Replacement::create(path)?;
    file.write(bytes)?;
    file.finish()
}

/// The same text on its way into several files, each of which is replaced whole or not at all. One that cannot
/// be written is given up; the others are not.
pub(super) struct Files {
    open: Vec<Replacement>,
    errors: Vec<WriteError>,
}

impl Files {
    /// Begins with nothing. Makes the folders.
    pub(super) fn create<P: AsRef<Path>>(paths: &[P]) -> Self {
        let mut errors = Vec::new();
        let create = |path: &P| Replacement::create(path.as_ref());
        let open = paths
            .iter()
            .filter_map(|path| create(path).map_err(|error| errors.push(error)).ok())
            .collect();
        Self { open, errors }
    }

    /// Whether there is nothing left to be written to.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Appends to each; breaks where none is left.
    pub(super) fn write(&mut self, bytes: &[u8]) -> ControlFlow<()> {
        self.open.retain_mut(|file| {
            let written = file.write(bytes);
            written.map_err(|error| self.errors.push(error)).is_ok()
        });
        if self.open.is_empty() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Puts them in their places, and returns what went wrong.
    pub(super) fn finish(mut self) -> Vec<WriteError> {
        for file in self.open {
            self.errors.extend(file.finish().err());
        }
        self.errors
    }

    /// Gives all up, and returns what went wrong before.
    pub(super) fn abandon(self) -> Vec<WriteError> {
        self.errors
    }
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

    fn write(paths: &[&Path], parts: &[&str]) -> Vec<WriteError> {
        let mut files = Files::create(paths);
        for part in parts {
            if files.write(part.as_bytes()).is_break() {
                break;
            }
        }
        files.finish()
    }

    #[test]
    fn a_file_is_replaced_whole_and_an_error_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/junit.xml");
        assert!(write(&[&path], &["one"]).is_empty());
        assert!(write(&[&path], &["t", "wo"]).is_empty());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");

        let mut given_up = Files::create(&[&path]);
        assert!(given_up.write(b"three").is_continue() && !given_up.is_empty());
        assert!(given_up.abandon().is_empty());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1);

        let below_a_file = path.join("c.xml");
        let errors = write(&[&below_a_file], &["", ""]);
        assert_eq!(errors.len(), 1);
        let error = &errors[0];
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(error.to_string().contains("--report-dir"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_written_costs_the_others_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        let (first, last, taken) = (path("a/junit.xml"), path("b/junit.xml"), path("c"));
        std::fs::create_dir(&taken).unwrap();
        let paths = [&*first, Path::new("/dev/full"), &taken, &last];
        let errors = write(&paths, &["one", "two"]);
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(
            errors[0].contains("write /dev/full") && errors[1].contains("replace"),
            "{errors:?}"
        );
        for path in [first, last] {
            assert_eq!(std::fs::read(&path).unwrap(), b"onetwo");
            assert_eq!(path.parent().unwrap().read_dir().unwrap().count(), 1);
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 3);
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
