//! Tokens: what whoever asks over a network shows, and what it may.
//!
//! A token is 256 bits by chance, so its SHA-256 alone can be kept in the configuration: nobody finds it from that. Only the
//! hash is ever kept; it is compared in constant time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What somebody may do. Each may what those before it may, but for `inject`, which may nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Hand mail in, and nothing else.
    Inject,
    /// Look at everything but the content of messages.
    Read,
    /// Also work the queue, bans and suppressions, and read content.
    Operate,
    /// Also reload, and change plugins.
    Admin,
}

impl Role {
    /// True if somebody with this role may do what takes `needed`.
    pub fn may(self, needed: Self) -> bool {
        match needed {
            Self::Inject => matches!(self, Self::Inject | Self::Admin),
            _ => self >= needed,
        }
    }

    /// As it is written in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// SHA-256 of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl std::fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sha256:…")
    }
}

impl TokenHash {
    /// Of a token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// As it is written: `sha256:` and 64 hexadecimal digits.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("sha256:").ok_or("a hash begins with sha256:")?;
        let wrong = || format!("after sha256: there are 64 hexadecimal digits, not {} characters", digits.len());
        if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut hash = [0; 32];
        for (octet, at) in hash.iter_mut().zip((0..).step_by(2)) {
            let pair = digits.get(at..at + 2).ok_or_else(wrong)?;
            *octet = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }

    /// As it is written.
    pub fn text(&self) -> String {
        let digits: String = self.0.iter().map(|octet| format!("{octet:02x}")).collect();
        format!("sha256:{digits}")
    }

    /// True if it is that of the token; takes as long whatever differs.
    pub fn is_of(&self, token: &str) -> bool {
        self.0.ct_eq(&Self::of(token).0).into()
    }
}

/// 256 bits by chance, as text.
///
/// # Errors
/// When the system has none to give.
pub(super) fn chance() -> std::io::Result<String> {
    let mut octets = [0; 32];
    getrandom::getrandom(&mut octets).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

/// A new token, and its hash.
///
/// # Errors
/// When the system has no randomness to give.
pub fn make() -> std::io::Result<(String, TokenHash)> {
    let token = format!("waypost_{}", chance()?);
    let hash = TokenHash::of(&token);
    Ok((token, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written_and_fits_one_token() {
        let (token, hash) = make().unwrap();
        let (other, _) = make().unwrap();
        assert!(token.starts_with("waypost_") && token.len() == 51 && token != other);
        assert_eq!(TokenHash::parse(&hash.text()).unwrap(), hash);
        assert!(hash.is_of(&token) && !hash.is_of(&other) && !hash.is_of(""));
        assert_eq!(format!("{hash:?}"), "sha256:…");
        for wrong in ["", "sha256:", "md5:aa", &hash.text()[..70], &format!("sha256:{}", "é".repeat(32))] {
            assert!(TokenHash::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn roles_include_each_other_but_for_injection() {
        use Role::{Admin, Inject, Operate, Read};
        let may: Vec<_> = [Inject, Read, Operate, Admin]
            .into_iter()
            .map(|role| [Inject, Read, Operate, Admin].map(|needed| role.may(needed)))
            .collect();
        let expected =
            [[true, false, false, false], [false, true, false, false], [false, true, true, false], [true; 4]];
        assert_eq!(may, expected);
    }
}
