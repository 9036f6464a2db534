//! Compiled code on disk: found by the component's digest and by what would make the code unfit, believed only with a
//! tag that nobody but this relay can make.
//!
//! Running code that somebody else wrote here would be running anything: what is read is verified first, and those very
//! octets are used, never the file again. What does not verify is removed and compiled anew.

use std::collections::BTreeSet;
use std::hash::{Hash as _, Hasher};
use std::io;
use std::path::Path;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use super::folder::Folder;
use super::load::hex;

/// Octets of compiled code: a component of the largest size becomes about six times as large.
pub(crate) const CODE_MAX: u64 = 512 << 20;

/// Says what is tagged, so that no tag made for anything else fits.
const DOMAIN: &[u8] = b"waypost-compiled-code-v1\0";

const TAG: usize = 32;

/// The folder.
pub(crate) struct Cache {
    folder: Folder,
    key: hmac::Key,
    engine: [u8; 32],
}

impl Cache {
    /// The cache below `path`, with the key beside it; both are made where they are not there.
    pub(crate) fn open(path: &Path, engine: &wasmtime::Engine) -> io::Result<Self> {
        let key = key(&Folder::make(path)?)?;
        let folder = Folder::make(&path.join("cache"))?;
        Ok(Self { folder, key: hmac::Key::new(hmac::HMAC_SHA256, &key), engine: fitness(engine) })
    }

    /// Code of that component for this engine, verified.
    pub(crate) fn read(&self, digest: &[u8; 32]) -> Option<Vec<u8>> {
        let name = self.name(digest);
        let why = match self.folder.read(&name, CODE_MAX + TAG as u64) {
            Ok(None) => return None,
            Ok(Some(mut octets)) => {
                let tag = octets.split_off(octets.len().saturating_sub(TAG));
                let claim = self.claim(digest, &octets);
                // Tags are compared by their own tags, in a time that tells nothing of them.
                if hmac::verify(&self.key, &tag, hmac::sign(&self.key, claim.as_ref()).as_ref()).is_ok() {
                    return Some(octets);
                }
                "its tag is wrong".to_owned()
            }
            Err(error) => error.to_string(),
        };
        tracing::warn!(target: "plugin", file = %self.folder.path(&name).display(), why,
            "compiled code is not what this relay put there: removed, and compiled anew");
        self.remove(digest);
        None
    }

    /// Keeps code. That it can't costs time at the next load, nothing else.
    pub(crate) fn write(&self, digest: &[u8; 32], code: &[u8]) {
        let tag = self.claim(digest, code);
        if let Err(error) = self.folder.write(&self.name(digest), &[code, tag.as_ref()]) {
            tracing::warn!(target: "plugin", %error, "compiled code can't be kept");
        }
    }

    pub(crate) fn remove(&self, digest: &[u8; 32]) {
        if let Err(error) = self.folder.remove(&self.name(digest)) {
            tracing::warn!(target: "plugin", %error, "compiled code can't be removed");
        }
    }

    /// Removes what belongs to no component of `wanted`, or to another engine.
    pub(crate) fn retain(&self, wanted: &BTreeSet<[u8; 32]>) {
        let names: BTreeSet<String> = wanted.iter().map(|digest| self.name(digest)).collect();
        for name in self.folder.names().iter().filter(|name| !names.contains(*name)) {
            if let Err(error) = self.folder.remove(name) {
                tracing::warn!(target: "plugin", %error, "compiled code that nobody needs stays");
            }
        }
    }

    fn name(&self, digest: &[u8; 32]) -> String {
        let engine = hex(&self.engine);
        format!("{}-{}", hex(digest), engine.get(..32).unwrap_or_default())
    }

    fn claim(&self, digest: &[u8; 32], code: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [DOMAIN, digest, &self.engine, code] {
            context.update(part);
        }
        context.sign()
    }
}

/// The relay's own key: random octets, made at the first start. A bad one is replaced, which only costs compiling.
fn key(folder: &Folder) -> io::Result<[u8; TAG]> {
    const NAME: &str = "key";
    match folder.read(NAME, TAG as u64) {
        Ok(Some(octets)) => match octets.try_into() {
            Ok(key) => return Ok(key),
            Err(_) => tracing::warn!(target: "plugin", "the key of the compiled code is cut off: a new one is made"),
        },
        Ok(None) => {}
        Err(error) => tracing::warn!(target: "plugin", %error, "the key of the compiled code: a new one is made"),
    }
    let mut key = [0; TAG];
    SystemRandom::new().fill(&mut key).map_err(|_| io::Error::other("the system gives no random octets"))?;
    folder.write(NAME, &[&key])?;
    Ok(key)
}

/// All that decides whether an engine can run code: its version, its settings, the processor.
fn fitness(engine: &wasmtime::Engine) -> [u8; 32] {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, octets: &[u8]) {
            self.0.update(octets);
        }
    }
    let mut hasher = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}
