//! The relay's own credentials: a file of `name:argon2-hash` lines, checked off the workers.
//!
//! Hashing is meant to be slow and to take memory, so it runs on blocking threads, a few at a time. Nothing is cached:
//! a cache of what was right would be a list of passwords in memory. A name that is not in the file costs as much time
//! as one that is, and comparison is argon2's own, in constant time. Never logs a name or a secret.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::password_hash::{Ident, PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Argon2, Params};
use tokio::sync::Semaphore;

/// Who may authenticate.
pub struct Credentials {
    hashes: HashMap<Box<str>, Arc<str>>,
    /// Verified where a name is unknown; nothing matches it.
    dummy: Arc<str>,
    /// One hash takes 19 MiB and a core for some 20 ms: more at a time than there are cores only takes memory.
    permits: Semaphore,
}

/// A line that can't be used, or the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The file can't be read.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, String),
    /// A line is wrong. It is not quoted: it may hold a secret.
    #[error("{}:{}: {}", .0.display(), .1, .2)]
    Line(PathBuf, usize, String),
}

/// A hash that nobody's password leads to, with argon2's usual costs: its salt and output are fixed, and finding a
/// password for it is what argon2 prevents.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2R5$bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2Q";

/// A hash dearer than this would let each login take the relay's memory or seconds of CPU.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 20;

impl Credentials {
    /// Reads the file: `name:hash` a line, `#` for comments; `waypost password NAME` prints such a line. Blocking.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Vec<CredentialError>> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![CredentialError::File(path.to_owned(), error.to_string())])?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Vec<CredentialError>> {
        let (mut hashes, mut errors) = (HashMap::new(), Vec::new());
        let mut dearest = 0;
        let mut dummy: Arc<str> = NOBODY.into();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let checked = check_line(line).and_then(|(name, hash, cost)| {
                let twice = hashes.insert(Box::from(name), Arc::from(hash)).is_some();
                if twice { Err(format!("{name:?} is there twice")) } else { Ok((hash, cost)) }
            });
            match checked {
                // The dearest hash sets the cost of an unknown name.
                Ok((hash, cost)) if cost > dearest => {
                    dearest = cost;
                    dummy = like(hash).unwrap_or_else(|| NOBODY.into());
                }
                Ok(_) => {}
                Err(problem) => errors.push(CredentialError::Line(path.to_owned(), at + 1, problem)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let permits = Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
        Ok(Self { hashes, dummy, permits })
    }

    /// A line for the file, with argon2's usual costs and a salt of its own. Blocking.
    ///
    /// # Errors
    /// When the system gives no random octets, or argon2 does not take the secret.
    pub fn line(name: &str, secret: &str) -> Result<String, String> {
        let mut salt = [0; 16];
        getrandom::getrandom(&mut salt).map_err(|error| format!("no random octets: {error}"))?;
        let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
        let hash = Argon2::default().hash_password(secret.as_bytes(), &salt).map_err(|error| error.to_string())?;
        Ok(format!("{name}:{hash}"))
    }

    /// True if this name has this secret. Takes some tens of milliseconds, whatever the answer.
    pub async fn verify(&self, name: &str, secret: &str) -> bool {
        let known = self.hashes.get(name);
        let hash = Arc::clone(known.unwrap_or(&self.dummy));
        let secret = secret.to_owned();
        // The semaphore is never closed.
        let Ok(_permit) = self.permits.acquire().await else { return false };
        let matches = tokio::task::spawn_blocking(move || matches(&hash, &secret)).await;
        matches.unwrap_or(false) && known.is_some()
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// True if nobody can authenticate.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

impl std::fmt::Debug for Credentials {
    /// How many, not who.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("names", &self.len()).finish_non_exhaustive()
    }
}

fn matches(hash: &str, secret: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(secret.as_bytes(), &hash).is_ok())
}

/// Name, hash and its cost.
fn check_line(line: &str) -> Result<(&str, &str, u64), String> {
    let (name, hash) =
        line.split_once(':').ok_or("no colon: a line is NAME:HASH, as `waypost password NAME` prints it")?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("no name before the colon".to_owned());
    }
    let no_hash = |why: &str| format!("what follows {name:?} is no argon2 hash{why}");
    let parsed = PasswordHash::new(hash).map_err(|_| no_hash(""))?;
    argon2::Algorithm::try_from(parsed.algorithm).map_err(|_| no_hash(""))?;
    let params = Params::try_from(&parsed).map_err(|_| no_hash(": its parameters are not valid"))?;
    if parsed.salt.is_none() || parsed.hash.is_none() {
        return Err(no_hash(": it is cut short"));
    }
    if params.m_cost() > MAX_MEMORY_KIB || params.t_cost() > MAX_PASSES {
        return Err(format!("the hash of {name:?} costs more than {MAX_MEMORY_KIB} KiB or {MAX_PASSES} passes"));
    }
    Ok((name, hash, u64::from(params.m_cost()) * u64::from(params.t_cost())))
}

/// Nobody's hash at the cost of another.
fn like(hash: &str) -> Option<Arc<str>> {
    let mut nobody = PasswordHash::new(NOBODY).ok()?;
    let model = PasswordHash::new(hash).ok()?;
    nobody.algorithm = Ident::new(model.algorithm.as_str()).ok()?;
    nobody.version = model.version;
    nobody.params = model.params;
    Some(nobody.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(secret: &str) -> String {
        let cheap =
            Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        cheap.hash_password(secret.as_bytes(), &SaltString::encode_b64(b"salt for tests").unwrap()).unwrap().to_string()
    }

    #[tokio::test]
    async fn only_the_right_secret_of_a_known_name_is_taken() {
        let file = format!("# who may send\n\nann:{}\n  bob@example.net:{}\n", hash("anna's"), hash(""));
        let credentials = Credentials::parse(Path::new("f"), &file).unwrap();
        assert_eq!(credentials.len(), 2);
        let cases = [
            ("ann", "anna's", true),
            ("ann", "bob's", false),
            ("Ann", "anna's", false),
            ("bob@example.net", "", true),
            ("eve", "anna's", false),
            ("", "", false),
        ];
        for (name, secret, expected) in cases {
            assert_eq!(credentials.verify(name, secret).await, expected, "{name} {secret}");
        }
    }

    #[tokio::test]
    async fn a_printed_line_lets_in() {
        let printed = Credentials::line("ann", "correct horse").unwrap();
        assert_ne!(printed, Credentials::line("ann", "correct horse").unwrap(), "salted");
        let credentials = Credentials::parse(Path::new("f"), &printed).unwrap();
        assert!(credentials.verify("ann", "correct horse").await);
        assert!(!credentials.verify("ann", "Correct horse").await);
    }

    #[test]
    fn all_bad_lines_are_reported_and_none_is_quoted() {
        let dear = "$argon2id$v=19$m=999999,t=2,p=1$bm9ib2R5bm9ib2R5$bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2Q";
        let file =
            format!("plain\nann:hunter2\n:x\nbob:{0}\nbob:{0}\neve:$argon2id$v=19$m=8,t=1,p=1\nmax:{dear}", hash("x"));
        let errors = Credentials::parse(Path::new("f"), &file).unwrap_err();
        let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        f:1: no colon: a line is NAME:HASH, as `waypost password NAME` prints it
        f:2: what follows "ann" is no argon2 hash
        f:3: no name before the colon
        f:5: "bob" is there twice
        f:6: what follows "eve" is no argon2 hash: it is cut short
        f:7: the hash of "max" costs more than 262144 KiB or 20 passes
        "#);
        assert!(!shown.concat().contains("hunter2"));
    }

    #[test]
    fn an_unknown_name_costs_as_much_as_the_dearest_known_one() {
        let credentials = Credentials::parse(Path::new("f"), &format!("ann:{}", hash("x"))).unwrap();
        let dummy = PasswordHash::new(&credentials.dummy).unwrap();
        let params = Params::try_from(&dummy).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (8, 1, 1));
        assert!(PasswordHash::new(NOBODY).unwrap().hash.is_some());
        assert!(!matches(NOBODY, "nobody"));
    }

    #[test]
    fn an_absent_file_is_one_error() {
        let errors = Credentials::load(Path::new("/nowhere/credentials")).unwrap_err();
        assert!(matches!(errors.as_slice(), [CredentialError::File(..)]));
    }
}
