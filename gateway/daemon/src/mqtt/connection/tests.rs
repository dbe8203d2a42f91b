//! A connection over TLS, made with what a site file says, to a broker that only shakes hands.

use std::path::Path;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, IsCa, KeyIdMethod, KeyPair,
    RevokedCertParams, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use super::*;

/// The number of the broker's certificate.
const BROKER: u64 = 7;

/// A broker with a certificate of a new authority, whose files are in the directory; its port.
async fn broker(dir: &Path) -> (Certificate, KeyPair, u16) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    let own = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    params.serial_number = Some(BROKER.into());
    let shown = CertificateDer::from(params.signed_by(&own, &ca, &key).unwrap());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown], PrivateKeyDer::try_from(own.serialize_der()).unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            // Believed or not, the connection ends after the handshake.
            let _ = acceptor.accept(socket).await;
        }
    });
    (ca, key, port)
}

fn list(dir: &Path, (ca, key): (&Certificate, &KeyPair), numbers: &[u64], due: i32) {
    let revoked = |number: &u64| RevokedCertParams {
        serial_number: (*number).into(),
        revocation_time: date_time_ymd(2022, 6, 1),
        reason_code: None,
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
    std::fs::write(dir.join("new"), list.signed_by(ca, key).unwrap().pem().unwrap()).unwrap();
    std::fs::rename(dir.join("new"), dir.join("crl.pem")).unwrap();
}

/// What the broker's task is told of a connection's end.
async fn end(broker: &Broker) -> String {
    let settings = Settings { id: "g".into(), broker, session: SessionKind::Clean, will: None };
    let (_client, _poller, mut events) = open(settings);
    loop {
        match events.recv().await.expect("a connection that ends says why") {
            Heard::Failed(why) => return why,
            heard => assert!(!matches!(heard, Heard::Connected { .. }), "nobody answers there"),
        }
    }
}

#[tokio::test]
async fn a_broker_whose_certificate_is_revoked_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, key, port) = broker(dir.path()).await;
    list(dir.path(), (&ca, &key), &[BROKER], 2999);
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/bad/mqtt_ca_missing.toml");
    let text = std::fs::read_to_string(config).unwrap();
    for version in ["3.1.1", "5"] {
        let tls = format!("version = \"{version}\"\ntls = {{ ca = \"ca.pem\", crl = \"crl.pem\" }}");
        let text = text.replace("tls = { ca = \"nowhere/ca.crt\" }", &tls);
        let text = text.replace("address = \"192.0.2.1\"", &format!("address = \"127.0.0.1:{port}\""));
        std::fs::write(dir.path().join("site.toml"), text).unwrap();
        list(dir.path(), (&ca, &key), &[BROKER], 2999);
        let site = crate::config::load(&dir.path().join("site.toml")).unwrap_or_else(|report| panic!("{report}"));
        let refused = end(&site.brokers[0]).await;
        assert!(refused.starts_with("the broker is not believed: its authority has revoked"), "{refused}");
        // Taken off the list it is believed again, without a reload; also by a list that is out of date.
        for due in [2999, 2023] {
            list(dir.path(), (&ca, &key), &[], due);
            let ended = end(&site.brokers[0]).await;
            assert!(!ended.contains("believed") && !ended.contains("ertificate"), "{ended}");
        }
    }
}
