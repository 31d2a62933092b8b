//! Keys and certificates: making them, reading them, and telling their age.
use std::sync::Arc;

use model::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

/// Something is wrong with a key or certificate. Never contains either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("cannot make a certificate for {name}: {reason}")]
    Making { name: String, reason: String },
    #[error("cannot read the {what}: {reason}")]
    Reading { what: &'static str, reason: String },
    #[error("TLS: {0}")]
    Tls(String),
}

/// A server's certificate, its key, and the authority that signed it and nothing else: the authority's own key is
/// thrown away, so what is stored can impersonate one server and no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

impl Identity {
    /// A new authority and a certificate of it for `names`, valid from an hour ago (clocks differ) to `until`.
    pub fn make(names: &[String], now: Timestamp, until: Timestamp) -> Result<Identity, CertificateError> {
        let name = names.first().cloned().unwrap_or_default();
        let fail = |error: rcgen::Error| CertificateError::Making {
            name: name.clone(),
            reason: error.to_string(),
        };
        let from = offset(now.as_second() - 3600);
        let until = offset(until.as_second());

        let mut authority = CertificateParams::default();
        authority.distinguished_name = named(&format!("tidegate admission {}", now.as_second()));
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (authority.not_before, authority.not_after) = (from, until);
        let authority_key = KeyPair::generate().map_err(fail)?;
        let ca = authority.self_signed(&authority_key).map_err(fail)?;
        let issuer = Issuer::new(authority, authority_key);

        let mut server = CertificateParams::new(names.to_vec()).map_err(fail)?;
        server.distinguished_name = named(&name.chars().take(64).collect::<String>());
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        (server.not_before, server.not_after) = (from, until);
        let key = KeyPair::generate().map_err(fail)?;
        let certificate = server.signed_by(&key, &issuer).map_err(fail)?;
        Ok(Identity {
            ca_pem: ca.pem(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// When the certificate ends, and for which names it is.
    pub fn validity(&self) -> Result<(Timestamp, Vec<String>), CertificateError> {
        let fail = |reason: String| CertificateError::Reading {
            what: "certificate",
            reason,
        };
        let der = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())
            .map_err(|e| fail(e.to_string()))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|e| fail(e.to_string()))?;
        let until = Timestamp::from_second(certificate.validity().not_after.timestamp())
            .map_err(|error| fail(error.to_string()))?;
        let mut names = Vec::new();
        if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
            for name in &alternative.value.general_names {
                match name {
                    x509_parser::extensions::GeneralName::DNSName(name) => names.push((*name).to_owned()),
                    x509_parser::extensions::GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                    _ => {}
                }
            }
        }
        Ok((until, names))
    }

    /// As rustls wants it.
    pub(super) fn certified_key(&self) -> Result<CertifiedKey, CertificateError> {
        let read = |what: &'static str| {
            move |e: rustls::pki_types::pem::Error| CertificateError::Reading {
                what,
                reason: e.to_string(),
            }
        };
        let chain = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(read("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(read("key"))?;
        let key = rustls::crypto::ring::sign::any_supported_type(&key)
            .map_err(|error| CertificateError::Tls(error.to_string()))?;
        let certified = CertifiedKey::new(chain, Arc::clone(&key));
        certified
            .keys_match()
            .map_err(|error| CertificateError::Tls(error.to_string()))?;
        Ok(certified)
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn offset(second: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::IpAddr::from(four).to_string());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|sixteen| std::net::IpAddr::from(sixteen).to_string())
}
