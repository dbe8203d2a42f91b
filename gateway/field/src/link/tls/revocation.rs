//! Certificates that an authority took back: the revocation lists (CRL, RFC 5280) in the file behind `crl`.
//!
//! * A certificate on a list is not believed, whoever shows it.
//! * Every certificate between the other side and an authority in `ca` must be spoken for by a list of whoever signed it.
//!   Silence is no "good": without its list, an authority might have taken the certificate back yesterday. Where an
//!   authority issues no list, `crl` is left out.
//! * A list past its `nextUpdate` still counts, and every connection and every `guanjia check` says that it is out of date.
//!   What it took back stays taken back; and a fire panel is not unread because nobody fetched a file. Whoever steals a key
//!   and holds back newer lists wins the time until somebody reads the warning, and that is the price.
//! * The file is looked at for every connection and read when it is another one: a new list works without a restart. If
//!   the new one cannot be used, that is said and the last one that could be counts on. At the start there is no last one,
//!   and the file must be right, as the other files of TLS.
//! * When the lists in the file are due is told without waiting for a connection ([`Revocations::next_update`]): a list that
//!   nobody replaces is seen in time, and one that somebody replaced at once.
//! * A connection that stands is not ended by a list; it is judged again after the next fault or restart.
//! * A file is at most [`CRL_FILE_MAX`] bytes.

use std::error::Error;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use guanjia_core::text::Bilingual;
use guanjia_core::time::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tracing::warn;

use super::{TlsError, TlsPart, der, unreadable, wrong};

/// The longest file of revocation lists, in bytes: room for some 25,000 certificates.
pub const CRL_FILE_MAX: u64 = 1 << 20;

type Lists = Vec<CertificateRevocationListDer<'static>>;

/// What tells a file from the one that was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { modified: metadata.modified().ok(), length: metadata.len(), inode: metadata.ino() }
    }
}

/// When lists are due, and of which file that is.
type Due = (Stamp, Option<Timestamp>);

/// A file of revocation lists, and the last lists in it that could be used; clones share them.
#[derive(Clone, Debug)]
pub struct Revocations {
    path: PathBuf,
    last: Arc<Mutex<Option<Lists>>>,
    looked_at: Arc<Mutex<Option<Due>>>,
}

/// When the first of these lists is due to be replaced.
fn first_due(lists: &Lists) -> Option<Timestamp> {
    lists.iter().filter_map(|list| der::next_update(list)).min()
}

/// Two are the same if they are the same file.
impl PartialEq for Revocations {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Revocations {}

impl Revocations {
    /// The lists in this file, in PEM; it is read when it is needed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), last: Arc::default(), looked_at: Arc::default() }
    }

    /// When the first of the lists that were read last is due to be replaced (`nextUpdate`).
    pub fn due(&self) -> Option<Timestamp> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().and_then(first_due)
    }

    /// When the first of the lists that are in the file now is due to be replaced; of a file that cannot be read, the lists
    /// that were read last. The file is read only when it is another one.
    pub fn next_update(&self) -> Option<Timestamp> {
        let Some(stamp) = self.stamp() else { return self.due() };
        let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, due)) = *looked_at
            && of == stamp
        {
            return due;
        }
        let due = self.read().ok().and_then(|(_, lists)| first_due(&lists)).or_else(|| self.due());
        *looked_at = Some((stamp, due));
        due
    }

    fn stamp(&self) -> Option<Stamp> {
        std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata))
    }

    fn read(&self) -> Result<(Stamp, Lists), TlsError> {
        let part = TlsPart::Crl;
        let failed = |e: io::Error| wrong(part, &self.path, format!("cannot be read: {e}"));
        let file = File::open(&self.path).map_err(failed)?;
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        let mut bytes = Vec::new();
        file.take(CRL_FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > CRL_FILE_MAX {
            return Err(wrong(part, &self.path, format!("is longer than {CRL_FILE_MAX} bytes")));
        }
        let lists = CertificateRevocationListDer::pem_slice_iter(&bytes).collect::<Result<Lists, _>>();
        let lists = lists.map_err(|e| unreadable(part, &self.path, &e))?;
        if lists.is_empty() {
            let help = "an authority's binary file becomes one with `openssl crl -inform DER -in FILE -out FILE.pem`";
            return Err(wrong(part, &self.path, format!("has no revocation list in PEM in it; {help}")));
        }
        Ok((stamp, lists))
    }

    /// Judges after the lists of the file, or the last ones that could be used; the file they are of, if it is that.
    fn judges(&self, trust: &Trust) -> Result<(Option<Stamp>, Judges), TlsError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let useless = |e: VerifierBuilderError| wrong(TlsPart::Crl, &self.path, format!("cannot be used: {e}"));
        let read = self.read().and_then(|(stamp, lists)| {
            let judges = Judges::new(trust, &lists).map_err(useless)?;
            Ok((stamp, lists, judges))
        });
        match read {
            Ok((stamp, lists, judges)) => {
                *last = Some(lists);
                Ok((Some(stamp), judges))
            }
            Err(error) => {
                let Some(lists) = &*last else { return Err(error) };
                let judges = Judges::new(trust, lists).map_err(useless)?;
                warn!(%error, "the last revocation list that could be used counts on; replace the file");
                Ok((None, judges))
            }
        }
    }
}

/// Whom to believe, and with which algorithms.
#[derive(Clone, Debug)]
struct Trust {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

/// The same judge twice: one who minds that a list is out of date, and one who does not.
#[derive(Debug)]
struct Judges {
    punctual: Arc<WebPkiServerVerifier>,
    forbearing: Arc<WebPkiServerVerifier>,
}

impl Judges {
    fn new(trust: &Trust, lists: &[CertificateRevocationListDer<'static>]) -> Result<Self, VerifierBuilderError> {
        let judge = || {
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&trust.roots), Arc::clone(&trust.provider))
                .with_crls(lists.iter().cloned())
        };
        Ok(Self { punctual: judge().enforce_revocation_expiration().build()?, forbearing: judge().build()? })
    }
}

/// Judges the other side's certificate as rustls does, and asks the revocation lists besides.
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    revocations: Revocations,
    held: Mutex<(Option<Stamp>, Arc<Judges>)>,
}

impl Verifier {
    /// Reads the lists.
    ///
    /// # Errors
    /// The file cannot be used, and no earlier one is known.
    pub fn new(
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
        revocations: Revocations,
    ) -> Result<Self, TlsError> {
        let trust = Trust { roots: Arc::new(roots), provider };
        let (stamp, judges) = revocations.judges(&trust)?;
        Ok(Self { trust, revocations, held: Mutex::new((stamp, Arc::new(judges))) })
    }

    /// The judges after the file as it is now.
    fn judges(&self) -> Arc<Judges> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0.is_none() || held.0 != self.revocations.stamp() {
            // There are earlier lists, so it cannot fail for the file; and then those held are right.
            if let Ok((stamp, judges)) = self.revocations.judges(&self.trust) {
                *held = (stamp, Arc::new(judges));
            }
        }
        Arc::clone(&held.1)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judges = self.judges();
        let judged = |by: &WebPkiServerVerifier| {
            by.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        let late = |error: &CertificateError| {
            use CertificateError::{ExpiredRevocationList, ExpiredRevocationListContext};
            matches!(error, ExpiredRevocationList | ExpiredRevocationListContext { .. })
        };
        match judged(&judges.punctual) {
            Err(rustls::Error::InvalidCertificate(error)) if late(&error) => {
                let believed = judged(&judges.forbearing)?;
                warn!(
                    file = %self.revocations.path.display(), server = %server_name.to_str(),
                    "the revocation list is out of date, and who was revoked since is still believed; replace the file \
                     with the authority's newest list"
                );
                Ok(believed)
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judges().forbearing.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judges().forbearing.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a revocation list says against the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its authority has revoked its certificate.
    Revoked,
    /// There is no list of its authority.
    NotListed,
    /// The list is not its authority's.
    ForeignList,
}

impl Refusal {
    /// The word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Revoked => "revoked",
            Refusal::NotListed => "not_listed",
            Refusal::ForeignList => "foreign_list",
        }
    }

    /// What was found.
    pub fn text(self) -> Bilingual {
        match self {
            Refusal::Revoked => {
                Bilingual::new("其证书已被颁发机构吊销(crl)", "its authority has revoked its certificate (`crl`)")
            }
            Refusal::NotListed => Bilingual::new(
                "crl 文件中没有其证书颁发机构的吊销列表",
                "the file of `crl` holds no list of the authority that signed its certificate",
            ),
            Refusal::ForeignList => Bilingual::new(
                "crl 中的列表不是由其所称的机构签发",
                "the list in `crl` is not signed by the authority it names",
            ),
        }
    }

    /// What to do about it.
    pub fn advice(self) -> Bilingual {
        match self {
            Refusal::Revoked => Bilingual::new(
                "确认此地址上是否是原来的设备;若是,为其换发新证书",
                "Find out whether it is the right device at this address, and if it is, give it a new certificate",
            ),
            Refusal::NotListed => Bilingual::new(
                "把该机构的列表加入文件;若该机构不签发列表,则去掉 crl",
                "Add that list to the file, or take `crl` out if the authority issues none",
            ),
            Refusal::ForeignList => Bilingual::new("向该机构重新索取列表", "Get it from the authority once more"),
        }
    }
}

/// For a log.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.text().en, self.advice().en)
    }
}

/// What a revocation list says against a connection that failed; `None` if it failed over anything else.
pub fn refusal(error: &(dyn Error + 'static)) -> Option<Refusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = error.downcast_ref::<rustls::Error>().or_else(|| inside?.downcast_ref());
        let refusal = match tls {
            Some(rustls::Error::InvalidCertificate(CertificateError::Revoked)) => Some(Refusal::Revoked),
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownRevocationStatus)) => {
                Some(Refusal::NotListed)
            }
            Some(rustls::Error::InvalidCertRevocationList(_)) => Some(Refusal::ForeignList),
            _ => None,
        };
        if refusal.is_some() {
            return refusal;
        }
        next = error.source();
    }
    None
}

/// The path of the file.
impl AsRef<Path> for Revocations {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}
