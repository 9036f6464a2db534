//! Sessions of the console: a cookie in place of the token, kept in memory, with a value against requests from foreign pages.
//!
//! Only hashes of cookies are kept, so that looking one up tells nothing by the time it takes. Pure: the time is passed in.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::admin::TokenHash;
use crate::admin::token::chance;

/// Time of a session: a day at work.
pub(super) const LIFE: Duration = Duration::from_secs(12 * 3600);
/// Sessions at a time: when there are more, the oldest ends.
const MOST: usize = 256;

/// A session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// The token it began with: it ends with that.
    pub(super) token: Arc<str>,
    pub(super) hash: TokenHash,
    /// What a request that changes something has to show.
    pub(super) csrf: Arc<str>,
    began: Instant,
}

/// Those there are, by the hash of the cookie.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<[u8; 32], Session>);

fn key(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie.as_bytes()).into()
}

impl Sessions {
    /// Begins one: the cookie, and the value against foreign pages.
    pub(super) fn begin(&mut self, token: Arc<str>, hash: TokenHash, now: Instant) -> io::Result<(String, Arc<str>)> {
        self.0.retain(|_, session| now.saturating_duration_since(session.began) < LIFE);
        if self.0.len() >= MOST
            && let Some(oldest) = self.0.iter().min_by_key(|(_, session)| session.began).map(|(key, _)| *key)
        {
            self.0.remove(&oldest);
        }
        let (cookie, csrf): (_, Arc<str>) = (chance()?, chance()?.into());
        self.0.insert(key(&cookie), Session { token, hash, csrf: csrf.clone(), began: now });
        Ok((cookie, csrf))
    }

    /// The session of a cookie.
    pub(super) fn find(&self, cookie: &str, now: Instant) -> Option<Session> {
        let session = self.0.get(&key(cookie))?;
        (now.saturating_duration_since(session.began) < LIFE).then(|| session.clone())
    }

    /// Ends one.
    pub(super) fn end(&mut self, cookie: &str) {
        self.0.remove(&key(cookie));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_itself_and_when_told() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let (cookie, csrf) = sessions.begin("ann".into(), TokenHash::of("t"), now).unwrap();
        let found = sessions.find(&cookie, now).unwrap();
        assert!(found.csrf == csrf && *csrf != *cookie);
        assert!(sessions.find(&cookie, now + LIFE).is_none() && sessions.find("x", now).is_none());
        sessions.end(&cookie);
        assert!(sessions.find(&cookie, now).is_none());
    }

    #[test]
    fn there_are_so_many_at_a_time() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let (first, _) = sessions.begin("ann".into(), TokenHash::of("t"), now).unwrap();
        for number in 1..=MOST as u64 {
            sessions.begin("ann".into(), TokenHash::of("t"), now + Duration::from_millis(number)).unwrap();
        }
        assert!(sessions.0.len() == MOST && sessions.find(&first, now).is_none());
    }
}
