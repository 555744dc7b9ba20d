//! A listener's certificate and key: read at the start, and again whenever the files change.

use std::{
    fmt,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use zeroize::Zeroizing;

use crate::{
    observe::{CertificateLoaded, Observer},
    validity::not_after,
};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LARGEST_FILE: u64 = 1 << 20;

/// `listen.*.tls`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// A PEM file: the server's certificate, then those that vouch for it.
    pub certificate: PathBuf,
    /// A PEM file: its private key.
    pub key: PathBuf,
    /// Who may vouch for clients' certificates; None: clients aren't asked for one.
    pub clients: Option<ClientCertificate>,
}

/// `client_ca` and `client_certificate`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// A PEM file with the authorities' certificates.
    pub authorities: PathBuf,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

/// What is wrong with a listener's files, by the key that names the file. In words with nothing of what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// `certificate`
    Certificate(String),
    /// `key`
    Key(String),
    /// `client_ca`
    ClientCa(String),
}

/// A listener's certificate at work.
#[derive(Debug)]
pub struct Tls {
    at_work: ArcSwap<AtWork>,
}

/// What is in the files, and which they are.
#[derive(Debug)]
struct AtWork {
    settings: TlsSettings,
    loaded: Loaded,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// The first end of a certificate in the file, in Unix seconds.
    expires_at: Option<i64>,
    /// Tells these files' contents from others.
    contents: u64,
}

/// The files' contents.
struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One can't be read, holds something else, or the key isn't the certificate's.
    pub fn load(settings: TlsSettings) -> Result<Tls, TlsFault> {
        let loaded = Loaded::of(&Files::read(&settings)?, &settings)?;
        Ok(Tls { at_work: ArcSwap::from_pointee(AtWork { settings, loaded }) })
    }

    /// What new connections shake hands by.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.at_work.load().loaded.config.clone()
    }

    /// Looks at the files for ever, and takes over what is in them once it has changed and is good. Until then, what was
    /// there before stays.
    pub async fn maintain(self: Arc<Tls>, observer: Arc<Observer>) {
        let at_work = self.at_work.load_full();
        observer.certificate(&at_work.file(), at_work.loaded.expires_at);
        let mut refused = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let at_work = self.at_work.load_full();
            let files = Files::read(&at_work.settings);
            let contents = files.as_ref().map(Files::hash).map_err(Clone::clone);
            if contents == Ok(at_work.loaded.contents) {
                refused = None;
                continue;
            }
            if refused.as_ref() == Some(&contents) {
                continue;
            }
            let loaded = files.and_then(|files| Loaded::of(&files, &at_work.settings));
            let result = loaded.as_ref().map(|loaded| loaded.expires_at).map_err(TlsFault::to_string);
            CertificateLoaded { file: &at_work.file(), result }.record(&observer);
            match loaded {
                // Unless it was replaced meanwhile.
                Ok(loaded) => drop(
                    self.at_work
                        .compare_and_swap(&at_work, Arc::new(AtWork { settings: at_work.settings.clone(), loaded })),
                ),
                Err(_) => refused = Some(contents),
            }
        }
    }

    /// Takes over what was read for another one, if it isn't the same; whether it did.
    pub(super) fn replace(&self, new: Tls, observer: &Observer) -> bool {
        let (new, old) = (new.at_work.into_inner(), self.at_work.load_full());
        if new.settings == old.settings && new.loaded.contents == old.loaded.contents {
            return false;
        }
        CertificateLoaded { file: &new.file(), result: Ok(new.loaded.expires_at) }.record(observer);
        self.at_work.store(new);
        true
    }
}

impl Tls {
    /// Its certificate's file, as metrics and log name it.
    pub(super) fn file(&self) -> String {
        self.at_work.load().file()
    }
}

impl AtWork {
    /// As metrics and log name it.
    fn file(&self) -> String {
        self.settings.certificate.display().to_string()
    }
}

impl Files {
    fn read(settings: &TlsSettings) -> Result<Files, TlsFault> {
        let words = |error: io::Error| error.to_string();
        let clients = settings.clients.as_ref();
        Ok(Files {
            certificate: read(&settings.certificate).map_err(words).map_err(TlsFault::Certificate)?,
            key: Zeroizing::new(read(&settings.key).map_err(words).map_err(TlsFault::Key)?),
            client_ca: clients
                .map(|clients| read(&clients.authorities))
                .transpose()
                .map_err(words)
                .map_err(TlsFault::ClientCa)?,
        })
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.certificate, self.key.as_slice(), &self.client_ca).hash(&mut hasher);
        hasher.finish()
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other("the file is larger than 1 MiB"));
    }
    Ok(bytes)
}

impl Loaded {
    fn of(files: &Files, settings: &TlsSettings) -> Result<Loaded, TlsFault> {
        let chain = certificates(&files.certificate).map_err(TlsFault::Certificate)?;
        let expires_at = chain.iter().filter_map(|certificate| not_after(certificate)).min();
        let key = private_key(&files.key).map_err(TlsFault::Key)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsFault::Key("the key is not the certificate's".to_owned()),
            rustls::Error::InvalidCertificate(_) => TlsFault::Certificate(NO_CERTIFICATE.to_owned()),
            _ => TlsFault::Key("a key of a kind that is not supported (RSA, ECDSA and Ed25519 are)".to_owned()),
        })?;
        let clients = settings.clients.as_ref().zip(files.client_ca.as_ref());
        let verifier = clients.map(|(clients, pem)| client_verifier(pem, clients.required)).transpose();
        let verifier = verifier.map_err(TlsFault::ClientCa)?.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsFault::Key(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Loaded { config: Arc::new(config), expires_at, contents: files.hash() })
    }
}

const NO_CERTIFICATE: &str = "no certificate: a PEM file with `BEGIN CERTIFICATE` is expected";

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|_| "a section that is not PEM".to_owned())?;
    if all.is_empty() {
        return Err(NO_CERTIFICATE.to_owned());
    }
    Ok(all)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let says = |words: &[u8]| memchr::memmem::find(pem, words).is_some();
    if says(b"BEGIN ENCRYPTED PRIVATE KEY") || says(b"Proc-Type: 4,ENCRYPTED") {
        return Err("the key is encrypted; `openssl pkey -in FILE -out KEY` decrypts it".to_owned());
    }
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| "no private key: a PEM file with `BEGIN PRIVATE KEY` is expected".to_owned())
}

fn client_verifier(pem: &[u8], required: bool) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|_| "a certificate that cannot vouch for another".to_owned())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
    verifier.build().map_err(|error| error.to_string())
}

impl TlsFault {
    /// What is wrong, without the key.
    pub fn words(&self) -> &str {
        match self {
            TlsFault::Certificate(words) | TlsFault::Key(words) | TlsFault::ClientCa(words) => words,
        }
    }
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self {
            TlsFault::Certificate(_) => "certificate",
            TlsFault::Key(_) => "key",
            TlsFault::ClientCa(_) => "client_ca",
        };
        write!(f, "`{key}`: {}", self.words())
    }
}
