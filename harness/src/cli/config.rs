//! `robust.toml`: where it is, and what it says as types.
//!
//! It knows what the tables mean and which kinds there are; what the keys of a profile may be is in
//! [`super::profile`]. It is read as a tree and not through serde, because every complaint is to name the line
//! of the very key or value it is about.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::arguments::Bin;
use super::profile::{Profile, ProfileReader, check_parents};
use crate::near_miss::Hint;
use crate::require::KnownNames;

/// The file's name.
const FILE: &str = "robust.toml";
/// The variable that names another one.
pub(super) const VARIABLE: &str = "ROBUST_CONFIG";

/// What `robust.toml` says.
#[derive(Debug)]
pub struct Config {
    path: PathBuf,
    text: String,
    pub(super) profiles: BTreeMap<String, Profile>,
    /// `[bin]`, each with its place in the text; the paths as from the file's folder.
    pub(super) bins: Vec<(usize, Bin)>,
    /// `[external.KIND]`: port name and address.
    pub(super) external: BTreeMap<String, BTreeMap<String, SocketAddr>>,
}

/// `robust.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}{hint}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
        /// Who named the file.
        hint: &'static str,
    },
    /// Something is wrong in it.
    #[error("{}:{line}: {problem}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it is about, what is wrong, and what is allowed.
        problem: String,
    },
}

/// Something is wrong at a place of the text, in bytes.
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) problem: String,
}

impl Config {
    /// Reads what `ROBUST_CONFIG` names, else the `robust.toml` nearest to `package`, a package's folder:
    /// there or in a folder above it, up to the workspace's.
    ///
    /// # Errors
    /// When the file cannot be read, or something in it is wrong. Without any file there is no error.
    pub fn find(
        package: &Path,
        env: &BTreeMap<String, String>,
        known: KnownNames<'_>,
    ) -> Result<Option<Self>, ConfigError> {
        let named = env.get(VARIABLE).filter(|path| !path.is_empty());
        let (path, hint) = match (named, nearest(package)) {
            (Some(named), _) => (PathBuf::from(named), " (ROBUST_CONFIG names it)"),
            (None, Some(path)) => (path, ""),
            (None, None) => return Ok(None),
        };
        let unreadable = |source| ConfigError::Unreadable {
            path: path.clone(),
            source,
            hint,
        };
        let text = std::fs::read_to_string(&path).map_err(unreadable)?;
        // Its folder is what its paths are relative to, and cases run in folders of their own.
        let path = std::path::absolute(&path).map_err(unreadable)?;
        Self::parse(path, text, known).map(Some)
    }

    /// Reads the text of the file at `path`, which is absolute.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn parse(path: PathBuf, text: String, known: KnownNames<'_>) -> Result<Self, ConfigError> {
        let reader = Reader {
            folder: path.parent().unwrap_or(&path),
            known,
        };
        match reader.read(&text) {
            Ok((profiles, bins, external)) => Ok(Self {
                path,
                text,
                profiles,
                bins,
                external,
            }),
            Err(Wrong { at, problem }) => Err(ConfigError::Wrong {
                path,
                line: line(&text, at),
                problem,
            }),
        }
    }

    /// An error at a place of the text.
    pub(super) fn wrong(&self, at: usize, problem: String) -> ConfigError {
        ConfigError::Wrong {
            path: self.path.clone(),
            line: line(&self.text, at),
            problem,
        }
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The file that counts for the package in this folder.
fn nearest(package: &Path) -> Option<PathBuf> {
    let mut files = package.ancestors().map(|folder| folder.join(FILE));
    let found = files.find(|file| file.exists())?;
    let folder = found.parent()?;
    // Only now, since manifests are long and most packages have no such file.
    let is_inside = folder == package
        || package
            .ancestors()
            .find(|folder| is_workspace(&folder.join("Cargo.toml")))
            .is_some_and(|workspace| folder.starts_with(workspace));
    is_inside.then_some(found)
}

fn is_workspace(manifest: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(manifest) else {
        return false;
    };
    let (manifest, _) = DeTable::parse_recoverable(&text);
    manifest.get_ref().contains_key("workspace")
}

/// A table's entries in the order of the file: the first complaint is about the first mistake.
pub(super) fn entries<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a str, usize, &'a Spanned<DeValue<'i>>)> {
    let entries = table.iter();
    let mut entries: Vec<_> = entries
        .map(|(key, value)| (&**key.get_ref(), key.span().start, value))
        .collect();
    entries.sort_by_key(|(_, at, _)| *at);
    entries
}

/// The table under this name.
pub(super) fn table<'a, 'i>(
    name: &str,
    value: &'a Spanned<DeValue<'i>>,
    at: usize,
) -> Result<&'a DeTable<'i>, Wrong> {
    let not_a_table = || Wrong {
        at,
        problem: format!("`{name}` is a table, `[{name}]`, and not {}", what(value)),
    };
    value.get_ref().as_table().ok_or_else(not_a_table)
}

/// A value's type, for messages.
pub(super) fn what(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The line of a place of the text.
fn line(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

/// A path as from the file's folder.
pub(super) fn path_from(folder: &Path, path: &str) -> String {
    folder.join(path).to_string_lossy().into_owned()
}

struct Reader<'a> {
    folder: &'a Path,
    known: KnownNames<'a>,
}

type Tables = (
    BTreeMap<String, Profile>,
    Vec<(usize, Bin)>,
    BTreeMap<String, BTreeMap<String, SocketAddr>>,
);

impl Reader<'_> {
    fn read(&self, text: &str) -> Result<Tables, Wrong> {
        let root = DeTable::parse(text).map_err(|error| Wrong {
            at: error.span().map_or(0, |span| span.start),
            problem: error.message().trim().replace('\n', "; "),
        })?;
        let mut tables = Tables::default();
        for (key, at, value) in entries(root.get_ref()) {
            match key {
                "profile" => tables.0 = self.profiles(table(key, value, at)?)?,
                "bin" => tables.1 = self.bins(table(key, value, at)?)?,
                "external" => tables.2 = self.external(table(key, value, at)?)?,
                _ => {
                    let hint = Hint::new(key, ["profile", "bin", "external"]);
                    let near = "options belong in a profile, such as [profile.default]";
                    return Err(Wrong {
                        at,
                        problem: format!("unknown key `{key}`{hint} ({near})"),
                    });
                }
            }
        }
        check_parents(&tables.0)?;
        Ok(tables)
    }

    fn profiles(&self, profiles: &DeTable<'_>) -> Result<BTreeMap<String, Profile>, Wrong> {
        let reader = ProfileReader::new(self.folder, self.known);
        let mut found = BTreeMap::new();
        for (name, at, value) in entries(profiles) {
            let table = table(&format!("profile.{name}"), value, at)?;
            found.insert(name.to_owned(), reader.read(name, table)?);
        }
        Ok(found)
    }

    fn bins(&self, bins: &DeTable<'_>) -> Result<Vec<(usize, Bin)>, Wrong> {
        let mut found = Vec::new();
        for (key, at, value) in entries(bins) {
            let wrong = |problem| Wrong { at, problem };
            let Some(path) = value.get_ref().as_str().filter(|path| !path.is_empty()) else {
                let what = what(value);
                let problem = format!("bin.{key} is the path of a program, as a string, and not {what}");
                return Err(wrong(if what == "a string" {
                    format!("bin.{key} is empty: it is the path of a program")
                } else {
                    problem
                }));
            };
            let bin: Bin = format!("{key}={}", path_from(self.folder, path))
                .parse()
                .map_err(|_| wrong(format!("bin.{key}: the key is KIND or \"KIND@VERSION\"")))?;
            self.check_kind(&format!("bin.{key}"), &bin.kind, at)?;
            found.push((at, bin));
        }
        Ok(found)
    }

    fn external(
        &self,
        external: &DeTable<'_>,
    ) -> Result<BTreeMap<String, BTreeMap<String, SocketAddr>>, Wrong> {
        let mut found = BTreeMap::new();
        for (kind, at, value) in entries(external) {
            let name = format!("external.{kind}");
            self.check_kind(&name, kind, at)?;
            let ports = table(&name, value, at)?;
            let mut addresses = BTreeMap::new();
            for (port, at, value) in entries(ports) {
                let address = value.get_ref().as_str().map(str::parse);
                let Some(Ok(address)) = address else {
                    let given = value.get_ref().as_str();
                    let given = given.map_or_else(|| what(value).to_owned(), |text| format!("{text:?}"));
                    return Err(Wrong {
                        at,
                        problem: format!(
                            "{name}.{port} is an address with a port, such as \"127.0.0.1:1883\" or \
                             \"[::1]:1883\" (names are not resolved), and not {given}"
                        ),
                    });
                };
                addresses.insert(port.to_owned(), address);
            }
            if addresses.is_empty() {
                return Err(Wrong {
                    at,
                    problem: format!(
                        "{name} has no port: it tells each one's address, NAME = \"127.0.0.1:1883\""
                    ),
                });
            }
            found.insert(kind.to_owned(), addresses);
        }
        Ok(found)
    }

    fn check_kind(&self, name: &str, kind: &str, at: usize) -> Result<(), Wrong> {
        if self.known.kinds.contains(&kind) {
            return Ok(());
        }
        let hint = Hint::new(kind, self.known.kinds.iter().copied());
        Err(Wrong {
            at,
            problem: format!("{name}: no kind is called `{kind}`{hint}"),
        })
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
