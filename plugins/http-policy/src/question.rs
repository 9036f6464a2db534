//! What the service is asked: version 1 of the protocol in `docs/plugins/http-policy.md`. Plain data; nothing is added to
//! it without that page.

use serde::Serialize;

use crate::settings::Hook;

/// The version of the protocol that this plugin speaks.
pub(crate) const VERSION: u32 = 1;

/// One question.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Question {
    pub(crate) version: u32,
    pub(crate) hook: Hook,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transaction: Option<Transaction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) helo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) auth: Option<Auth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recipient: Option<Recipient>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<Routing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delivery: Option<Delivery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcomes: Option<Vec<Outcome>>,
}

impl Question {
    /// A question with nothing in it yet.
    pub(crate) fn at(hook: Hook) -> Self {
        Self {
            version: VERSION,
            hook,
            session: None,
            transaction: None,
            helo: None,
            auth: None,
            recipient: None,
            message: None,
            route: None,
            delivery: None,
            outcomes: None,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) listener: String,
    pub(crate) client: Client,
    pub(crate) protocol: &'static str,
    pub(crate) helo: Option<String>,
    pub(crate) tls: Option<Tls>,
    pub(crate) identity: Option<Identity>,
    pub(crate) may_relay: bool,
    pub(crate) transactions_so_far: u32,
    pub(crate) refused_recipients_so_far: u32,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Client {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) name: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Tls {
    pub(crate) protocol: String,
    pub(crate) cipher: String,
    pub(crate) server_name: Option<String>,
    pub(crate) verified: bool,
    pub(crate) subject: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Identity {
    pub(crate) mechanism: String,
    pub(crate) name: String,
    pub(crate) acts_as: Option<String>,
    pub(crate) attributes: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Transaction {
    pub(crate) id: String,
    /// Empty: the null sender.
    pub(crate) sender: String,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) declared_size: Option<u32>,
    pub(crate) smtputf8: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Recipient {
    pub(crate) index: u32,
    pub(crate) address: String,
    pub(crate) original: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Auth {
    pub(crate) mechanism: String,
    pub(crate) name: String,
    pub(crate) acts_as: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Message {
    pub(crate) size: u32,
    pub(crate) body_size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) headers: Option<Vec<(String, String)>>,
    /// The body's beginning, where it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
    /// The same, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_base64: Option<String>,
    /// True where the body goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_truncated: Option<bool>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Routing {
    pub(crate) phase: &'static str,
    pub(crate) recipients: Vec<Recipient>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Delivery {
    pub(crate) queue_id: String,
    pub(crate) attempt: u32,
    /// Seconds since 1970, as are all times.
    pub(crate) queued_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) sender: String,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) size: u32,
    pub(crate) hop: String,
    pub(crate) previous: Vec<Outcome>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Outcome {
    /// Index of the recipient.
    pub(crate) recipient: u32,
    pub(crate) kind: &'static str,
    pub(crate) stage: &'static str,
    pub(crate) reply: Option<String>,
    pub(crate) remote_name: Option<String>,
}

/// Questions for the tests of other files.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// At RCPT.
    pub(crate) fn rcpt(client: &str, sender: &str, recipient: &str) -> Question {
        let session = Session {
            id: "s1".to_owned(),
            listener: "smtp".to_owned(),
            client: Client { address: client.to_owned(), port: 1, name: None },
            protocol: "esmtp",
            helo: Some("mail.example.org".to_owned()),
            tls: None,
            identity: None,
            may_relay: false,
            transactions_so_far: 0,
            refused_recipients_so_far: 0,
        };
        let transaction = Transaction {
            id: "q1".to_owned(),
            sender: sender.to_owned(),
            recipients: Vec::new(),
            declared_size: None,
            smtputf8: false,
        };
        let recipient = Recipient { index: 0, address: recipient.to_owned(), original: recipient.to_owned() };
        Question {
            session: Some(session),
            transaction: Some(transaction),
            recipient: Some(recipient),
            ..Question::at(Hook::Rcpt)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_as_the_page_says() {
        let text = serde_json::to_string(&testing::rcpt("192.0.2.1", "ann@example.org", "bob@example.com")).unwrap();
        assert_eq!(
            text,
            r#"{"version":1,"hook":"rcpt","session":{"id":"s1","listener":"smtp","client":{"address":"192.0.2.1","port":1,"name":null},"protocol":"esmtp","helo":"mail.example.org","tls":null,"identity":null,"may-relay":false,"transactions-so-far":0,"refused-recipients-so-far":0},"transaction":{"id":"q1","sender":"ann@example.org","recipients":[],"declared-size":null,"smtputf8":false},"recipient":{"index":0,"address":"bob@example.com","original":"bob@example.com"}}"#
        );
    }
}
