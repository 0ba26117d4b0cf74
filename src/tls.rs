//! TLS: the files by which nodes and clients prove who they are, under one certificate authority a run.
//!
//! A start function gives [`Node::tls`](crate::node::Node::tls) to its server, a connect function gives
//! [`ClientLink::tls`](crate::client::ClientLink::tls) to its client; everything of one run trusts the same authority
//! and nothing else does. Files are made when they are first asked for, and stay over restarts; a scenario replaces
//! them with [`TlsFiles::renew`], or with bad ones by [`TlsFiles::spoil`]. It knows no server, and not whether one
//! uses TLS at all.
//!
//! Keys come from the system's random source and not from the seed: they must be secret, and decide nothing that a
//! scenario sees.
//!
//! ```
//! use robust_test::prelude::*;
//! # struct Redis;
//! # impl Service for Redis { type Client = (); type Settings = (); }
//!
//! async fn redis(node: &mut Node<Redis>) -> Result<Instance> {
//!     let tls = node.tls()?;
//!     let server = node.command("redis-server").args(["--port", "0", "--tls-port"]);
//!     let server = server.arg(node.port("redis").to_string());
//!     let server = server.arg("--tls-ca-cert-file").arg(&tls.authority);
//!     let server = server.arg("--tls-cert-file").arg(&tls.certificate);
//!     let server = server.arg("--tls-key-file").arg(&tls.key);
//!     Ok(server.ready_when(tcp("redis")).spawn().await?)
//! }
//!
//! async fn clients_refuse_an_expired_certificate(server: Server<Redis>) -> Result {
//!     server.tls()?.spoil(Flaw::Expired)?;
//!     server.restart().await?;
//!     // ..
//!     server.tls()?.renew()?;
//!     server.restart().await?;
//!     // ..
//!     Ok(())
//! }
//! ```

mod authority;
mod certificate;
mod files;

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use robust_test_harness::seed::stable_hash;

use authority::Authority;
pub(crate) use certificate::Subject;

/// The certificate of a node or client, its key and the authority that it and its peers trust: files in the folder
/// of that node or client, in PEM. Their paths stay as they are when their contents are replaced.
///
/// Certificates are valid from a day before they are made to 30 days after; keys are for ECDSA on P-256.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TlsFiles {
    /// The certificate of the run's authority: what to trust.
    pub authority: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// The certificate's private key, PKCS#8, readable by its owner alone.
    pub key: PathBuf,
    folder: PathBuf,
    run_folder: PathBuf,
    subject: Subject,
}

/// What is wrong with a bad certificate. All else about it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Flaw {
    /// It was valid until yesterday.
    Expired,
    /// It is valid from tomorrow on.
    NotYetValid,
    /// It is somebody else's: its only name, also its common name, is `elsewhere.invalid`.
    WrongName,
    /// Signed by an authority that nobody knows.
    OtherAuthority,
    /// Signed by its own key.
    SelfSigned,
}

/// A certificate could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A certificate cannot hold a name.
    #[error("the certificate of `{holder}` cannot hold the name {name:?}: {why}")]
    Name {
        /// The node or client.
        holder: String,
        /// The name.
        name: String,
        /// What a name must be like.
        why: &'static str,
    },
    /// A file is not there or cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder cannot be made.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key or certificate cannot be made.
    #[error("cannot make the certificate of `{holder}`")]
    Make {
        /// The node or client, or the authority.
        holder: String,
        /// What the library says.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// The name of the folder of a user's certificate: readable, and no other user's.
pub(crate) fn folder_of_user(user: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if user.bytes().all(is_plain) {
        return format!("tls-{user}");
    }
    let readable: String = user.chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    format!("tls-{readable}.{:016x}", stable_hash(user))
}

impl TlsFiles {
    /// The files in `folder`, made if they are not there, or if they lack a name of `subject`.
    pub(crate) fn obtain(folder: PathBuf, run_folder: &Path, subject: Subject) -> Result<Self, TlsError> {
        subject.check()?;
        let mut files = Self {
            authority: folder.join(files::AUTHORITY),
            certificate: folder.join(files::CERTIFICATE),
            key: folder.join(files::KEY),
            run_folder: run_folder.to_owned(),
            folder,
            subject,
        };
        if files::names(&files.folder)?.is_none() {
            let (authority, issued) = files.issue(None)?;
            files::make(&files.folder, &authority, &issued, &files.subject)?;
        }
        // Another task may have been first, with other names.
        let names = files::names(&files.folder)?.unwrap_or_default();
        if files.subject.add_names(names) {
            files.renew()?;
        }
        Ok(files)
    }

    /// Makes a new key and certificate with the same names, in place of what is there, also of a bad one.
    ///
    /// Key and certificate are replaced one after the other, each at once: a server that watches its files may see
    /// the new key with the old certificate for a moment.
    ///
    /// # Errors
    /// When they cannot be made or written, as after the end of the case.
    pub fn renew(&self) -> Result<(), TlsError> {
        let (_, issued) = self.issue(None)?;
        files::replace(&self.folder, &issued, &self.subject)
    }

    /// As [`TlsFiles::renew`], but a certificate that peers have to refuse; the authority's stays as it is. It stays
    /// over restarts as well, until it is renewed.
    ///
    /// # Errors
    /// As [`TlsFiles::renew`].
    pub fn spoil(&self, flaw: Flaw) -> Result<(), TlsError> {
        let (_, issued) = self.issue(Some(flaw))?;
        files::replace(&self.folder, &issued, &self.subject)
    }

    /// The text of [`TlsFiles::authority`], for clients that are configured in memory.
    ///
    /// # Errors
    /// When it cannot be read, as after the end of the case.
    pub fn authority_pem(&self) -> Result<String, TlsError> {
        files::read(&self.authority)
    }

    /// The text of [`TlsFiles::certificate`] as it is now.
    ///
    /// # Errors
    /// As [`TlsFiles::authority_pem`].
    pub fn certificate_pem(&self) -> Result<String, TlsError> {
        files::read(&self.certificate)
    }

    /// The text of [`TlsFiles::key`] as it is now.
    ///
    /// # Errors
    /// As [`TlsFiles::authority_pem`].
    pub fn key_pem(&self) -> Result<String, TlsError> {
        files::read(&self.key)
    }

    fn issue(&self, flaw: Option<Flaw>) -> Result<(Authority, certificate::Issued), TlsError> {
        let authority = Authority::of_run(&self.run_folder)?;
        let now_ms = robust_test_harness::wall_clock::unix_ms();
        let issued = certificate::issue(&authority, &self.subject, flaw, now_ms)?;
        Ok((authority, issued))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not yet valid",
            Self::WrongName => "of another name",
            Self::OtherAuthority => "of another authority",
            Self::SelfSigned => "self-signed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_folders_of_their_own_with_safe_names() {
        let long = "ü".repeat(64);
        let users = ["alice", "Alice", "a/b", "a.b", "ab", "../ab", "..", &long];
        let folders: std::collections::BTreeSet<String> =
            users.iter().map(|user| folder_of_user(user)).collect();
        assert_eq!(folders.len(), users.len());
        assert!(folders.contains("tls-alice"));
        for folder in folders {
            assert!(folder.len() <= 100 && !folder.contains('/'), "{folder}");
        }
    }
}
