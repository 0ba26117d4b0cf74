//! The certificate authority of a run: in the run's temporary folder, where all processes of the run find it, made
//! by whichever of them needs it first. Its key never leaves that folder, and goes with it.

use std::path::Path;

use rcgen::{Issuer, KeyPair};

use super::{TlsError, certificate, files};

const FOLDER: &str = "authority";

/// Signs certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// The authority of the run with this temporary folder.
    pub(super) fn of_run(run_folder: &Path) -> Result<Self, TlsError> {
        let folder = run_folder.join(FOLDER);
        if !folder.exists() {
            make(&folder, run_folder)?;
        }
        let key = files::read(&folder.join(files::KEY))?;
        let key = KeyPair::from_pem(&key).map_err(|source| cannot_make(run_folder, source))?;
        Ok(Self {
            certificate: files::read(&folder.join(files::CERTIFICATE))?,
            // Signing takes the name of what stands in the authority's certificate, and no date.
            issuer: Issuer::new(certificate::of_authority(&name(run_folder), 0), key),
        })
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// In PEM.
    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }
}

fn make(folder: &Path, run_folder: &Path) -> Result<(), TlsError> {
    let now_ms = robust_test_harness::wall_clock::unix_ms();
    let make = || {
        let key = KeyPair::generate()?;
        let certificate = certificate::of_authority(&name(run_folder), now_ms).self_signed(&key)?;
        Ok((certificate.pem(), key.serialize_pem()))
    };
    let (certificate, key) = make().map_err(|source| cannot_make(run_folder, source))?;
    files::make_folder(folder, |making| {
        files::write_secret(&making.join(files::KEY), &key)?;
        files::write(&making.join(files::CERTIFICATE), &certificate)
    })
}

/// The same in every process of a run, and in no other run.
fn name(run_folder: &Path) -> String {
    let run = run_folder.file_name().unwrap_or(run_folder.as_os_str());
    format!("authority of {}", run.to_string_lossy())
}

fn cannot_make(run_folder: &Path, source: rcgen::Error) -> TlsError {
    TlsError::Make {
        holder: name(run_folder),
        source: source.into(),
    }
}
