//! Encrypted requests: with the system's certificates, which say whom to trust, and with no other proof
//! of who a guest is.

use std::io;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

/// The one protocol that is spoken within.
const HTTP_1_1: &[u8] = b"http/1.1";

/// What begins encrypted connections.
///
/// # Errors
/// When the system has no certificates.
pub fn connector() -> anyhow::Result<TlsConnector> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map(|error| format!(": {error}"));
        bail!(
            "network: `https` needs to know whom to trust, and no certificate is found{}; install the \
             system's (Debian: ca-certificates), or name a file of them in SSL_CERT_FILE",
            why.unwrap_or_default()
        );
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("network: cannot set up TLS")?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Why a connection could not be encrypted, in the words of `wasi:http`.
pub fn failure(error: &io::Error) -> Error {
    let inner = error.get_ref();
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        Some(_) => Error::TlsProtocolError,
        None => super::exchange::failure(error),
    }
}
