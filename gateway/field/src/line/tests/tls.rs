//! Modbus over TLS, between the line and an independent server behind rustls: who is believed, and who no longer is.

use std::net::SocketAddr;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType, IsCa,
    KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_modbus::server::tcp;

use super::servers::{Building, listener, reads_everything};
use super::*;
use crate::link::tls::revocation::{CRL_FILE_MAX, Revocations, refusal};
use crate::link::tls::{Refusal, TlsFiles, TlsPart};

/// An authority, a device and a gateway, each with a certificate, as PEM files. "spare-device" is another certificate for
/// the device, and "roled-gateway" one of a gateway with a role.
struct Papers {
    dir: TempDir,
    ca: (Certificate, KeyPair),
    other_ca: (Certificate, KeyPair),
}

/// The number of the device's certificate, and of the spare one.
const DEVICE: u64 = 7;
const SPARE: u64 = 8;

/// A year in which a list that is not out of date is due.
const FAR: i32 = 2999;

/// The role of MODBUS/TCP Security.
const ROLE: [u64; 9] = [1, 3, 6, 1, 4, 1, 50316, 802, 1];

impl Papers {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        let authority = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, name);
            let ca = params.self_signed(&key).unwrap();
            write(&format!("{name}.pem"), ca.pem());
            (ca, key)
        };
        let (ca, other_ca) = (authority("ca"), authority("other-ca"));
        let holder = |name: &str, host: &str, (ca, key): &(Certificate, KeyPair), number: u64, role: Option<&str>| {
            let own = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![format!("{host}.example")]).unwrap();
            params.serial_number = Some(number.into());
            if let Some(role) = role {
                let text = [&[0x0C, role.len() as u8], role.as_bytes()].concat();
                params.custom_extensions.push(CustomExtension::from_oid_content(&ROLE, text));
            }
            write(&format!("{name}.pem"), params.signed_by(&own, ca, key).unwrap().pem());
            write(&format!("{name}.key"), own.serialize_pem());
        };
        holder("device", "device", &ca, DEVICE, None);
        holder("spare-device", "device", &ca, SPARE, None);
        holder("gateway", "gateway", &ca, 9, None);
        holder("roled-gateway", "gateway", &ca, 10, Some("Operator"));
        holder("other-gateway", "gateway", &other_ca, 9, None);
        write("empty.pem", "nothing".to_owned());
        Self { dir, ca, other_ca }
    }

    /// Writes a list that takes these numbers back and is due at the beginning of that year.
    fn list(&self, name: &str, (ca, key): &(Certificate, KeyPair), numbers: &[u64], due: i32) {
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
        self.put(name, &list.signed_by(ca, key).unwrap().pem().unwrap());
    }

    /// Puts a file in place as it should be done: renamed over the old one.
    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn files(&self) -> TlsFiles {
        let file = |name| self.dir.path().join(name);
        TlsFiles {
            ca: file("ca.pem"),
            crl: None,
            certificate: file("gateway.pem"),
            key: file("gateway.key"),
            server_name: "device.example".into(),
        }
    }

    /// What the device does with a connection; it believes only gateways of its own authority.
    fn acceptor(&self, device: &str) -> tokio_rustls::TlsAcceptor {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let file = |name: &str| self.path(name);
        let provider = Arc::new(ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_file(file(&format!("{device}.pem"))).unwrap()],
                PrivateKeyDer::from_pem_file(file(&format!("{device}.key"))).unwrap(),
            )
            .unwrap();
        Arc::new(config).into()
    }
}

/// A device behind TLS, written by others but for the handshake.
async fn tls_server(papers: &Papers, device: &str) -> (SocketAddr, JoinHandle<()>) {
    let (listener, address) = listener().await;
    let acceptor = papers.acceptor(device);
    let server = tcp::Server::new(listener);
    let task = tokio::spawn(async move {
        let accept = |stream, _| {
            let acceptor = acceptor.clone();
            async move { Ok(acceptor.accept(stream).await.ok().map(|io| (Building, io))) }
        };
        let _ = server.serve(&accept, |_| ()).await;
    });
    (address, task)
}

#[tokio::test]
async fn modbus_over_tls_agrees_with_an_independent_server() {
    let papers = Papers::new();
    let (address, server) = tls_server(&papers, "device").await;
    reads_everything(Link::ModbusTls { address: address.to_string(), tls: papers.files() }).await;
    server.abort();
}

#[tokio::test]
async fn nobody_is_read_whose_certificate_is_not_believed() {
    let papers = Papers::new();
    let (address, server) = tls_server(&papers, "device").await;
    let file = |name| papers.dir.path().join(name);
    let wrong = [
        ("another authority", TlsFiles { ca: file("other-ca.pem"), ..papers.files() }),
        ("another name", TlsFiles { server_name: "elsewhere.example".into(), ..papers.files() }),
        (
            "a gateway the device does not know",
            TlsFiles { certificate: file("other-gateway.pem"), key: file("other-gateway.key"), ..papers.files() },
        ),
    ];
    for (what, tls) in wrong {
        let link = Link::ModbusTls { address: address.to_string(), tls };
        let config = LineConfig::plain(link, Duration::ZERO);
        let (sender, mut reports) = mpsc::channel(100);
        let stop = CancellationToken::new();
        let (handle, task) = start_line(config, devices(1), sender, stop.clone());
        let first = tokio::time::timeout(Duration::from_secs(20), reports.recv()).await.unwrap();
        let down = Some(DeviceHealth::Silent(BadReason::LineDown));
        let health = match first {
            Some(FieldReport::Health { health, .. }) => Some(health),
            _ => None,
        };
        assert_eq!(health, down, "{what}");
        assert_eq!(handle.stats().devices[0].ok.get(), 0, "{what}");
        stop.cancel();
        task.await.unwrap();
    }
    server.abort();
}

#[test]
fn a_file_of_tls_that_cannot_be_used_is_named() {
    let papers = Papers::new();
    let file = |name| papers.dir.path().join(name);
    assert!(papers.files().load().is_ok());
    let cases = [
        (TlsPart::Ca, TlsFiles { ca: file("none.pem"), ..papers.files() }, "none.pem cannot be read"),
        (TlsPart::Ca, TlsFiles { ca: file("empty.pem"), ..papers.files() }, "empty.pem has no certificate in PEM"),
        (TlsPart::Certificate, TlsFiles { certificate: file("gateway.key"), ..papers.files() }, "has no certificate"),
        (TlsPart::Key, TlsFiles { key: file("gateway.pem"), ..papers.files() }, "gateway.pem has no private key"),
        (TlsPart::Key, TlsFiles { key: file("device.key"), ..papers.files() }, "device.key is not the key of"),
        (TlsPart::ServerName, TlsFiles { server_name: "a b".into(), ..papers.files() }, "`a b` is neither"),
    ];
    for (part, files, words) in cases {
        let error = files.load().expect_err(words);
        assert_eq!(error.part, part, "{error}");
        assert!(error.message.contains(words), "{error}");
    }
}

/// How one connection over these files ends: `Ok`, or the words the technician gets.
async fn connects(address: SocketAddr, tls: &TlsFiles) -> Result<(), String> {
    let link = Link::ModbusTls { address: address.to_string(), tls: tls.clone() };
    let stats = Arc::new(LineStats::new(std::iter::empty()));
    Dial::Link(link).open(&stats).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_certificate_on_the_list_is_refused_and_another_is_not() {
    let papers = Papers::new();
    papers.list("crl.pem", &papers.ca, &[DEVICE], FAR);
    let tls = TlsFiles { crl: Some(Revocations::new(papers.path("crl.pem"))), ..papers.files() };
    let (revoked, first) = tls_server(&papers, "device").await;
    let (spare, second) = tls_server(&papers, "spare-device").await;
    let refused = connects(revoked, &tls).await.unwrap_err();
    assert!(refused.contains("its authority has revoked its certificate"), "{refused}");
    assert!(refused.contains("give it a new certificate"), "{refused}");
    reads_everything(Link::ModbusTls { address: spare.to_string(), tls: tls.clone() }).await;
    assert_eq!(connects(revoked, &papers.files()).await, Ok(()), "without a list nobody is asked");
    first.abort();
    second.abort();
}

#[tokio::test]
async fn a_new_list_counts_from_the_next_connection_and_a_broken_one_changes_nothing() {
    let papers = Papers::new();
    papers.list("crl.pem", &papers.ca, &[], FAR);
    let tls = TlsFiles { crl: Some(Revocations::new(papers.path("crl.pem"))), ..papers.files() };
    let (address, server) = tls_server(&papers, "device").await;
    assert_eq!(connects(address, &tls).await, Ok(()));
    papers.list("crl.pem", &papers.ca, &[DEVICE], FAR);
    assert!(connects(address, &tls).await.is_err(), "the list was replaced while the gateway ran");
    for broken in ["", "half a lis", "-----BEGIN X509 CRL-----\nMAoBAQ==\n-----END X509 CRL-----\n"] {
        papers.put("crl.pem", broken);
        let refused = connects(address, &tls).await.unwrap_err();
        assert!(refused.contains("has revoked"), "{broken:?}: {refused}");
    }
    std::fs::remove_file(papers.path("crl.pem")).unwrap();
    assert!(connects(address, &tls).await.unwrap_err().contains("has revoked"));
    papers.list("crl.pem", &papers.ca, &[SPARE], FAR);
    assert_eq!(connects(address, &tls).await, Ok(()), "the authority took it off the list");
    server.abort();
}

/// One configuration for many connections, as a broker has it.
#[tokio::test]
async fn a_configuration_that_lives_long_sees_a_new_list_too() {
    let papers = Papers::new();
    papers.list("crl.pem", &papers.ca, &[], FAR);
    let tls = TlsFiles { crl: Some(Revocations::new(papers.path("crl.pem"))), ..papers.files() };
    let (address, server) = tls_server(&papers, "device").await;
    let connector = tokio_rustls::TlsConnector::from(tls.load().unwrap());
    let connect = || async {
        let socket = TcpStream::connect(address).await.unwrap();
        connector.connect("device.example".try_into().unwrap(), socket).await.map(drop)
    };
    connect().await.unwrap();
    papers.list("crl.pem", &papers.ca, &[DEVICE], FAR);
    let refused = connect().await.unwrap_err();
    assert_eq!(refusal(&refused), Some(Refusal::Revoked), "{refused}");
    papers.put("crl.pem", "half");
    assert!(connect().await.is_err());
    papers.list("crl.pem", &papers.ca, &[], FAR);
    connect().await.unwrap();
    server.abort();
}

#[tokio::test]
async fn a_list_out_of_date_still_refuses_and_silences_nobody_else() {
    let papers = Papers::new();
    papers.list("crl.pem", &papers.ca, &[DEVICE], 2023);
    let crl = Revocations::new(papers.path("crl.pem"));
    let tls = TlsFiles { crl: Some(crl.clone()), ..papers.files() };
    let (revoked, first) = tls_server(&papers, "device").await;
    let (spare, second) = tls_server(&papers, "spare-device").await;
    assert!(connects(revoked, &tls).await.unwrap_err().contains("has revoked"));
    assert_eq!(connects(spare, &tls).await, Ok(()));
    let of_2023 = Some(Timestamp::from_millis(1_672_531_200_000));
    assert_eq!((crl.due(), crl.next_update()), (of_2023, of_2023));
    papers.list("crl.pem", &papers.ca, &[DEVICE], 2024);
    let of_2024 = Some(Timestamp::from_millis(1_704_067_200_000));
    assert_eq!((crl.due(), crl.next_update()), (of_2023, of_2024), "a new list is seen before anybody connects");
    papers.put("crl.pem", "half");
    assert_eq!(crl.next_update(), of_2023, "what cannot be read tells nothing, and the last lists count");
    first.abort();
    second.abort();
}

#[tokio::test]
async fn a_list_of_another_authority_says_nothing_and_a_forged_one_is_named() {
    let papers = Papers::new();
    let (address, server) = tls_server(&papers, "device").await;
    papers.list("crl.pem", &papers.other_ca, &[DEVICE], FAR);
    let tls = TlsFiles { crl: Some(Revocations::new(papers.path("crl.pem"))), ..papers.files() };
    let refused = connects(address, &tls).await.unwrap_err();
    assert!(refused.contains("holds no list of the authority"), "{refused}");
    // The authority's list beside it in the same file is enough.
    let other = std::fs::read_to_string(papers.path("crl.pem")).unwrap();
    papers.list("own.pem", &papers.ca, &[SPARE], FAR);
    let own = std::fs::read_to_string(papers.path("own.pem")).unwrap();
    papers.put("crl.pem", &format!("{other}{own}"));
    assert_eq!(connects(address, &tls).await, Ok(()));
    // Somebody without its key takes nothing back in its name.
    let forger = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "ca");
    let forged = (params.self_signed(&forger).unwrap(), forger);
    papers.list("crl.pem", &forged, &[], FAR);
    let refused = connects(address, &tls).await.unwrap_err();
    assert!(refused.contains("is not signed by the authority it names"), "{refused}");
    server.abort();
}

#[test]
fn a_file_of_lists_that_cannot_be_used_is_named_before_anything_runs() {
    let papers = Papers::new();
    let long = "x".repeat(CRL_FILE_MAX as usize + 1);
    let cases = [
        ("none", None, "cannot be read"),
        ("ca.pem", None, "has no revocation list in PEM in it"),
        ("long", Some(long.as_str()), "is longer than 1048576 bytes"),
        ("cut", Some("-----BEGIN X509 CRL-----\nMAoB"), "is no right PEM"),
        ("odd", Some("-----BEGIN X509 CRL-----\nMAoBAQ==\n-----END X509 CRL-----\n"), "cannot be used"),
    ];
    for (name, text, words) in cases {
        text.into_iter().for_each(|text| papers.put(name, text));
        let tls = TlsFiles { crl: Some(Revocations::new(papers.path(name))), ..papers.files() };
        let error = tls.load().expect_err(words);
        assert_eq!(error.part, TlsPart::Crl, "{error}");
        assert!(error.message.contains(words), "{name}: {error}");
    }
}

#[test]
fn the_role_in_our_certificate_is_told() {
    let papers = Papers::new();
    let with = |certificate| TlsFiles { certificate: papers.path(certificate), ..papers.files() };
    assert_eq!(with("gateway.pem").role().unwrap(), None);
    assert_eq!(with("roled-gateway.pem").role().unwrap().as_deref(), Some("Operator"));
    assert_eq!(with("none.pem").role().unwrap_err().part, TlsPart::Certificate);
}
