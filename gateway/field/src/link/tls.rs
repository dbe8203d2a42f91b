//! Modbus over TLS (MODBUS/TCP Security, v36): both sides show a certificate, TLS 1.2 at least.
//!
//! The three files are read anew for every connection, so a certificate that was renewed is used at the next one, and
//! `guanjia check` reads them as well: a file that cannot be used is found before anything runs. Nothing is trusted but
//! the given authority; the certificates of the machine do not count, and an authority may take a certificate back
//! ([`revocation`]). The crypto provider is named here and not taken from the process, which may have none.
//!
//! The role of the gateway is a text in its own certificate, and the device judges what it allows; [`TlsFiles::role`] tells
//! the technician which one is shown.

mod der;
pub mod revocation;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use self::revocation::Refusal;
use self::revocation::{Revocations, Verifier, refusal};
use super::{CONNECT_MAX, LinkError};

/// The registered port of Modbus over TLS.
pub const MODBUS_TLS_PORT: u16 = 802;

/// Whom a line believes over TLS, and who it says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that may sign the device's certificate, PEM.
    pub ca: PathBuf,
    /// What those authorities took back; `None`: nobody is asked.
    pub crl: Option<Revocations>,
    /// The gateway's certificate and those between it and its authority, PEM.
    pub certificate: PathBuf,
    /// The private key of that certificate, PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
    /// The name or address the device's certificate must be made out to.
    pub server_name: String,
}

/// Which of the settings of TLS is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPart {
    /// [`TlsFiles::ca`]
    Ca,
    /// [`TlsFiles::crl`]
    Crl,
    /// [`TlsFiles::certificate`]
    Certificate,
    /// [`TlsFiles::key`]
    Key,
    /// [`TlsFiles::server_name`]
    ServerName,
}

/// Why the settings of TLS cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TlsError {
    /// Which of them.
    pub part: TlsPart,
    /// What is wrong with it; names the file.
    pub message: String,
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that is not there, holds no PEM of its kind, or a key that does not belong to the certificate.
    pub fn load(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.name()?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(TlsPart::Ca, &self.ca)? {
            roots.add(authority).map_err(|e| wrong(TlsPart::Ca, &self.ca, format!("is no authority's: {e}")))?;
        }
        let chain = certificates(TlsPart::Certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| match e {
            pem::Error::NoItemsFound => wrong(TlsPart::Key, &self.key, "has no private key in PEM in it".into()),
            e => unreadable(TlsPart::Key, &self.key, &e),
        })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong(TlsPart::Certificate, &self.certificate, format!("cannot be used: {e}")))?;
        let builder = match &self.crl {
            None => builder.with_root_certificates(roots),
            Some(crl) => {
                let verifier = Verifier::new(roots, provider, crl.clone())?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let config = builder.with_client_auth_cert(chain, key).map_err(|e| {
            let certificate = self.certificate.display();
            let what = match e {
                rustls::Error::InconsistentKeys(_) => format!("is not the key of {certificate}"),
                e => format!("cannot be used with {certificate}: {e}"),
            };
            wrong(TlsPart::Key, &self.key, what)
        })?;
        Ok(Arc::new(config))
    }

    /// The role in the gateway's own certificate (MODBUS/TCP Security v36, OID 1.3.6.1.4.1.50316.802.1). `None`: it
    /// carries none, and a device that grants by role may refuse every request.
    ///
    /// # Errors
    /// The certificate's file cannot be used.
    pub fn role(&self) -> Result<Option<String>, TlsError> {
        let chain = certificates(TlsPart::Certificate, &self.certificate)?;
        Ok(chain.first().and_then(|own| der::role(own)).map(str::to_owned))
    }

    fn name(&self) -> Result<ServerName<'static>, TlsError> {
        ServerName::try_from(self.server_name.clone()).map_err(|_| TlsError {
            part: TlsPart::ServerName,
            message: format!("`{}` is neither a host name nor an address", self.server_name),
        })
    }
}

fn certificates(part: TlsPart, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(|all| all.collect::<Result<Vec<_>, _>>());
    let found = read.map_err(|e| unreadable(part, path, &e))?;
    if found.is_empty() { Err(wrong(part, path, "has no certificate in PEM in it".into())) } else { Ok(found) }
}

fn unreadable(part: TlsPart, path: &Path, error: &pem::Error) -> TlsError {
    match error {
        pem::Error::Io(error) => wrong(part, path, format!("cannot be read: {error}")),
        error => wrong(part, path, format!("is no right PEM: {error}")),
    }
}

fn wrong(part: TlsPart, path: &Path, what: String) -> TlsError {
    TlsError { part, message: format!("the file {} {what}", path.display()) }
}

pub(super) async fn handshake(
    address: &str,
    files: &TlsFiles,
    socket: TcpStream,
) -> Result<TlsStream<TcpStream>, LinkError> {
    let place = address.to_owned();
    let own = files.clone();
    let read = tokio::task::spawn_blocking(move || Ok((own.load()?, own.name()?))).await;
    let (config, name) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(source)) => return Err(LinkError::Files { place, source }),
        Err(panicked) => return Err(LinkError::Open { place, source: panicked.into() }),
    };
    match timeout(CONNECT_MAX, TlsConnector::from(config).connect(name, socket)).await {
        Err(_) => Err(LinkError::OpenTimeout { place }),
        Ok(Err(source)) => Err(match refusal(&source) {
            Some(why) => LinkError::Revocation { place, why },
            None => LinkError::Handshake { place, source },
        }),
        Ok(Ok(stream)) => Ok(stream),
    }
}
