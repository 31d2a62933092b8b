//! One certificate authority for everything in a bed, and kubeconfigs made from it.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType,
};

use crate::{TestbedError, io};

/// A folder with `ca.crt`, `ca.key`, `sa.key`, `sa.pub`, `NAME.crt`, `NAME.key` and `NAME.conf`.
pub struct Pki {
    dir: PathBuf,
    server: String,
}

/// Whom a certificate is for.
pub struct Subject<'a> {
    pub file: &'a str,
    pub common_name: &'a str,
    pub organization: Option<&'a str>,
    pub addresses: &'a [IpAddr],
    pub names: &'a [&'a str],
}

impl<'a> Subject<'a> {
    pub fn client(file: &'a str, common_name: &'a str, organization: Option<&'a str>) -> Self {
        Self {
            file,
            common_name,
            organization,
            addresses: &[],
            names: &[],
        }
    }
}

impl Pki {
    /// Makes what is missing in `dir`; kubeconfigs point at `server` (`https://ADDRESS:PORT`).
    pub fn ensure(dir: &Path, server: &str, subjects: &[Subject<'_>]) -> Result<Self, TestbedError> {
        fs::create_dir_all(dir).map_err(io(format!("creating {}", dir.display())))?;
        let pki = Self {
            dir: dir.to_owned(),
            server: server.to_owned(),
        };
        let done = dir.join("done");
        let wanted: Vec<&str> = subjects.iter().map(|s| s.file).collect();
        let marker = format!("{server} {}", wanted.join(" "));
        if fs::read_to_string(&done).is_ok_and(|found| found == marker) {
            return Ok(pki);
        }
        let ca = authority()?;
        pki.write("ca.crt", &ca.pem())?;
        pki.write("ca.key", &ca.key().serialize_pem())?;
        let service_accounts = key("service accounts")?;
        pki.write("sa.key", &service_accounts.serialize_pem())?;
        pki.write("sa.pub", &service_accounts.public_key_pem())?;
        for subject in subjects {
            pki.issue(subject, &ca)?;
        }
        pki.write("done", &marker)?;
        Ok(pki)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn kubeconfig(&self, file: &str) -> PathBuf {
        self.dir.join(format!("{file}.conf"))
    }

    fn issue(&self, subject: &Subject<'_>, ca: &CertifiedIssuer<'_, KeyPair>) -> Result<(), TestbedError> {
        let failed = |source| TestbedError::Certificate {
            subject: subject.common_name.to_owned(),
            source,
        };
        let mut params =
            CertificateParams::new(subject.names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
                .map_err(failed)?;
        params
            .subject_alt_names
            .extend(subject.addresses.iter().map(|a| SanType::IpAddress(*a)));
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, subject.common_name);
        if let Some(organization) = subject.organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let pair = key(subject.common_name)?;
        let certificate = params.signed_by(&pair, ca).map_err(failed)?;
        self.write(&format!("{}.crt", subject.file), &certificate.pem())?;
        self.write(&format!("{}.key", subject.file), &pair.serialize_pem())?;
        self.write(
            &format!("{}.conf", subject.file),
            &self.render_kubeconfig(subject.file),
        )
    }

    /// References the files beside it; a kubeconfig is JSON as well as YAML.
    fn render_kubeconfig(&self, file: &str) -> String {
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "testbed",
            "clusters": [{"name": "testbed", "cluster": {
                "server": self.server, "certificate-authority": self.path("ca.crt")}}],
            "users": [{"name": file, "user": {
                "client-certificate": self.path(&format!("{file}.crt")),
                "client-key": self.path(&format!("{file}.key"))}}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": file}}],
        });
        format!("{config:#}\n")
    }

    fn write(&self, name: &str, content: &str) -> Result<(), TestbedError> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.path(name);
        let what = || format!("writing {}", path.display());
        // Keys and kubeconfigs are for their owner alone.
        let mut file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(io(what()))?;
        file.write_all(content.as_bytes()).map_err(io(what()))
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, TestbedError> {
    let failed = |source| TestbedError::Certificate {
        subject: "testbed-ca".to_owned(),
        source,
    };
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "testbed-ca");
    CertifiedIssuer::self_signed(params, key("testbed-ca")?).map_err(failed)
}

fn key(subject: &str) -> Result<KeyPair, TestbedError> {
    KeyPair::generate().map_err(|source| TestbedError::Certificate {
        subject: subject.to_owned(),
        source,
    })
}
