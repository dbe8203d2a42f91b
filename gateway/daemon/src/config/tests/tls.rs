//! What `guanjia check` says of the files of TLS.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, IsCa, KeyIdMethod, KeyPair,
    date_time_ymd,
};

use super::*;

/// A site with a line over TLS whose papers, and a list that is due at the beginning of 2023, are in the directory.
fn site_over_tls(dir: &Path, role: Option<&str>) -> String {
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("it can be written");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names are right names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).expect("an authority");
    write("ca.pem", &ca.pem());
    let own = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["gateway.example".into()]).expect("a name");
    if let Some(role) = role {
        let text = [&[0x0C, role.len() as u8], role.as_bytes()].concat();
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 50316, 802, 1], text)];
    }
    write("own.pem", &params.signed_by(&own, &ca, &key).expect("a certificate").pem());
    write("own.key", &own.serialize_pem());
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2022, 12, 1),
        next_update: date_time_ymd(2023, 1, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    write("crl.pem", &list.signed_by(&ca, &key).expect("a list").pem().expect("a list in PEM"));
    let small = config_dir().join("bad/tls_file_empty.toml");
    let text = std::fs::read_to_string(small).expect("a small site is in the repository");
    let files = "ca = \"ca.pem\"\ncrl = \"crl.pem\"\ncertificate = \"own.pem\"\nkey = \"own.key\"\n";
    let (text, _) = text.split_once("ca = \"tls_file_empty.toml\"").expect("it names its files last");
    format!("{text}{files}")
}

#[test]
fn a_list_out_of_date_is_a_warning_and_a_missing_one_an_error() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let text = site_over_tls(directory.path(), None);
    let due = Timestamp::from_millis(1_672_531_200_000);
    let (site, report) = load_text("site.toml", &text, directory.path(), due);
    assert!(site.is_some() && !report.to_string().contains("out of date"), "{report}");
    let (site, report) = load_text("site.toml", &text, directory.path(), due + Duration::from_secs(1));
    assert!(site.is_some(), "{report}");
    let words = "warning: a revocation list in crl.pem is out of date: the next one was due 2023-01-01T00:00:00Z";
    assert!(report.to_string().contains(words), "{report}");
    let wanting = text.replace("\"crl.pem\"", "\"ca.pem\"");
    let (site, report) = load_text("site.toml", &wanting, directory.path(), due);
    assert!(site.is_none());
    let said = report.to_string();
    assert!(said.contains("ca.pem has no revocation list in PEM in it") && said.contains("crl = \"ca.pem\""), "{said}");
}

#[test]
fn the_role_we_show_is_said() {
    for (role, words) in [
        (Some("Operator"), "line a: our certificate carries the Modbus role \"Operator\""),
        (None, "line a: our certificate carries no Modbus role"),
    ] {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let text = site_over_tls(directory.path(), role);
        let (site, report) = load_text("site.toml", &text, directory.path(), NOW);
        let site = site.unwrap_or_else(|| panic!("{report}"));
        let said = summary(&site, NOW);
        assert!(said.contains(words), "{said}");
    }
}
