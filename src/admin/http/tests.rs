//! Roles on every route, sessions, and what browsers are told, against a relay that answers from a list.

use axum::body::Body;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::admin::TokenHash;
use crate::admin::tests::{Fake, record};
use crate::pulse::Kind as Told;
use crate::store::{Sled, Spool};
use crate::time::Timestamp;

const ROLES: [Role; 4] = [Role::Inject, Role::Read, Role::Operate, Role::Admin];

/// An API that knows a token of each role, called as the role is.
pub(super) struct Rig {
    pub(super) fake: Arc<Fake>,
    pub(super) api: Arc<Api>,
    pub(super) routes: Router,
    dir: tempfile::TempDir,
}

pub(super) struct Got {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Rig {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Sled::open(&dir.path().join("db"), 1 << 20).unwrap());
        let spool = Spool::open(&dir.path().join("spool"), 0, store.clone()).ok();
        let records = (1..=3).map(record).collect();
        let fake = Arc::new(Fake { records, spool, ..Fake::default() });
        let around = Surroundings {
            audit: Some(dir.path().join("audit.jsonl")),
            message_max: 100_000,
            store: Some(store),
            ..Surroundings::default()
        };
        let api = Api::new(fake.clone(), around);
        let rig = Self { fake, routes: api.router(), api, dir };
        rig.terms(&ROLES, Scrape::Token);
        rig
    }

    fn terms(&self, roles: &[Role], metrics: Scrape) {
        let token = |role: &Role| Token { name: role.word().into(), hash: TokenHash::of(role.word()), role: *role };
        let tokens = roles.iter().map(token).collect();
        self.api.in_force.store(Arc::new(Terms { tokens, metrics, tls: None }));
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        self.send_from("192.0.2.1", method, path, headers, body).await
    }

    async fn send_from(&self, from: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Origin::Network { address: from.parse().unwrap(), secure: true });
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        // A stream of events never ends.
        let streams = head.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let body = if streams { Vec::new() } else { body.collect().await.unwrap().to_bytes().to_vec() };
        Got { status: head.status.as_u16(), headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    pub(super) async fn get(&self, role: Role, path: &str) -> Got {
        self.send("GET", path, &[("authorization", &format!("Bearer {}", role.word()))], "").await
    }
}

/// Every operation of the document: id, method, a path that fits.
fn operations() -> Vec<(String, String, String)> {
    let document: Value = serde_json::from_str(&document::text()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let path = path.replace("{id}", "0000000000001").replace("{number}", "7").replace("{name}", "greylist");
            found.push((operation["operationId"].as_str().unwrap().to_owned(), method.to_uppercase(), path));
        }
    }
    found
}

#[tokio::test]
async fn who_may_do_what_on_every_route() {
    let rig = Rig::new();
    let (mut matrix, mut ids) = (String::new(), std::collections::BTreeSet::new());
    for (id, method, path) in operations() {
        assert!(ids.insert(id.clone()), "{id} twice");
        let mut row = format!("{id:<20}");
        for role in [None, Some(Role::Inject), Some(Role::Read), Some(Role::Operate), Some(Role::Admin)] {
            let bearer = role.map(|role| format!("Bearer {}", role.word()));
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
            let got = rig.send(&method, &path, &headers, r#"{"none":1}"#).await;
            assert!(got.status < 500 || got.status == 503, "{id}: {}", got.status);
            row += match (role, got.status) {
                (None, 401) if id != "log-in" => " -",
                (Some(_), 403) => " -",
                (_, 401) if id != "log-in" => panic!("{id} {role:?}: {}", got.body),
                _ => " yes",
            };
        }
        matrix += &row;
        matrix.push('\n');
    }
    assert_eq!(ids.len(), table::routes().len());
    insta::assert_snapshot!(format!("{:<20} none inject read operate admin\n{matrix}", ""));
}

#[tokio::test]
async fn who_may_only_read_sees_no_content() {
    let rig = Rig::new();
    let path = "/api/v1/queue/messages/0000000000001";
    assert_eq!(rig.get(Role::Read, path).await.json()["header"], "");
    assert!(rig.get(Role::Operate, path).await.json()["header"].as_str().unwrap().starts_with("Subject"));
    let content = rig.get(Role::Operate, &format!("{path}/content")).await;
    assert_eq!(
        (content.status, content.header("content-type"), content.body.len()),
        (200, "message/rfc822", 100_014 + 2)
    );
    assert_eq!(content.header("content-disposition"), "attachment; filename=\"0000000000001.eml\"");
    assert_eq!(content.header("content-length"), "100014");
}

#[tokio::test]
async fn a_session_changes_nothing_without_its_csrf_value() {
    let rig = Rig::new();
    let json = ("content-type", "application/json");
    let wrong = rig.send("POST", "/api/v1/session", &[json], r#"{"token":"nonsense"}"#).await;
    assert_eq!((wrong.status, wrong.header("www-authenticate")), (401, "Bearer"));
    assert!(!wrong.body.contains("nonsense"));
    let begun = rig.send("POST", "/api/v1/session", &[json], r#"{"token":"operate"}"#).await;
    assert_eq!(
        (begun.status, &begun.json()["role"], &begun.json()["name"]),
        (200, &"operate".into(), &"operate".into())
    );
    let field = begun.header("set-cookie");
    let (cookie, attributes) = field.split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure");
    let cookie = ("cookie", cookie);
    let csrf = begun.json()["csrf"].as_str().unwrap().to_owned();

    let told = rig.send("GET", "/api/v1/session", &[cookie], "").await;
    assert_eq!((told.status, told.json()["csrf"].as_str()), (200, Some(&*csrf)));
    let ban = r#"{"network":"192.0.2.7","secs":60}"#;
    for shown in ["", "x", &csrf[1..]] {
        let got = rig.send("POST", "/api/v1/bans", &[cookie, json, ("x-waypost-csrf", shown)], ban).await;
        assert_eq!(got.status, 403, "{shown:?}");
    }
    let got = rig.send("POST", "/api/v1/bans", &[cookie, json, ("x-waypost-csrf", &csrf)], ban).await;
    assert_eq!(got.status, 200, "{}", got.body);
    let form = ("content-type", "application/x-www-form-urlencoded");
    let got = rig.send("POST", "/api/v1/bans", &[cookie, form, ("x-waypost-csrf", &csrf)], "network=x").await;
    assert_eq!(got.status, 415);

    let gone = rig.send("DELETE", "/api/v1/session", &[cookie, ("x-waypost-csrf", &csrf)], "").await;
    assert!(gone.status == 204 && gone.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(rig.send("GET", "/api/v1/session", &[cookie], "").await.status, 401);
}

#[tokio::test]
async fn a_session_ends_with_its_token() {
    let rig = Rig::new();
    let json = ("content-type", "application/json");
    let begun = rig.send("POST", "/api/v1/session", &[json], r#"{"token":"admin"}"#).await;
    let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(rig.send("GET", "/api/v1/status", &[("cookie", &cookie)], "").await.status, 200);
    rig.terms(&[Role::Read], Scrape::Token);
    assert_eq!(rig.send("GET", "/api/v1/status", &[("cookie", &cookie)], "").await.status, 401);
}

#[tokio::test]
async fn whoever_fails_often_is_told_to_wait() {
    let rig = Rig::new();
    let try_token = async |from: &str, token: &str| {
        rig.send_from(from, "GET", "/api/v1/status", &[("authorization", &format!("bearer {token}"))], "").await
    };
    for _ in 0..20 {
        assert_eq!(try_token("192.0.2.1", "guess").await.status, 401);
    }
    let late = try_token("192.0.2.1", "guess").await;
    assert!(late.status == 429 && !late.header("retry-after").is_empty());
    assert_eq!(try_token("192.0.2.1", "read").await.status, 200, "nobody is kept out by a neighbour");
    assert_eq!(try_token("192.0.2.2", "guess").await.status, 401);
    assert_eq!(rig.send("GET", "/healthz", &[], "").await.status, 200);
}

#[tokio::test]
async fn changes_are_in_the_audit_with_who_and_what_came_of_them() {
    let rig = Rig::new();
    let headers = [("content-type", "application/json"), ("authorization", "Bearer operate")];
    rig.send("POST", "/api/v1/bans", &headers, r#"{"network":"192.0.2.7","secs":60}"#).await;
    rig.send("DELETE", "/api/v1/bans?network=192.0.2.7", &headers, "").await;
    let audit = rig.get(Role::Read, "/api/v1/audit?limit=5").await.json();
    let lines: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| format!("{} {} {}: {}", e["by"], e["role"], e["what"], e["outcome"]))
        .collect();
    let expected = [
        r#""token operate" "operate" "ban-add": "done""#,
        r#""token operate" "operate" "ban-remove": "refused: 192.0.2.7/32 is not banned""#,
    ];
    assert_eq!(lines, expected);
    assert_eq!(audit["items"][0]["request"]["network"], "192.0.2.7/32");
    assert!(rig.dir.path().join("audit.jsonl").is_file());
}

#[tokio::test]
async fn the_console_comes_with_a_policy_and_a_tag() {
    let rig = Rig::new();
    let there = rig.send("GET", "/", &[], "").await;
    assert_eq!((there.status, there.header("location")), (302, "/console/"));
    let page = rig.send("GET", "/console/", &[], "").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!((page.header("x-content-type-options"), page.header("referrer-policy")), ("nosniff", "no-referrer"));
    let again = rig.send("GET", "/console/index.html", &[("if-none-match", page.header("etag"))], "").await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    for path in ["/console/nothing.js", "/console/../Cargo.toml", "/console/%2e%2e/Cargo.toml"] {
        assert_eq!(rig.send("GET", path, &[], "").await.status, 404, "{path}");
    }
    let api = rig.get(Role::Read, "/api/v1/status").await;
    assert_eq!(api.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
    assert_eq!(api.header("cache-control"), "no-store");
}

#[tokio::test]
async fn readiness_tells_when_the_relay_stops() {
    let rig = Rig::new();
    assert_eq!(rig.send("GET", "/readyz", &[], "").await.status, 200);
    rig.api.draining.cancel();
    let stopping = rig.send("GET", "/readyz", &[], "").await;
    assert_eq!((stopping.status, &stopping.json()["reasons"][0]), (503, &"the relay is stopping".into()));
    assert_eq!(rig.send("GET", "/healthz", &[], "").await.status, 200);
}

/// `WAYPOST_BLESS=1` writes it anew.
#[test]
fn the_document_in_the_repository_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    if std::env::var_os("WAYPOST_BLESS").is_some() {
        std::fs::write(path, document::text()).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == document::text(),
        "docs/openapi.json is not what the code makes: run this test with WAYPOST_BLESS=1"
    );
}

#[tokio::test]
async fn mail_is_handed_in_once_for_each_key() {
    let rig = Rig::new();
    let bearer = ("authorization", "Bearer inject");
    let raw = [bearer, ("content-type", "message/rfc822"), ("idempotency-key", "k1")];
    let path = "/api/v1/messages?from=ann@example.org&to=bob@example.net,eve@example.net";
    let first = rig.send("POST", path, &raw, "Subject: x\n\nhi").await;
    assert_eq!((first.status, &first.json()["id"]), (202, &"0000000000001".into()), "{}", first.body);
    let again = rig.send("POST", path, &raw, "Subject: x\n\nhi").await;
    assert_eq!((again.status, &again.body), (202, &first.body));
    let other = rig.send("POST", path, &raw, "Subject: y\n\nhi").await;
    assert_eq!(other.status, 422);
    let admin = [("authorization", "Bearer admin"), raw[1], raw[2]];
    assert_eq!(
        rig.send("POST", path, &admin, "Subject: y\n\nhi").await.json()["id"],
        "0000000000002",
        "keys are each token's own"
    );
    let audit = rig.get(Role::Read, "/api/v1/audit?mail=true").await.json();
    let noted = &audit["items"][0];
    let request = serde_json::json!(
        { "id": "0000000000001", "key": "k1", "client": "192.0.2.1", "octets": 14, "recipients": 2 }
    );
    assert_eq!(
        (&noted["by"], &noted["what"], &noted["outcome"]),
        (&"token inject".into(), &"inject".into(), &"done".into())
    );
    assert_eq!(
        (audit["items"].as_array().unwrap().len(), &noted["request"]),
        (2, &request),
        "what is answered again is done once"
    );
    let changes = rig.get(Role::Read, "/api/v1/audit").await.json();
    assert_eq!(changes["items"], serde_json::json!([]), "mail does not drive out who changed what");
    let injected = rig.fake.injected.lock();
    let mail = &injected[0];
    let to: Vec<_> = mail.recipients.iter().map(ToString::to_string).collect();
    assert_eq!(
        (&*mail.by, injected.len(), to),
        ("inject", 2, vec!["bob@example.net".into(), "eve@example.net".into()])
    );
    assert_eq!(mail.client, "192.0.2.1".parse().ok());
}

#[tokio::test]
async fn what_is_no_message_is_not_handed_in() {
    let rig = Rig::new();
    let (bearer, raw, json) =
        (("authorization", "Bearer inject"), ("content-type", "message/rfc822"), ("content-type", "application/json"));
    let long = "x".repeat(300_000);
    let cases = [
        ("/api/v1/messages?to=bob@example.net", raw, "x", 400),
        ("/api/v1/messages?from=&to=", raw, "x", 422),
        ("/api/v1/messages?from=&to=nobody", raw, "x", 422),
        ("/api/v1/messages?from=a%0d%0aRCPT&to=bob@example.net", raw, "x", 422),
        ("/api/v1/messages?from=&to=bob@example.net", ("content-type", "text/plain"), "x", 415),
        ("/api/v1/messages?from=&to=bob@example.net", raw, &long, 413),
        ("/api/v1/messages", json, r#"{"from":"ann@example.org"}"#, 422),
        ("/api/v1/messages", json, r#"{"from":"ann@example.org","to":["bob@example.net"],"subject":"a\nb"}"#, 422),
        ("/api/v1/messages", json, r#"{"from":"ann@example.org","too":[]}"#, 400),
    ];
    for (path, kind, body, status) in cases {
        let got = rig.send("POST", path, &[bearer, kind], body).await;
        assert_eq!(got.status, status, "{path}: {}", got.body);
    }
    assert!(rig.fake.injected.lock().is_empty());
    let body = r#"{"from":"ann@example.org","to":["bob@example.net"],"subject":"hi","text":"there"}"#;
    assert_eq!(rig.send("POST", "/api/v1/messages", &[bearer, json], body).await.status, 202);
    assert!(rig.fake.injected.lock()[0].content.starts_with(b"Date: "));
}

#[tokio::test]
async fn events_are_heard_by_those_who_may_and_end_with_the_token() {
    let rig = Rig::new();
    let listen = |query: &str| {
        let mut request = Request::builder().uri(format!("/api/v1/events{query}"));
        request = request.header("authorization", "Bearer read");
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Origin::Network { address: "192.0.2.1".parse().unwrap(), secure: true });
        rig.routes.clone().oneshot(request)
    };
    for wrong in ["?kinds=weather", "?client=nobody", "?colour=red"] {
        assert_eq!(listen(wrong).await.unwrap().status(), 400, "{wrong}");
    }
    let mut body = listen("?kinds=delivery,audit&address=BOB").await.unwrap().into_body();
    let mut next = async || {
        let frame = body.frame().await?.unwrap().into_data().unwrap();
        Some(String::from_utf8(frame.to_vec()).unwrap())
    };
    assert_eq!(next().await.unwrap(), ": listening\n\n");
    let about = |address: &str| Event {
        addresses: vec![address.to_owned()],
        data: serde_json::json!({ "recipient": address }),
        ..Event::default()
    };
    rig.api.pulse.tell(Told::Delivery, || about("ann@example.org"));
    rig.api.pulse.tell(Told::Delivery, || about("bob@example.net"));
    let told = next().await.unwrap();
    let data = told.strip_prefix("event: delivery\nid: 2\ndata: ").unwrap_or_else(|| panic!("{told}"));
    let data: Value = serde_json::from_str(data.trim()).unwrap();
    assert_eq!(data["recipient"], "bob@example.net");
    let at = Timestamp::parse(data["at"].as_str().unwrap()).unwrap();
    assert!(System.now().since(at) < std::time::Duration::from_secs(60), "{data}");
    rig.terms(&[Role::Admin], Scrape::Token);
    rig.api.pulse.tell(Told::Delivery, || about("bob@example.net"));
    assert_eq!(next().await, None, "the token is gone");
}

#[tokio::test]
async fn metrics_take_a_token_unless_they_are_open() {
    let rig = Rig::new();
    assert_eq!(rig.send("GET", "/metrics", &[], "").await.status, 401);
    assert!(rig.get(Role::Read, "/metrics").await.body.contains("\nwaypost_uptime_seconds 0\n"));
    rig.terms(&ROLES, Scrape::Open);
    let open = rig.send("GET", "/metrics", &[], "").await;
    assert_eq!((open.status, open.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let rates = rig.get(Role::Read, "/api/v1/rates").await.json();
    assert_eq!((rates["step_secs"].as_u64(), &rates["points"]), (Some(5), &serde_json::json!([])));
}
