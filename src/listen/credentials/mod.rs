//! The relay's own credentials: a file of names and what their passwords come to, checked off the workers.
//!
//! A line is `name:` and an argon2 hash, a SCRAM verifier, or both with a space between. Hashing is meant to be slow and
//! to take memory, so it runs on blocking threads, a few at a time. Nothing is cached: a cache of what was right would be
//! a list of passwords in memory. A name that is not in the file costs as much time as one that is, and comparison is in
//! constant time. Never logs a name or a secret.

mod scram;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use argon2::password_hash::{Ident, PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Argon2, Params};
use tokio::sync::Semaphore;

use crate::session::ScramVerifier;

/// Who may authenticate.
pub struct Credentials {
    accounts: HashMap<Box<str>, Account>,
    /// Verified where a name is unknown; nothing matches it.
    dummy: Check,
    /// Iterations said of names without a verifier.
    iterations: u32,
    /// One hash takes 19 MiB and a core for some 20 ms: more at a time than there are cores only takes memory.
    permits: Semaphore,
}

/// What there is of one name.
#[derive(Clone, Default)]
struct Account {
    hash: Option<Arc<str>>,
    verifier: Option<ScramVerifier>,
}

/// What a password is held against.
#[derive(Clone)]
enum Check {
    Argon2(Arc<str>),
    Scram(ScramVerifier),
}

/// What `waypost password` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forms {
    /// Every mechanism works.
    #[default]
    Both,
    /// The password has to be sent: PLAIN and LOGIN only.
    Argon2,
    /// Every mechanism works; who steals the file guesses faster than against argon2 alone, and as fast as with both.
    Scram,
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
        let (mut accounts, mut errors) = (HashMap::new(), Vec::new());
        let (mut dearest, mut iterations) = (0, None);
        let mut hashed: Option<Arc<str>> = None;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let checked = check_line(line).and_then(|(name, account, cost)| {
                let twice = accounts.insert(Box::from(name), account.clone()).is_some();
                if twice { Err(format!("{name:?} is there twice")) } else { Ok((account, cost)) }
            });
            match checked {
                Ok((account, cost)) => {
                    iterations = iterations.max(account.verifier.map(|verifier| verifier.iterations));
                    // The dearest hash sets the cost of an unknown name.
                    if let Some(hash) = account.hash.filter(|_| cost > dearest) {
                        dearest = cost;
                        hashed = like(&hash);
                    }
                }
                Err(problem) => errors.push(CredentialError::Line(path.to_owned(), at + 1, problem)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let permits = Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
        let dummy = match (hashed, iterations) {
            (Some(hash), _) => Check::Argon2(hash),
            (None, Some(iterations)) => Check::Scram(scram::made_up("", iterations)),
            (None, None) => Check::Argon2(NOBODY.into()),
        };
        Ok(Self { accounts, dummy, iterations: iterations.unwrap_or(scram::USUAL), permits })
    }

    /// A line for the file, with the usual costs and salts of its own. Blocking.
    ///
    /// # Errors
    /// When the system gives no random octets, or the secret can't be used.
    pub fn line(name: &str, secret: &str, forms: Forms) -> Result<String, String> {
        Ok(match forms {
            Forms::Argon2 => format!("{name}:{}", hash(secret)?),
            Forms::Scram => format!("{name}:{}", scram::create(secret)?),
            Forms::Both => format!("{name}:{} {}", hash(secret)?, scram::create(secret)?),
        })
    }

    /// True if this name has this secret. Takes some tens of milliseconds, whatever the answer.
    pub async fn verify(&self, name: &str, secret: &str) -> bool {
        let known = self.accounts.get(name).and_then(Account::check);
        let exists = known.is_some();
        let check = known.unwrap_or_else(|| self.dummy.clone());
        let secret = secret.to_owned();
        // The semaphore is never closed.
        let Ok(_permit) = self.permits.acquire().await else { return false };
        let matches = tokio::task::spawn_blocking(move || check.matches(&secret)).await;
        matches.unwrap_or(false) && exists
    }

    /// What SCRAM holds the name's password against. Where there is nothing, it is made up: always the same for a name,
    /// and nothing proves it.
    pub fn verifier(&self, name: &str) -> ScramVerifier {
        let made_up = scram::made_up(name, self.iterations);
        self.accounts.get(name).and_then(|account| account.verifier.clone()).unwrap_or(made_up)
    }

    /// As `verifier`, where there are no credentials at all.
    pub fn no_verifier(name: &str) -> ScramVerifier {
        scram::made_up(name, scram::USUAL)
    }

    /// How many names have a verifier for SCRAM.
    pub fn verifiers(&self) -> usize {
        self.accounts.values().filter(|account| account.verifier.is_some()).count()
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// True if nobody can authenticate.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

impl std::fmt::Debug for Credentials {
    /// How many, not who.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("names", &self.len()).finish_non_exhaustive()
    }
}

impl Account {
    /// Argon2 where there is a choice: it was made to be dear.
    fn check(&self) -> Option<Check> {
        let hash = self.hash.clone().map(Check::Argon2);
        hash.or_else(|| self.verifier.clone().map(Check::Scram))
    }
}

impl Check {
    /// Blocking.
    fn matches(&self, secret: &str) -> bool {
        match self {
            Self::Argon2(hash) => matches(hash, secret),
            Self::Scram(verifier) => scram::matches(verifier, secret),
        }
    }
}

fn matches(hash: &str, secret: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(secret.as_bytes(), &hash).is_ok())
}

/// A new argon2 hash.
fn hash(secret: &str) -> Result<String, String> {
    let mut salt = [0; 16];
    getrandom::getrandom(&mut salt).map_err(|error| format!("no random octets: {error}"))?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    let hash = Argon2::default().hash_password(secret.as_bytes(), &salt).map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}

/// Name, what there is of it, and what its hash costs.
fn check_line(line: &str) -> Result<(&str, Account, u64), String> {
    let (name, forms) =
        line.split_once(':').ok_or("no colon: a line is NAME:HASH, as `waypost password NAME` prints it")?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err("no name before the colon".to_owned());
    }
    let (mut account, mut cost) = (Account::default(), 0);
    for form in forms.split_ascii_whitespace() {
        let twice = if form.starts_with("SCRAM-") {
            let verifier =
                scram::read(form).map_err(|why| format!("the SCRAM verifier of {name:?} can't be used{why}"))?;
            account.verifier.replace(verifier).is_some()
        } else {
            cost = check_hash(name, form)?;
            account.hash.replace(form.into()).is_some()
        };
        if twice {
            return Err(format!("{name:?} has two of a kind: one argon2 hash, one SCRAM verifier or both"));
        }
    }
    if account.check().is_none() {
        return Err(format!("nothing follows {name:?}"));
    }
    Ok((name, account, cost))
}

/// The cost of an argon2 hash.
fn check_hash(name: &str, hash: &str) -> Result<u64, String> {
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
    Ok(u64::from(params.m_cost()) * u64::from(params.t_cost()))
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

    fn cheap(secret: &str) -> String {
        let cheap =
            Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        cheap.hash_password(secret.as_bytes(), &SaltString::encode_b64(b"salt for tests").unwrap()).unwrap().to_string()
    }

    #[tokio::test]
    async fn only_the_right_secret_of_a_known_name_is_taken() {
        let file = format!("# who may send\n\nann:{}\n  bob@example.net:{}\n", cheap("anna's"), cheap(""));
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
        for forms in [Forms::Both, Forms::Argon2, Forms::Scram] {
            let printed = Credentials::line("ann", "correct horse", forms).unwrap();
            assert_ne!(printed, Credentials::line("ann", "correct horse", forms).unwrap(), "salted");
            let credentials = Credentials::parse(Path::new("f"), &printed).unwrap();
            assert!(credentials.verify("ann", "correct horse").await);
            assert!(!credentials.verify("ann", "Correct horse").await);
            assert!(!credentials.verify("eve", "correct horse").await);
            assert_eq!(credentials.verifiers(), usize::from(forms != Forms::Argon2));
        }
    }

    #[test]
    fn all_bad_lines_are_reported_and_none_is_quoted() {
        let dear = "$argon2id$v=19$m=999999,t=2,p=1$bm9ib2R5bm9ib2R5$bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2Q";
        let file = format!(
            "plain\nann:hunter2\n:x\nbob:{0}\nbob:{0}\neve:$argon2id$v=19$m=8,t=1,p=1\nmax:{dear}\nkim:\nsue:{0} {0}\nliz:SCRAM-SHA-256$4095:YQ==$x:y",
            cheap("x")
        );
        let errors = Credentials::parse(Path::new("f"), &file).unwrap_err();
        let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        f:1: no colon: a line is NAME:HASH, as `waypost password NAME` prints it
        f:2: what follows "ann" is no argon2 hash
        f:3: no name before the colon
        f:5: "bob" is there twice
        f:6: what follows "eve" is no argon2 hash: it is cut short
        f:7: the hash of "max" costs more than 262144 KiB or 20 passes
        f:8: nothing follows "kim"
        f:9: "sue" has two of a kind: one argon2 hash, one SCRAM verifier or both
        f:10: the SCRAM verifier of "liz" can't be used: its iterations are not from 4096 to 1000000
        "#);
        assert!(!shown.concat().contains("hunter2"));
    }

    #[test]
    fn an_unknown_name_costs_as_much_as_the_dearest_known_one() {
        let credentials = Credentials::parse(Path::new("f"), &format!("ann:{}", cheap("x"))).unwrap();
        let Check::Argon2(dummy) = credentials.dummy else { panic!() };
        let dummy = PasswordHash::new(&dummy).unwrap();
        let params = Params::try_from(&dummy).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (8, 1, 1));
        assert!(PasswordHash::new(NOBODY).unwrap().hash.is_some());
        assert!(!matches(NOBODY, "nobody"));
    }

    #[test]
    fn a_name_without_verifier_looks_like_one_that_has_one() {
        let line = "bob:SCRAM-SHA-256$5000:bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2Q=$\
                    bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm8=:bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm9ib2R5bm8=";
        let file = format!("ann:{}\n{line}", cheap("x"));
        let credentials = Credentials::parse(Path::new("f"), &file).unwrap();
        assert_eq!((credentials.len(), credentials.verifiers()), (2, 1));
        assert_eq!(credentials.verifier("bob").stored_key, credentials.verifier("bob").server_key);
        for name in ["ann", "eve"] {
            let verifier = credentials.verifier(name);
            assert_eq!(verifier.iterations, 5000);
            assert_eq!(verifier, credentials.verifier(name));
            assert_ne!(verifier.salt, credentials.verifier("max").salt);
        }
        let only = Credentials::parse(Path::new("f"), line).unwrap();
        assert!(matches!(only.dummy, Check::Scram(ScramVerifier { iterations: 5000, .. })));
    }

    #[test]
    fn an_absent_file_is_one_error() {
        let errors = Credentials::load(Path::new("/nowhere/credentials")).unwrap_err();
        assert!(matches!(errors.as_slice(), [CredentialError::File(..)]));
    }
}
