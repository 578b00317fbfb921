//! The cluster's certificate authority and the certificates that it signs.

use std::{fs, net::IpAddr, path::Path};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

/// The cluster's certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("making the authority's key")?;
        let mut params = named("releaselifecycle-test-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).context("signing the authority")?;
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Writes `<name>.pem` and `<name>.key` for a server reachable by these names and addresses.
    pub(crate) fn server(
        &self,
        dir: &Path,
        name: &str,
        dns: &[&str],
        ips: &[IpAddr],
    ) -> anyhow::Result<()> {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for dns in dns {
            let dns = (*dns).try_into().with_context(|| format!("{dns} as a DNS name"))?;
            params.subject_alt_names.push(rcgen::SanType::DnsName(dns));
        }
        params.subject_alt_names.extend(ips.iter().copied().map(rcgen::SanType::IpAddress));
        self.issue(dir, name, params)
    }

    /// Writes `<name>.pem` and `<name>.key` for a client with this user name and group.
    pub(crate) fn client(&self, dir: &Path, name: &str, group: &str) -> anyhow::Result<()> {
        let mut params = named(name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(dir, name, params)
    }

    fn issue(&self, dir: &Path, name: &str, mut params: CertificateParams) -> anyhow::Result<()> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().with_context(|| format!("making the key of {name}"))?;
        let certificate =
            params.signed_by(&key, &self.issuer).with_context(|| format!("signing {name}"))?;
        write(&dir.join(format!("{name}.pem")), &certificate.pem())?;
        write(&dir.join(format!("{name}.key")), &key.serialize_pem())
    }
}

/// Writes a new key pair, `<name>.key` and `<name>.pub`, for the tokens of service accounts.
pub(super) fn key_pair(dir: &Path, name: &str) -> anyhow::Result<()> {
    let key = KeyPair::generate().with_context(|| format!("making the key of {name}"))?;
    write(&dir.join(format!("{name}.pub")), &key.public_key_pem())?;
    write(&dir.join(format!("{name}.key")), &key.serialize_pem())
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Writes a file that only its owner may read.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("protecting {}", path.display()))
}
