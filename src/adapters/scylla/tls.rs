//! Encrypted connections: which certificates are trusted.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{ConnectError, TlsOptions};

/// The client's side of TLS. A node's certificate must name the address by which the node is reached.
pub(super) fn config(options: &TlsOptions) -> Result<Arc<ClientConfig>, ConnectError> {
    let mut roots = RootCertStore::empty();
    match &options.ca_file {
        Some(path) => {
            let unusable =
                |cause: &dyn std::fmt::Display| ConnectError::CaFile { path: path.clone(), cause: cause.to_string() };
            let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"it holds no certificate"));
            }
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
            if roots.is_empty() {
                let causes: Vec<_> = system.errors.iter().map(ToString::to_string).collect();
                return Err(ConnectError::NoSystemCa { cause: causes.join("; ") });
            }
        }
    }
    // Named, and not the process's default: there may be none yet.
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
        .map_err(|error| ConnectError::NoSystemCa { cause: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let error = |text: &str| {
            std::fs::write(&path, text).unwrap();
            config(&TlsOptions { ca_file: Some(path.clone()) }).unwrap_err().to_string()
        };
        assert!(error("").contains("ca.pem") && error("").contains("no certificate"), "{}", error(""));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(error(broken).contains("ca.pem"), "{}", error(broken));
        let absent = config(&TlsOptions { ca_file: Some(folder.path().join("absent.pem")) }).unwrap_err().to_string();
        assert!(absent.contains("absent.pem") && absent.contains("cql.tls_ca_file"), "{absent}");
    }
}
