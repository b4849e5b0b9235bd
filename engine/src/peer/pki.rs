//! `foreshift pki`: a lab CA and a certificate for each engine. For production, use certificates of
//! your own CA with the engine's name as DNS name, for server and client authentication.

use super::{check_name, tls};
use anyhow::{Context, bail, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_DAYS: u32 = 3_653;
const ENGINE_DAYS: u32 = 365;
/// Clocks of a lab may differ so much.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The CA's certificate: every engine's `ca`.
    pub ca: PathBuf,
    /// Whether the CA was there before.
    pub ca_reused: bool,
    /// Each engine's name, certificate and key.
    pub engines: Vec<(String, PathBuf, PathBuf)>,
}

/// Makes `ca.pem` and `ca.key` in `out` unless they are there, and `NAME.pem` and `NAME.key` for each of
/// `names`. Nothing is written if any name is wrong or, without `force`, has its files already.
pub fn run(out: &Path, names: &[String], force: bool) -> anyhow::Result<Summary> {
    ensure!(!names.is_empty(), "no engine named: give --name NAME for each engine");
    let mut seen = BTreeSet::new();
    for name in names {
        check_name(name)?;
        ensure!(name != "ca", "an engine cannot be named \"ca\": ca.pem and ca.key are the CA's own files");
        ensure!(seen.insert(name), "engine {name:?} is named twice");
        let there = [pem(out, name), key(out, name)].into_iter().find(|path| path.exists());
        if let Some(path) = there.filter(|_| !force) {
            bail!("{} exists already: give --force to replace it", path.display());
        }
    }
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let (issuer, ca_reused) = authority(out)?;
    let ca = pem(out, "ca");
    let mut engines = Vec::new();
    for name in names {
        engine(out, name, &issuer, &ca)?;
        engines.push((name.clone(), pem(out, name), key(out, name)));
    }
    Ok(Summary { ca, ca_reused, engines })
}

fn pem(out: &Path, name: &str) -> PathBuf {
    out.join(format!("{name}.pem"))
}

fn key(out: &Path, name: &str) -> PathBuf {
    out.join(format!("{name}.key"))
}

/// The CA of `out`, made if there is none, and whether there was one.
fn authority(out: &Path) -> anyhow::Result<(Issuer<'static, KeyPair>, bool)> {
    let (pem, key) = (pem(out, "ca"), key(out, "ca"));
    match (pem.exists(), key.exists()) {
        (true, true) => {
            let read = |path: &Path| {
                fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
            };
            let pair = KeyPair::from_pem(&read(&key)?)
                .with_context(|| format!("{} is not a private key", key.display()))?;
            let issuer = Issuer::from_ca_cert_pem(&read(&pem)?, pair)
                .with_context(|| format!("{} is not a CA certificate", pem.display()))?;
            Ok((issuer, true))
        }
        (false, false) => {
            let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let params = authority_params()?;
            let certificate = params.self_signed(&pair)?;
            write(&key, &pair.serialize_pem(), 0o600)?;
            write(&pem, &certificate.pem(), 0o644)?;
            Ok((Issuer::new(params, pair), false))
        }
        (there, _) => {
            let (has, lacks) = if there { (&pem, &key) } else { (&key, &pem) };
            bail!(
                "{} is there but {} is not: restore it, or use another --out",
                has.display(),
                lacks.display()
            )
        }
    }
}

fn params(name: &str, days: u32, dns_names: Vec<String>) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(dns_names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + DAY * days).into();
    Ok(params)
}

fn authority_params() -> anyhow::Result<CertificateParams> {
    let mut params = params("Foreshift lab CA", CA_DAYS, Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Makes one engine's certificate and verifies it against `ca` as its peers will, before writing it.
fn engine(out: &Path, name: &str, issuer: &Issuer<'_, KeyPair>, ca: &Path) -> anyhow::Result<()> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = params(name, ENGINE_DAYS, vec![name.to_owned()])?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&pair, issuer)?;
    let roots = Arc::new(tls::roots(ca)?);
    tls::verify(&Arc::new(tls::provider()), roots, &[certificate.der().clone()], name).with_context(
        || format!("the CA in {} cannot sign for engines (expired, or ca.key of another CA)", ca.display()),
    )?;
    write(&key(out, name), &pair.serialize_pem(), 0o600)?;
    write(&pem(out, name), &certificate.pem(), 0o644)
}

/// Writes whole or not at all: to a new file, then renamed. Never readable by others meanwhile.
fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    // Left by a run that was killed.
    let _ = fs::remove_file(&new);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path));
    written.with_context(|| format!("cannot write {} (through {})", path.display(), new.display()))
}
