//! The twins against the generated functions: the same arguments, the same answers. If the contract gains a function,
//! this is where its twin is missed.

use crate::bindings::imports::waypost::plugin as wit;
use crate::native;

/// Compiles only if the twin can stand for the generated function.
macro_rules! twins {
    ($($module:ident { $($function:ident($($type:ty),*) -> $answer:ty;)* })*) => {$($(
        let _: [fn($($type),*) -> $answer; 2] = [wit::$module::$function, native::$module::$function];
    )*)*};
}

/// The same for methods, whose first argument is another type on each side.
macro_rules! methods {
    ($($module:ident $resource:ident { $($method:ident($($type:ty),*) -> $answer:ty;)* })*) => {$($(
        let _: fn(&wit::$module::$resource $(, $type)*) -> $answer = wit::$module::$resource::$method;
        let _: fn(&native::$module::$resource $(, $type)*) -> $answer = native::$module::$resource::$method;
    )*)*};
}

type Fields<'a> = &'a [(String, String)];
type Asked<T> = Result<T, crate::HostError>;

#[test]
fn functions_have_the_same_signatures() {
    use wit::auth_results::{ArcOutcome, DkimOutcome, DmarcOutcome, SpfOutcome};
    use wit::dns::{Answer, DnsError, RecordKind};
    use wit::kv::{Entry, KeyPage};
    twins! {
        log { enabled(wit::log::Level) -> bool; write(wit::log::Level, &str, Fields<'_>) -> (); }
        config { get(&str) -> Option<String>; document() -> String; secret(&str) -> Asked<String>; }
        system { now() -> crate::Timestamp; random_bytes(u32) -> Vec<u8>; }
        kv { get(&str, &str) -> Asked<Option<Entry>>;
            set(&str, &str, &[u8], Option<u32>) -> Asked<()>;
            get_text(&str, &str) -> Asked<Option<String>>;
            set_text(&str, &str, &str, Option<u32>) -> Asked<()>;
            delete(&str, &str) -> Asked<()>;
            increment(&str, &str, i32, Option<u32>) -> Asked<i64>;
            compare_and_set(&str, &str, Option<&str>, &[u8], Option<u32>) -> Asked<bool>;
            keys(&str, &str, Option<&str>, u32) -> Asked<KeyPage>; }
        rate_limits { take(&str, wit::rate_limits::Quota, u32) -> Asked<wit::rate_limits::Decision>; }
        metrics { add(&str, u32, Fields<'_>) -> Asked<()>; observe(&str, f64, Fields<'_>) -> Asked<()>; }
        dns { lookup(&str, RecordKind) -> Result<Answer, DnsError>;
            list_lookup(&str, &str) -> Result<Vec<String>, DnsError>; }
        auth_results { spf() -> Asked<SpfOutcome>; dkim() -> Asked<Vec<DkimOutcome>>; dmarc() -> Asked<DmarcOutcome>;
            arc() -> Asked<ArcOutcome>; header_value() -> Asked<String>; }
    }
}

#[test]
fn resources_have_the_same_methods() {
    use crate::{
        BodyKind, Endpoint, EsmtpParam, HeaderField, Identity, Mailbox, NextHop, PastAttempt, Protocol, Recipient,
        RecipientOutcome, Route, Timestamp, TlsInfo,
    };
    methods! {
        sessions SmtpSession { id() -> String; listener() -> String; connected_at() -> Timestamp; client() -> Endpoint;
            server() -> Endpoint; client_name() -> Option<String>; protocol() -> Protocol; helo() -> Option<String>;
            tls() -> Option<TlsInfo>; identity() -> Option<Identity>; may_relay() -> bool; transactions_so_far() -> u32;
            refused_recipients_so_far() -> u32; note(Option<&str>, &str) -> Asked<Option<String>>;
            set_note(&str, &str) -> Asked<()>; }
        transactions MailTransaction { id() -> String; started_at() -> Timestamp; sender() -> Option<Mailbox>;
            sender_params() -> Vec<EsmtpParam>; declared_size() -> Option<u32>; body_kind() -> BodyKind; smtputf8() -> bool;
            recipients() -> Vec<Recipient>; set_sender(Option<&Mailbox>) -> Asked<()>;
            add_recipient(&Mailbox) -> Asked<u32>; remove_recipient(u32) -> Asked<()>;
            rewrite_recipient(u32, &Mailbox) -> Asked<()>; annotation(Option<&str>, &str) -> Asked<Option<String>>;
            set_annotation(&str, &str) -> Asked<()>; remove_annotation(&str) -> Asked<()>; add_tag(&str) -> Asked<()>; }
        messages Message { received_at() -> Timestamp; size() -> u32; body_size() -> u32; headers() -> Vec<HeaderField>;
            headers_named(&str) -> Vec<HeaderField>; text(&str) -> Option<String>; raw_header(u32) -> Asked<Vec<u8>>;
            prepend_header(&str, &str) -> Asked<()>; append_header(&str, &str) -> Asked<()>;
            replace_header(u32, &str) -> Asked<()>; remove_header(u32) -> Asked<()>;
            read_body(u32, u32) -> Asked<Vec<u8>>; }
        messages BodyReader { read(u32) -> Asked<Vec<u8>>; skip(u32) -> Asked<u32>; }
        messages BodyWriter { write(&[u8]) -> Asked<()>; write_text(&str) -> Asked<()>; copy(u32, u32) -> Asked<()>;
            written() -> u32; }
        deliveries Delivery { queue_id() -> String; attempt() -> u32; queued_at() -> Timestamp; expires_at() -> Timestamp;
            sender() -> Option<Mailbox>; recipients() -> Vec<Recipient>; message_size() -> u32; route() -> Route;
            hop() -> NextHop; previous() -> Vec<RecipientOutcome>; history() -> Vec<PastAttempt>; set_sender(Option<&Mailbox>) -> Asked<()>;
            prepend_header(&str, &str) -> Asked<()>; annotation(Option<&str>, &str) -> Asked<Option<String>>;
            set_annotation(&str, &str) -> Asked<()>; }
    }
}
