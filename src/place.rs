//! What a node keeps over its restarts: its name, ports, files and log. A node is *prepared* when it has a place:
//! its addresses are known then, to itself and to the other members of its cluster, and nothing runs yet.

mod ports;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use robust_test_harness::param::{Environment, INSTALLED};
use robust_test_harness::variant::Variants;

use crate::disk::Disk;
use crate::front::Fronts;
use crate::log::Log;
use crate::node_clock::NodeClock;
use crate::oracle::Oracles;
use crate::seat::Seat;
use crate::tls::{Subject, TlsError, TlsFiles};
use crate::variant;

use ports::Port;
pub(crate) use ports::View;

/// The parts of a node that do not depend on its service's type.
#[derive(Debug)]
pub(crate) struct Place {
    name: String,
    /// From 1 on, among the nodes of its cluster.
    number: usize,
    kind: &'static str,
    /// The kind's `program`.
    program: Option<&'static str>,
    environment: Arc<Environment>,
    variants: Variants,
    /// The version of its program, where a restart changed it.
    version: Mutex<Option<String>>,
    /// `<case folder>/<node>`, or where the node outlives its case.
    folder: PathBuf,
    log: Log,
    ports: Mutex<BTreeMap<String, Port>>,
    starts: AtomicU32,
    /// Its first process; 0 before its first start, and inside this process.
    leader: AtomicU32,
    oracles: Mutex<Oracles>,
    /// What others reach it through, of a node that is `#[proxied]`.
    fronts: Option<Fronts>,
    /// What its data is on, of a node that is `#[disk]`.
    disk: Option<Disk>,
    /// The host that it is on, of a node that is `#[hosts]`.
    seat: Option<Seat>,
    clock: NodeClock,
}

/// A kind's program is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The kind's attribute names none.
    #[error("kind `{kind}` names no program: add `program = \"..\"` to its attribute")]
    NotDeclared {
        /// The kind's name.
        kind: &'static str,
    },
    /// It is not installed.
    #[error(
        "program `{program}` was not found on PATH; install it or give --bin {kind}=PATH",
        program = program.display()
    )]
    NotFound {
        /// The kind's name.
        kind: &'static str,
        /// The program's name or path.
        program: PathBuf,
    },
}

/// A file of a node could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {} for node `{node}`", path.display())]
pub struct WriteFileError {
    /// The node's name.
    pub node: String,
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl Place {
    pub(crate) fn new(
        name: String,
        number: usize,
        kind: &'static str,
        program: Option<&'static str>,
        environment: Arc<Environment>,
        home: &Path,
    ) -> Self {
        Self {
            number,
            folder: home.join(&name),
            log: Log::new(home.join(format!("{name}.log"))),
            name,
            kind,
            program,
            environment,
            variants: Variants::default(),
            version: Mutex::default(),
            ports: Mutex::default(),
            starts: AtomicU32::new(0),
            leader: AtomicU32::new(0),
            oracles: Mutex::default(),
            fronts: None,
            disk: None,
            seat: None,
            clock: NodeClock::default(),
        }
    }

    /// The same place with these variants.
    pub(crate) fn with_variants(mut self, variants: Variants) -> Self {
        self.variants = variants;
        self
    }

    /// The same place behind these proxies.
    pub(crate) fn behind(mut self, fronts: Fronts) -> Self {
        self.fronts = Some(fronts);
        self
    }

    /// The same place with its data on this disk, which is mounted where [`Place::disk_folders`] says.
    pub(crate) fn on(mut self, disk: Disk) -> Self {
        self.disk = Some(disk);
        self
    }

    /// The same place on a host of its own.
    pub(crate) fn seated(mut self, seat: Seat) -> Self {
        self.seat = Some(seat);
        self
    }

    /// The host that it is on, of a node that is `#[hosts]`.
    pub(crate) fn seat(&self) -> Option<&Seat> {
        self.seat.as_ref()
    }

    /// What its programs take for the time.
    pub(crate) fn clock(&self) -> &NodeClock {
        &self.clock
    }

    /// Where its disk keeps what is on it, and where that is mounted.
    pub(crate) fn disk_folders(&self) -> (PathBuf, PathBuf) {
        (self.folder.join("disk"), self.folder.join("data"))
    }

    /// What its data is on, of a node that is `#[disk]`.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// From now on it is a node of the case called `case`: nothing of one before counts any more.
    pub(crate) fn enter(&self, case: &str, folder: &Path) -> io::Result<()> {
        self.oracles().allow_nothing();
        self.log.enter(case, folder)
    }

    /// The addresses of its ports where it runs somewhere else and nothing here starts it.
    pub(crate) fn external(&self) -> Option<&BTreeMap<String, SocketAddr>> {
        self.environment.external.get(self.kind)
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// What its log is searched for.
    pub(crate) fn oracles(&self) -> MutexGuard<'_, Oracles> {
        self.oracles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The value of one of the kind's variants.
    ///
    /// # Panics
    /// When the kind has no such variant.
    #[track_caller]
    pub(crate) fn variant(&self, axis: &str) -> &str {
        variant::value(&self.variants, axis, || {
            format!("kind `{}` of node `{}`", self.kind, self.name)
        })
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// 1 for the first start, 2 for the next.
    pub(crate) fn next_start(&self) -> u32 {
        self.starts.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How often it was started.
    pub(crate) fn starts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed)
    }

    /// The process group that it runs as, since its last start.
    pub(crate) fn leader(&self) -> Option<u32> {
        Some(self.leader.load(Ordering::Relaxed)).filter(|leader| *leader != 0)
    }

    pub(crate) fn set_leader(&self, leader: u32) {
        self.leader.store(leader, Ordering::Relaxed);
    }

    /// The proxies in front of its ports.
    pub(crate) fn fronts(&self) -> Option<&Fronts> {
        self.fronts.as_ref()
    }

    /// Where its files are, if it has any.
    pub(crate) fn folder_path(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn folder(&self) -> io::Result<&Path> {
        std::fs::create_dir_all(&self.folder)?;
        Ok(&self.folder)
    }

    pub(crate) fn data_dir(&self) -> io::Result<PathBuf> {
        let folder = self.folder.join("data");
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Removes the folder for the node's data with everything in it.
    pub(crate) fn wipe_data(&self) -> io::Result<()> {
        let folder = self.folder.join("data");
        if self.disk.is_some() {
            // The folder itself is where the disk is mounted.
            return remove_contents(&folder);
        }
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    pub(crate) fn write_file(&self, name: &Path, contents: &[u8]) -> Result<PathBuf, WriteFileError> {
        let path = self.folder.join(name);
        let write = || {
            let inside = name.components().all(|part| matches!(part, Component::Normal(_)));
            if !inside {
                let message = "the name leads out of the node's folder";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&path, contents)
        };
        match write() {
            Ok(()) => Ok(path),
            Err(source) => Err(WriteFileError {
                node: self.name.clone(),
                path,
                source,
            }),
        }
    }

    /// The node's certificate and key, valid for these names as well.
    pub(crate) fn tls<N: Into<String>>(
        &self,
        names: impl IntoIterator<Item = N>,
    ) -> Result<TlsFiles, TlsError> {
        // `<run folder>/<case>/<node>`, as in `Case::run_folder`, also where the node outlives its case.
        let run_folder = self.folder.ancestors().nth(2).unwrap_or(&self.folder);
        let host = self.seat.as_ref().map(|seat| seat.host().ip().to_string());
        let names = names.into_iter().map(Into::into).chain(host);
        let subject = Subject::node(&self.name, names);
        TlsFiles::obtain(self.folder.join("tls"), run_folder, subject)
    }

    pub(crate) fn program(&self) -> Result<PathBuf, ProgramError> {
        program(self.kind, self.program, &self.version(), &self.environment)
    }

    fn changed_version(&self) -> MutexGuard<'_, Option<String>> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of its program that it has from its next start on.
    pub(crate) fn version(&self) -> String {
        let drawn = || variant::version(&self.variants).to_owned();
        self.changed_version().clone().unwrap_or_else(drawn)
    }

    pub(crate) fn set_version(&self, version: String) {
        *self.changed_version() = Some(version);
    }

    /// What to execute for `program`: `--bin`'s path if it is the kind's own, else as found on the path.
    pub(crate) fn resolve(&self, program: &Path) -> Result<PathBuf, ProgramError> {
        if Some(program) == self.program.map(Path::new) {
            return self.program();
        }
        if program.components().count() > 1 {
            return Ok(program.to_owned());
        }
        // Any kind's name but this one's: only this kind's own program is what `--bin` replaces.
        let found = program
            .to_str()
            .and_then(|name| self.environment.program("", name));
        found.ok_or_else(|| ProgramError::NotFound {
            kind: self.kind,
            program: program.to_owned(),
        })
    }
}

fn remove_contents(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The path of a version of a kind's program.
pub(crate) fn program(
    kind: &'static str,
    program: Option<&'static str>,
    version: &str,
    environment: &Environment,
) -> Result<PathBuf, ProgramError> {
    let program = program.ok_or(ProgramError::NotDeclared { kind })?;
    environment
        .program_version(kind, version, program)
        .ok_or_else(|| ProgramError::NotFound {
            kind,
            program: program.into(),
        })
}

/// Why a kind cannot run here, if it cannot.
pub(crate) fn unavailable(
    kind: &'static str,
    declared: Option<&'static str>,
    environment: &Environment,
) -> Option<String> {
    declared?;
    // One that already runs somewhere needs no program here.
    if environment.external.contains_key(kind) {
        return None;
    }
    program(kind, declared, INSTALLED, environment)
        .err()
        .map(|error| error.to_string())
}
