//! Why there is no answer, in words for the operator. Names a server, never a path, a field or a body.

use std::fmt;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It can't be sent as it is: the URL, the method or a field.
    Invalid(String),
    /// The operator did not grant this server: its scheme, host and port.
    Denied(String),
    /// Its name leads only to addresses that are not public: its scheme, host and port.
    NotPublic(String),
    /// More requests in this call than `grants.http.calls`.
    Exhausted,
    /// The name of the server can't be looked up.
    NoSuchHost(String),
    /// It refuses connections.
    Refused(String),
    /// There is no way to it.
    Unreachable(String),
    /// It did not answer in time.
    TimedOut(String),
    /// TLS with it failed.
    Tls(String),
    /// It broke off, or does not speak HTTP.
    Broken(String),
    /// The request's body is larger than `grants.http.bytes`.
    RequestTooLarge,
    /// The answer is larger than the request or `grants.http.bytes` allow.
    AnswerTooLarge,
    /// The answer is not what was agreed on; said by [`super::Response::json`].
    BadAnswer(String),
    /// The body could not be made: the relay's words.
    Body(String),
}

impl Error {
    /// True where the operator has to change something before the same request can have an answer.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Invalid(_) | Self::Denied(_) | Self::NotPublic(_) | Self::Exhausted | Self::RequestTooLarge
        )
    }

    /// One word for a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Denied(_) | Self::NotPublic(_) => "denied",
            Self::Exhausted => "exhausted",
            Self::NoSuchHost(_) => "dns",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timeout",
            Self::Tls(_) => "tls",
            Self::Broken(_) => "broken",
            Self::RequestTooLarge | Self::AnswerTooLarge => "too-large",
            Self::BadAnswer(_) => "bad-answer",
            Self::Body(_) => "body",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(what) => write!(f, "no such request can be made: {what}"),
            Self::Denied(origin) => write!(
                f,
                "{origin} is not granted; add it under [plugins.NAME.grants]: http = {{ allow = [\"{origin}\"] }}"
            ),
            Self::NotPublic(origin) => write!(
                f,
                "{origin} leads only to addresses that are not public; add their network under \
                 [plugins.NAME.grants.http]: private-networks = [\"…\"]"
            ),
            Self::Exhausted => write!(f, "the requests of this call are used up; raise grants.http.calls"),
            Self::NoSuchHost(origin) => write!(f, "the name of {origin} can't be looked up"),
            Self::Refused(origin) => write!(f, "{origin} refuses connections"),
            Self::Unreachable(origin) => write!(f, "{origin} can't be reached"),
            Self::TimedOut(origin) => write!(f, "{origin} did not answer in time"),
            Self::Tls(origin) => write!(f, "no TLS with {origin}: its certificate or its protocol does not do"),
            Self::Broken(origin) => write!(f, "{origin} broke off, or does not speak HTTP"),
            Self::RequestTooLarge => write!(f, "the request is larger than grants.http.bytes"),
            Self::AnswerTooLarge => write!(f, "the answer is larger than is allowed"),
            Self::BadAnswer(what) => write!(f, "the answer is {what}"),
            Self::Body(why) => write!(f, "the body of the request can't be made: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for String {
    /// So that `?` in a hook makes it the hook's own failure.
    fn from(error: Error) -> Self {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_line_to_add() {
        let error = Error::Denied("https://api.example.com".to_owned());
        assert!(error.is_lasting());
        assert!(error.to_string().contains("http = { allow = [\"https://api.example.com\"] }"), "{error}");
        let error = Error::NotPublic("http://scanner:1".to_owned());
        assert!(String::from(error).contains("private-networks"));
        assert!(!Error::TimedOut(String::new()).is_lasting());
    }
}
