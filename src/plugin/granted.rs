//! What a plugin's grants come to when a set is built: opened buckets, secrets that were read, and whether what it does
//! with them counts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::bucket::{Bucket, KvError, Value};
use super::load::Problem;
use super::role::Role;
use super::scratch::Scratch;
use super::{Access, Grants, HostConfig, Services};
use crate::store::StoreError;
use crate::time::Timestamp;

/// The name a plugin calls its own bucket by.
pub(crate) const OWN: &str = "own";

/// Octets of a secret: a private key in PEM on one line has 3 KiB.
const SECRET_MAX: usize = 4096;

/// Where a plugin's keys and values are.
#[derive(Clone)]
pub(crate) enum Keys {
    /// In the store.
    Real(Arc<Bucket>),
    /// In memory, over a bucket of the store.
    Scratch(Arc<Scratch>),
}

impl Keys {
    fn of(bucket: Bucket, role: Role) -> Self {
        let bucket = Arc::new(bucket);
        match role {
            Role::Serving => Self::Real(bucket),
            Role::Shadow => Self::Scratch(Arc::new(Scratch::over(bucket))),
        }
    }

    pub(crate) fn get(&self, key: &str, now: Timestamp) -> Result<Option<Value>, KvError> {
        match self {
            Self::Real(bucket) => bucket.get(key, now),
            Self::Scratch(scratch) => scratch.get(key, now),
        }
    }

    pub(crate) fn set(
        &self,
        key: &str,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), KvError> {
        match self {
            Self::Real(bucket) => bucket.set(key, value, expires, now),
            Self::Scratch(scratch) => scratch.set(key, value, expires, now),
        }
    }

    pub(crate) fn delete(&self, key: &str, now: Timestamp) -> Result<(), KvError> {
        match self {
            Self::Real(bucket) => bucket.delete(key),
            Self::Scratch(scratch) => scratch.delete(key, now),
        }
    }

    pub(crate) fn increment(
        &self,
        key: &str,
        delta: i64,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<i64, KvError> {
        match self {
            Self::Real(bucket) => bucket.increment(key, delta, expires, now),
            Self::Scratch(scratch) => scratch.increment(key, delta, expires, now),
        }
    }

    pub(crate) fn compare_and_set(
        &self,
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        expires: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, KvError> {
        match self {
            Self::Real(bucket) => bucket.compare_and_set(key, expected, value, expires, now),
            Self::Scratch(scratch) => scratch.compare_and_set(key, expected, value, expires, now),
        }
    }

    pub(crate) fn keys(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
        now: Timestamp,
    ) -> Result<(Vec<String>, Option<String>), KvError> {
        match self {
            Self::Real(bucket) => bucket.keys(prefix, cursor, limit, now),
            Self::Scratch(scratch) => scratch.keys(prefix, cursor, limit, now),
        }
    }
}

/// A text that must not be seen.
pub(crate) struct Secret(Box<str>);

impl Secret {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The secrets of one plugin, by name.
#[derive(Debug, Default)]
pub(crate) struct Secrets(BTreeMap<Arc<str>, Secret>);

impl Secrets {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// A guest's words without any of them: what it says goes into logs and listings.
    pub(crate) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in self.0.values() {
            if text.contains(secret.reveal()) {
                text = Cow::Owned(text.replace(secret.reveal(), "[secret]"));
            }
        }
        text
    }
}

/// What a plugin holds.
pub(crate) struct Granted {
    pub role: Role,
    /// By the names a plugin calls them by.
    pub buckets: BTreeMap<Arc<str>, (Keys, Access)>,
    pub secrets: Secrets,
}

impl Granted {
    /// Opens buckets and reads secrets. Blocking.
    pub(crate) fn open(
        services: &Services,
        host: &HostConfig,
        plugin: &str,
        grants: &Grants,
        role: Role,
    ) -> Result<Self, Problem> {
        let mut buckets = BTreeMap::new();
        let failed =
            |name: &str, why: &StoreError| Problem::Start(format!("its kv bucket `{name}` can't be opened: {why}"));
        if let Some(quota) = grants.kv {
            let bucket = Bucket::open(services.store.clone(), &services.buckets, plugin, quota);
            let bucket = bucket.map_err(|e| failed(OWN, &e))?;
            buckets.insert(OWN.into(), (Keys::of(bucket, role), Access::Write));
        }
        for (name, access) in &grants.kv_shared {
            if &**name == OWN {
                let why = "kv-shared: `own` is what a plugin calls its own bucket; give the shared one another name";
                return Err(Problem::Grants(why.to_owned()));
            }
            let quota = host.shared_kv.get(name).ok_or_else(|| {
                Problem::Grants(format!(
                    "kv-shared: there is no bucket `{name}`; add a section [plugin-host.kv.{name}]"
                ))
            })?;
            let bucket = Bucket::open_shared(services.store.clone(), &services.buckets, name, *quota);
            let bucket = bucket.map_err(|e| failed(name, &e))?;
            buckets.insert(name.clone(), (Keys::of(bucket, role), *access));
        }
        let read = |(name, path): (&Arc<str>, &std::path::PathBuf)| Ok((name.clone(), read_secret(name, path)?));
        let secrets = grants.secrets.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { role, buckets, secrets: Secrets(secrets) })
    }
}

/// The first line of a file.
fn read_secret(name: &str, path: &Path) -> Result<Secret, Problem> {
    let problem = |why: &str| Problem::Grants(format!("its secret `{name}`: {} {why}", path.display()));
    let unreadable = |e: std::io::Error| problem(&format!("can't be read: {e}"));
    // Looked at first: opening a pipe would wait for somebody to write.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(problem("is no file"));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut octets = Vec::new();
    file.take(SECRET_MAX as u64 + 2).read_to_end(&mut octets).map_err(unreadable)?;
    let line = octets.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|_| problem("is not UTF-8"))?;
    match text.len() {
        0 => Err(problem("has an empty first line")),
        1..=SECRET_MAX => Ok(Secret(text.into())),
        _ => Err(problem("has a first line of more than 4 KiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let long = "x".repeat(SECRET_MAX + 1);
        let table: [(&[u8], Result<&str, &str>); 8] = [
            (b"hunter2", Ok("hunter2")),
            (b"hunter2\r\nnot this\n", Ok("hunter2")),
            (b" spaces count \n", Ok(" spaces count ")),
            (&long.as_bytes()[1..], Ok(&long[1..])),
            (b"", Err("empty first line")),
            (b"\nsecond", Err("empty first line")),
            (b"\xff\n", Err("not UTF-8")),
            (long.as_bytes(), Err("more than 4 KiB")),
        ];
        for (content, expected) in table {
            std::fs::write(&path, content).unwrap();
            match (read_secret("key", &path), expected) {
                (Ok(secret), Ok(text)) => {
                    assert_eq!(secret.reveal(), text);
                    assert_eq!(format!("{secret:?}"), "Secret");
                }
                (Err(problem), Err(words)) => {
                    let said = problem.to_string();
                    assert!(said.contains(words) && said.contains("secret"), "{said}");
                }
                (got, expected) => panic!("{got:?} for {expected:?}"),
            }
        }
        for path in [dir.path().to_owned(), dir.path().join("missing")] {
            let said = read_secret("key", &path).unwrap_err().to_string();
            assert!(said.contains("`key`") && said.contains(path.to_str().unwrap()), "{said}");
        }
    }

    #[test]
    fn what_a_guest_says_holds_no_secret() {
        let secrets = Secrets([("a".into(), Secret("hunter2".into()))].into());
        assert_eq!(secrets.redact("pw=hunter2;hunter2"), "pw=[secret];[secret]");
        assert_eq!(secrets.redact("nothing"), "nothing");
    }
}
