//! How the crate `rumqttc` reaches a broker: with TLS where there is somebody to trust for it. Nothing else is
//! trusted then, not what the system trusts.

use std::path::Path;
use std::sync::Arc;

use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::client::Broker;

/// Over which transport `broker` is reached; the error is in words.
pub(crate) fn transport(broker: &Broker) -> Result<Transport, String> {
    let Some(authority) = &broker.authority else {
        return Ok(Transport::tcp());
    };
    let config = config(authority).map_err(|error| format!("cannot use {}: {error}", authority.display()))?;
    Ok(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(
        config,
    ))))
}

fn config(authority: &Path) -> Result<rustls::ClientConfig, Box<dyn std::error::Error>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    // The process may have several providers.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
