//! Certificates and keys: one seed, kept with the objects, from which all keys follow.
//!
//! Ed25519 throughout: its keys are any 32 bytes and its signatures need no randomness, so that a seeded server
//! makes the same certificates every time.

use rand::RngCore;
use rand::rngs::StdRng;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::signature::Ed25519KeyPair;
use rustls_pki_types::PrivatePkcs8KeyDer;
use sha2::{Digest, Sha256};

use crate::server::StartError;
use crate::store::Store;

const FACT: &str = "pki-seed";

pub struct Pki {
    seed: [u8; 32],
    pub ca_pem: String,
    pub ca_der: Vec<u8>,
    signer: Ed25519KeyPair,
    names: Vec<String>,
}

/// A certificate and its key, PEM.
pub struct Identity {
    pub certificate: String,
    pub key: String,
    pub certificate_der: Vec<u8>,
    pub key_der: Vec<u8>,
}

impl Pki {
    /// The keys of an earlier start, or new ones.
    pub fn load_or_create(store: &Store, rng: &mut StdRng, names: &[String]) -> Result<Self, StartError> {
        let kept = store
            .fact(FACT)?
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let seed = match kept {
            Some(seed) => seed,
            None => {
                let mut seed = [0_u8; 32];
                rng.fill_bytes(&mut seed);
                store.keep_fact(FACT, &seed)?;
                seed
            }
        };
        Self::from_seed(seed, names).map_err(|e| StartError::Certificates(e.to_string()))
    }

    fn from_seed(seed: [u8; 32], names: &[String]) -> Result<Self, rcgen::Error> {
        let key = key_pair(&derive(&seed, "ca"))?;
        let certificate = ca_params()?.self_signed(&key)?;
        let signer = Ed25519KeyPair::from_seed_unchecked(&derive(&seed, "tokens"))
            .map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(Self {
            seed,
            ca_pem: certificate.pem(),
            ca_der: certificate.der().to_vec(),
            signer,
            names: names.to_vec(),
        })
    }

    pub fn signer(&self) -> &Ed25519KeyPair {
        &self.signer
    }

    /// A client certificate: the user is its common name, the groups its organizations.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<Identity, rcgen::Error> {
        let mut params = leaf_params(user, groups, ExtendedKeyUsagePurpose::ClientAuth)?;
        params.subject_alt_names = Vec::new();
        self.issue(&format!("client {user} {groups:?}"), params)
    }

    /// The serving certificate for loopback, the service names of the API, and `more` names or addresses.
    pub fn serving(&self, more: &[String]) -> Result<Identity, rcgen::Error> {
        let mut params = leaf_params("kube-apiserver", &[], ExtendedKeyUsagePurpose::ServerAuth)?;
        let fixed = [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "127.0.0.1",
            "::1",
            "10.96.0.1",
        ];
        let all = fixed
            .iter()
            .map(|s| (*s).to_owned())
            .chain(self.names.iter().cloned())
            .chain(more.iter().cloned());
        for name in all {
            let san = match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.try_into()?),
            };
            if !params.subject_alt_names.contains(&san) {
                params.subject_alt_names.push(san);
            }
        }
        self.issue("serving", params)
    }

    fn issue(&self, label: &str, mut params: CertificateParams) -> Result<Identity, rcgen::Error> {
        let key = key_pair(&derive(&self.seed, label))?;
        params.serial_number = Some(SerialNumber::from_slice(
            &derive(&self.seed, &format!("serial {label}"))[..8],
        ));
        let ca_key = key_pair(&derive(&self.seed, "ca"))?;
        let issuer = Issuer::new(ca_params()?, ca_key);
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            certificate_der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        })
    }
}

fn derive(seed: &[u8; 32], label: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed);
    hash.update(label.as_bytes());
    hash.finalize().into()
}

fn key_pair(seed: &[u8; 32]) -> Result<KeyPair, rcgen::Error> {
    // PKCS#8 version 1 of an Ed25519 key: a fixed head, then the seed.
    const HEAD: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ];
    let der = [HEAD.as_slice(), seed.as_slice()].concat();
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &rcgen::PKCS_ED25519)
}

fn ca_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "tidegate-embedded-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.serial_number = Some(SerialNumber::from(1));
    validity(&mut params);
    Ok(params)
}

fn leaf_params(
    name: &str,
    organizations: &[&str],
    usage: ExtendedKeyUsagePurpose,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    for organization in organizations {
        params
            .distinguished_name
            .push(DnType::OrganizationName, *organization);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    validity(&mut params);
    Ok(params)
}

/// Long and fixed: virtual clocks start anywhere, and reproducible certificates need fixed dates.
fn validity(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
}
