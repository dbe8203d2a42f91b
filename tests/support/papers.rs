//! An authority that signs certificates and takes them back, as files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa,
    KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams, date_time_ymd,
};

/// An authority of one's own. Its certificate lies in `ca.pem` of its directory.
pub struct Authority {
    directory: PathBuf,
    certificate: Certificate,
    key: KeyPair,
}

/// A certificate whose name is its signer's passes for signed by itself.
fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

impl Authority {
    /// A new one, with its certificate in this directory.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn new(directory: &Path) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("Example signer");
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        fs::write(directory.join("ca.pem"), certificate.pem())?;
        Ok(Self { directory: directory.to_owned(), certificate, key })
    }

    /// Signs `NAME.pem` for `host`, with its key in `NAME.key`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn sign(&self, name: &str, host: &str, number: u64) -> anyhow::Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name = named(host);
        params.serial_number = Some(number.into());
        let certificate = params.signed_by(&key, &self.certificate, &self.key)?;
        fs::write(self.path(&format!("{name}.pem")), certificate.pem())?;
        let path = self.path(&format!("{name}.key"));
        fs::write(&path, key.serialize_pem())?;
        // The gateway warns of a key that others can read.
        Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
    }

    /// Puts a list of the certificates with these numbers into `crl.pem`, renamed over the one before. The next one is due
    /// on New Year's Day of `due`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn take_back(&self, numbers: &[u64], due: i32) -> anyhow::Result<()> {
        let revoked = |number: &u64| RevokedCertParams {
            serial_number: (*number).into(),
            revocation_time: date_time_ymd(2022, 6, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2022, 12, 1),
            next_update: date_time_ymd(due, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        fs::write(self.path("crl.new"), list.signed_by(&self.certificate, &self.key)?.pem()?)?;
        Ok(fs::rename(self.path("crl.new"), self.path("crl.pem"))?)
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
