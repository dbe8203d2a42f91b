//! Brokers: how they are reached, what is published there, and where devices without topics of their own speak.

use std::path::Path;
use std::sync::Arc;

use guanjia_core::time::Timestamp;
use guanjia_field::link::tls::revocation::{Revocations, Verifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::context::Context;
use super::diagnostic::Severity;
use super::document::Entry;
use super::lines::{CRL_HELP, RawMqtt, RawMqttTls, RawMqttVersion, RawSparkplug, is_topic, overdue};
use super::topics::{self, Holes, Templates};
use super::value::At;
use crate::site::{Broker, MqttVersion, Publish};

/// The registered port of MQTT without TLS.
const PORT: u16 = 1883;
/// The registered port of MQTT over TLS.
const TLS_PORT: u16 = 8883;

/// Checks every broker. One that is wrong is missing; its name is known to the devices all the same.
pub fn brokers(context: &mut Context, raw: &[Entry<RawMqtt>], site: &str, now: Timestamp) -> Vec<(Broker, Templates)> {
    let mut brokers = Vec::new();
    for entry in raw {
        let login = context.login(entry.user.as_ref(), entry.password.as_ref());
        let publish = publish(context, entry, site);
        let templates = Templates {
            topic: entry.topic.as_ref().and_then(|topic| template(context, topic)),
            availability: entry.availability.as_ref().and_then(|topic| template(context, topic)),
        };
        let before = context.report.count(Severity::Error);
        let (tls, crl) = entry.tls.as_ref().and_then(|raw| tls(context, raw, now)).unzip();
        let unprotected = context.report.count(Severity::Error) > before;
        let port = if entry.tls.is_some() { TLS_PORT } else { PORT };
        let Some((host, port)) = context.host_port(&entry.address, Some(port)) else { continue };
        if unprotected {
            continue;
        }
        let version = match entry.version {
            None | Some(RawMqttVersion::V311) => MqttVersion::V311,
            Some(RawMqttVersion::V5) => MqttVersion::V5,
        };
        brokers.push((
            Broker { name: entry.key.clone(), host, port, login, version, tls, crl: crl.flatten(), publish },
            templates,
        ));
    }
    brokers
}

fn publish(context: &mut Context, entry: &Entry<RawMqtt>, site: &str) -> Option<Publish> {
    for (prefix, example) in [(&entry.publish, "guanjia"), (&entry.homeassistant, "homeassistant")] {
        if let Some(prefix) = prefix.as_ref().filter(|p| !is_topic(p)) {
            context.error(prefix.span(), format!("`{}` is not a topic", **prefix)).help(format!("write \"{example}\""));
        }
    }
    match (&entry.publish, &entry.homeassistant, &entry.sparkplug) {
        (None, None, None) => None,
        (Some(prefix), home_assistant, None) => Some(Publish::Topics {
            prefix: (**prefix).clone(),
            home_assistant: home_assistant.as_ref().map(|prefix| (**prefix).clone()),
        }),
        (None, Some(prefix), None) => {
            context
                .error(prefix.span(), "Home Assistant would find devices that publish nothing")
                .help("add publish = \"guanjia\"");
            None
        }
        (None, None, Some(raw)) => sparkplug(context, raw, site),
        (_, _, Some(raw)) => {
            context
                .error(raw.span(), "one connection has one last will, and Sparkplug needs it")
                .help("put `sparkplug` into a second [mqtt.NAME] with the same address");
            None
        }
    }
}

fn sparkplug(context: &mut Context, raw: &At<RawSparkplug>, site: &str) -> Option<Publish> {
    let node = raw.node.as_deref().unwrap_or(site);
    for id in [raw.group.as_str(), node].into_iter().chain(raw.primary_host.as_deref()) {
        if !is_topic(id) || id.contains('/') {
            context
                .error(raw.span(), format!("`{id}` is not a Sparkplug id"))
                .help("an id is one level of a topic: letters, digits, hyphens");
            return None;
        }
    }
    Some(Publish::Sparkplug { group: raw.group.clone(), node: node.to_owned(), primary_host: raw.primary_host.clone() })
}

fn template(context: &mut Context, topic: &At<String>) -> Option<String> {
    match topics::template(topic, Holes::OfDevice) {
        Ok(template) => Some(template),
        Err(wrong) => {
            context.error(topic.span(), wrong.message).help(wrong.help);
            None
        }
    }
}

/// What TLS is done with, and the revocation lists it asks.
type Tls = (Arc<rustls::ClientConfig>, Option<Revocations>);

/// The client's side of TLS 1.2 and 1.3, with the roots, the revocation lists and the certificate of these files.
fn tls(context: &mut Context, raw: &At<RawMqttTls>, now: Timestamp) -> Option<Tls> {
    let own = match (&raw.cert, &raw.key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some((cert, key)),
        (Some(one), None) | (None, Some(one)) => {
            context
                .error(one.span(), "a certificate and its key belong together")
                .help("write cert = \"gateway.crt\", key = \"gateway.key\"");
            return None;
        }
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates(context, &raw.ca)? {
        if let Err(failure) = roots.add(certificate) {
            context.error(raw.ca.span(), format!("`{}` is no certificate that can sign: {failure}", *raw.ca));
            return None;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let mut crl = None;
    let builder = match builder {
        Ok(builder) => match &raw.crl {
            None => builder.with_root_certificates(roots),
            Some(path) => {
                let lists = crl.insert(Revocations::new(context.directory.join(Path::new(&**path))));
                match Verifier::new(roots, provider, lists.clone()) {
                    Ok(verifier) => {
                        overdue(context, path, lists, now);
                        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
                    }
                    Err(failure) => {
                        context.error(path.span(), failure.message).help(CRL_HELP);
                        return None;
                    }
                }
            }
        },
        Err(failure) => {
            context.error(raw.span(), format!("TLS cannot be set up: {failure}"));
            return None;
        }
    };
    let Some((cert, key)) = own else { return Some((Arc::new(builder.with_no_client_auth()), crl)) };
    let chain = certificates(context, cert)?;
    match builder.with_client_auth_cert(chain, private_key(context, key)?) {
        Ok(config) => Some((Arc::new(config), crl)),
        Err(failure) => {
            context
                .error(key.span(), format!("this key cannot be used: {failure}"))
                .help("give the key that was made with the certificate");
            None
        }
    }
}

fn certificates(context: &mut Context, file: &At<String>) -> Option<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(context.directory.join(Path::new(&**file)));
    match read.and_then(|found| found.collect::<Result<Vec<_>, _>>()) {
        Ok(found) if !found.is_empty() => Some(found),
        Ok(_) => {
            context.error(file.span(), format!("there is no certificate in `{}`", **file)).help("it is a PEM file");
            None
        }
        Err(failure) => {
            context.error(file.span(), format!("cannot read `{}`: {failure}", **file)).help("it is a PEM file");
            None
        }
    }
}

fn private_key(context: &mut Context, file: &At<String>) -> Option<PrivateKeyDer<'static>> {
    let path = context.directory.join(Path::new(&**file));
    if super::secret::readable_by_everybody(&path) {
        context
            .error(file.span(), format!("everybody can read `{}`", **file))
            .help(format!("chmod o-rwx {}", path.display()));
        return None;
    }
    match PrivateKeyDer::from_pem_file(&path) {
        Ok(key) => Some(key),
        Err(failure) => {
            context.error(file.span(), format!("cannot read `{}`: {failure}", **file)).help("it is a PEM file");
            None
        }
    }
}
