//! TLS between engines: version 1.3 only, both ends with a certificate of one CA, a full handshake for
//! every connection (so that its keys are fresh).

use super::{PeerConfig, keys};
use rustls::client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use zeroize::Zeroizing;

/// What a connection is for: told apart from each other, and from every other protocol and later version, at the handshake
/// (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The control connection.
    Control,
    /// Mirrored traffic: a connection of its own, so that it delays no lease.
    Mirror,
    /// Sessions for a shadow: at a listener of its own.
    Shadow,
}

impl Purpose {
    /// What the listener for this takes.
    const fn taken(self) -> &'static [Purpose] {
        match self {
            Purpose::Control | Purpose::Mirror => &[Purpose::Control, Purpose::Mirror],
            Purpose::Shadow => &[Purpose::Shadow],
        }
    }

    const fn alpn(self) -> &'static [u8] {
        match self {
            Purpose::Control => b"foreshift/1",
            Purpose::Mirror => b"foreshift-mirror/1",
            Purpose::Shadow => control::shadow::ALPN,
        }
    }
}

/// Why this engine's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or not PEM of the right kind.
    #[error("cannot read {what} from {}: {reason}", path.display())]
    Read {
        /// What was expected in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The certificate is not for this engine, not from this CA, or out of date.
    #[error("certificate {} cannot be used by engine {name:?} with CA {}: {reason}; make one with `foreshift pki`",
        cert.display(), ca.display())]
    Certificate {
        /// This engine's name.
        name: String,
        /// Its certificate.
        cert: PathBuf,
        /// The CA.
        ca: PathBuf,
        /// What the verification says.
        reason: Box<rustls::Error>,
    },
    /// Certificate and key do not belong together, or are of a kind that TLS 1.3 does not know.
    #[error("certificate and key cannot be used for TLS: {0}")]
    Setup(String),
}

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
pub enum RefusedError {
    /// The handshake failed: no, wrong or outdated certificate, or not TLS at all.
    #[error("handshake: {0}")]
    Handshake(#[from] io::Error),
    /// The certificate is valid but of no configured peer, or of several.
    #[error("its certificate names {0} of the configured peers, not one")]
    Names(usize),
    /// Not this protocol.
    #[error("it does not speak this version of the protocol")]
    Protocol,
}

/// The TLS side of an engine: connects to and accepts its peers.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    mirror_connector: TlsConnector,
    acceptor: TlsAcceptor,
    purpose: Purpose,
    peers: Arc<[(String, ServerName<'static>)]>,
}

impl Tls {
    /// Loads and checks the files that `config` names; for control connections.
    pub fn load(config: &PeerConfig) -> Result<Tls, TlsError> {
        Tls::load_for(config, Purpose::Control)
    }

    /// The same, for connections between the same engines that are for something else.
    pub fn load_for(config: &PeerConfig, purpose: Purpose) -> Result<Tls, TlsError> {
        let provider = Arc::new(provider());
        let roots = Arc::new(roots(&config.ca)?);
        let chain = read_certificates(&config.cert, "a certificate")?;
        verify(&provider, roots.clone(), &chain, &config.name).map_err(|reason| TlsError::Certificate {
            name: config.name.clone(),
            cert: config.cert.clone(),
            ca: config.ca.clone(),
            reason: Box::new(reason),
        })?;
        let key = read_key(&config.key)?;
        let mut client = client_config(provider.clone(), roots.clone(), chain.clone(), key.clone_key())?;
        let mut server = server_config(provider, roots, chain, key)?;
        client.alpn_protocols = vec![purpose.alpn().to_vec()];
        server.alpn_protocols = purpose.taken().iter().map(|taken| taken.alpn().to_vec()).collect();
        let peers = config.peers.iter().map(|peer| Ok((peer.name.clone(), server_name(&peer.name)?)));
        let mut mirror = client.clone();
        mirror.alpn_protocols = vec![Purpose::Mirror.alpn().to_vec()];
        Ok(Tls {
            connector: Arc::new(client).into(),
            mirror_connector: Arc::new(mirror).into(),
            acceptor: Arc::new(server).into(),
            purpose,
            peers: peers.collect::<Result<_, TlsError>>()?,
        })
    }

    /// Client handshake with `peer`, whose certificate must carry that name. The peer has not yet
    /// verified ours when this returns (RFC 8446 §4.4.4: the client speaks last).
    pub async fn connect(&self, tcp: TcpStream, peer: &str) -> Result<TlsStream<TcpStream>, RefusedError> {
        self.connect_for(self.purpose, tcp, peer).await
    }

    /// The same, for another purpose.
    pub async fn connect_for(
        &self,
        purpose: Purpose,
        tcp: TcpStream,
        peer: &str,
    ) -> Result<TlsStream<TcpStream>, RefusedError> {
        let name = ServerName::try_from(peer.to_owned()).map_err(|_| RefusedError::Names(0))?;
        let connector = match purpose {
            Purpose::Control | Purpose::Shadow => &self.connector,
            Purpose::Mirror => &self.mirror_connector,
        };
        let stream = TlsStream::from(connector.connect(name, tcp).await?);
        if self::purpose(&stream)? == purpose { Ok(stream) } else { Err(RefusedError::Protocol) }
    }

    /// Server handshake: the configured peer that the client proved to be, and what it wants.
    pub async fn accept(
        &self,
        tcp: TcpStream,
    ) -> Result<(String, Purpose, TlsStream<TcpStream>), RefusedError> {
        let stream = TlsStream::from(self.acceptor.accept(tcp).await?);
        let purpose = purpose(&stream)?;
        let names = self.names(&stream);
        match names.as_slice() {
            [name] => Ok(((*name).to_owned(), purpose, stream)),
            several => Err(RefusedError::Names(several.len())),
        }
    }

    /// The configured peers that the (already verified) certificate of the other end is valid for.
    fn names(&self, stream: &TlsStream<TcpStream>) -> Vec<&str> {
        let end_entity = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let Some(Ok(certificate)) = end_entity.map(ParsedCertificate::try_from) else { return Vec::new() };
        self.peers
            .iter()
            .filter(|(_, name)| verify_server_name(&certificate, name).is_ok())
            .map(|(peer, _)| peer.as_str())
            .collect()
    }
}

/// The secret of this connection from which SA keys follow; see [`keys`].
pub fn exporter_secret(
    stream: &TlsStream<TcpStream>,
) -> Result<Zeroizing<[u8; keys::SECRET_LENGTH]>, rustls::Error> {
    let mut secret = Zeroizing::new([0; keys::SECRET_LENGTH]);
    match stream {
        TlsStream::Client(client) => {
            client.get_ref().1.export_keying_material(secret.as_mut_slice(), keys::EXPORTER_LABEL, None)?
        }
        TlsStream::Server(server) => {
            server.get_ref().1.export_keying_material(secret.as_mut_slice(), keys::EXPORTER_LABEL, None)?
        }
    };
    Ok(secret)
}

/// Whether `chain` is an engine's certificate for `name`, signed by `roots`, valid now.
pub(super) fn verify(
    provider: &Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    name: &str,
) -> Result<(), rustls::Error> {
    let invalid = |error: &dyn std::fmt::Display| rustls::Error::General(error.to_string());
    let name = ServerName::try_from(name.to_owned()).map_err(|e| invalid(&e))?;
    let (end_entity, intermediates) = chain.split_first().ok_or_else(|| invalid(&"no certificate"))?;
    let now = UnixTime::now();
    WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|e| invalid(&e))?
        .verify_server_cert(end_entity, intermediates, &name, &[], now)?;
    WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|e| invalid(&e))?
        .verify_client_cert(end_entity, intermediates, now)?;
    Ok(())
}

/// One cipher suite: both ends are ours, and its hash carries 256-bit SA keys.
pub(super) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384];
    provider
}

/// The trust anchors in the PEM file `ca`.
pub(super) fn roots(ca: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(ca, "a CA certificate")? {
        roots.add(certificate).map_err(|error| read_error("a CA certificate", ca, error))?;
    }
    Ok(roots)
}

pub(super) fn client_config(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(setup)?;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![Purpose::Control.alpn().to_vec()];
    Ok(config)
}

fn server_config(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build().map_err(setup)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setup)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(setup)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// What both ends agreed on. A client may leave ALPN out altogether, which rustls lets pass.
fn purpose(stream: &TlsStream<TcpStream>) -> Result<Purpose, RefusedError> {
    let said = stream.get_ref().1.alpn_protocol();
    let all = [Purpose::Control, Purpose::Mirror, Purpose::Shadow];
    let purpose = all.into_iter().find(|purpose| said == Some(purpose.alpn()));
    purpose.ok_or(RefusedError::Protocol)
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(setup)
}

fn setup(error: impl std::fmt::Display) -> TlsError {
    TlsError::Setup(error.to_string())
}

fn read_error(what: &'static str, path: &Path, reason: impl std::fmt::Display) -> TlsError {
    TlsError::Read { what, path: path.to_owned(), reason: reason.to_string() }
}

pub(super) fn read_certificates(
    path: &Path,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| read_error(what, path, error))?;
    if chain.is_empty() { Err(read_error(what, path, "it has no CERTIFICATE section")) } else { Ok(chain) }
}

pub(super) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    use std::os::unix::fs::PermissionsExt;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| read_error("a private key", path, error))?;
    if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "private key is readable by others: chmod 600");
    }
    Ok(key)
}
