//! Detached signatures: `FILE.sig` beside a component, Ed25519 over its digest, in base64.
//!
//! Blocking. What is signed says that it is a plugin: no signature made for anything else fits. Must never take an
//! unreadable signature for none.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use super::HostConfig;
use super::load::{self, Problem};

/// Before the digest in what is signed.
const DOMAIN: &[u8] = b"waypost-plugin-signature-v1\0";

/// Octets of a signature's or a key's file: both have about a hundred.
const FILE_MAX: u64 = 4096;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// Where a component's signature is.
pub(crate) fn beside(component: &Path) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// Looks at the signature of a component that a relay is to load, as far as its operator cares for signatures.
pub(crate) fn check(component: &Path, digest: &[u8; 32], host: &HostConfig) -> Result<(), Problem> {
    if host.signers.is_empty() {
        return Ok(());
    }
    let path = beside(component);
    let shown = path.display();
    let wrong = |why: String| Err(Problem::Signature(why));
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !host.require_signature => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return wrong(format!(
                "it is not signed: there is no {shown}; have it signed with `waypost plugin sign`, or set \
                 plugin-host.require-signature = false"
            ));
        }
        Err(error) => return wrong(format!("its signature {shown} can't be read: {error}")),
    };
    let Some(signature) = decoded::<64>(&text) else {
        return wrong(format!("{shown} is no signature: it has to be 64 octets in base64; sign the component again"));
    };
    if host.signers.iter().any(|key| is_good(key, digest, &signature)) {
        return Ok(());
    }
    wrong(format!(
        "its signature {shown} is none of plugin-host.signers: the component was changed after it was signed, or \
         signed with another key; have it signed again, or add the key if you trust it"
    ))
}

/// Makes a key pair: the private key goes to a new file, the public one comes back in base64.
///
/// # Errors
/// Where the file can't be made, or is there already.
pub fn keygen(file: &Path) -> Result<String, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    let document = document.map_err(|_| "the system gives no random octets".to_owned())?;
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|e| failed(&e))?;
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(|e| failed(&e))?;
    let pem = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(document.as_ref()));
    io::Write::write_all(&mut out, pem.as_bytes()).and_then(|()| out.sync_all()).map_err(|e| failed(&e))?;
    Ok(STANDARD.encode(pair.public_key().as_ref()))
}

/// Signs a component with a key of [`keygen`], or another Ed25519 key in PKCS #8; where the signature is.
///
/// # Errors
/// Where a file can't be read or written, or the key is none.
pub fn sign(key: &Path, component: &Path) -> Result<PathBuf, String> {
    let text = read(key).map_err(|e| format!("{}: {e}", key.display()))?;
    let body: String = text.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).unwrap_or("").into();
    let none = || format!("{} is no Ed25519 private key: make one with `waypost plugin keygen`", key.display());
    let document = STANDARD.decode(body.split_whitespace().collect::<String>()).map_err(|_| none())?;
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&document).map_err(|_| none())?;
    let octets = load::read(component).map_err(|e| e.to_string())?;
    let signature = pair.sign(&message(&load::digest_of(&octets)));
    let path = beside(component);
    let text = format!("{}\n", STANDARD.encode(signature.as_ref()));
    fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

/// Looks at a component's signature with one public key in base64.
///
/// # Errors
/// Why it is not good.
pub fn verify(key: &str, component: &Path) -> Result<(), String> {
    let key = decoded::<32>(key).ok_or("the key is no Ed25519 public key in base64")?;
    let octets = load::read(component).map_err(|e| e.to_string())?;
    let host = HostConfig { signers: vec![key], require_signature: true, ..HostConfig::default() };
    check(component, &load::digest_of(&octets), &host)
        .map_err(|_| format!("{} is not signed by that key, or was changed after it was", component.display()))
}

fn message(digest: &[u8; 32]) -> Vec<u8> {
    [DOMAIN, digest].concat()
}

fn is_good(key: &[u8; 32], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(&message(digest), signature).is_ok()
}

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}
