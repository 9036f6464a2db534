//! A queue that goes out and comes back, and streams that are none.

use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::admin::Role;
use crate::admin::http::caller::Origin;
use crate::admin::http::tests::Rig;

const OCTETS: (&str, &str) = ("content-type", transfer::KIND);

async fn export(rig: &Rig) -> Vec<u8> {
    let (status, octets) = ask(rig, "GET", "/api/v1/queue/export", Role::Admin, OCTETS, Vec::new()).await;
    assert_eq!(status, 200);
    octets
}

async fn import(rig: &Rig, octets: Vec<u8>) -> (u16, Value) {
    let (status, answer) = ask(rig, "POST", "/api/v1/queue/import", Role::Admin, OCTETS, octets).await;
    (status, serde_json::from_slice(&answer).unwrap())
}

async fn ask(rig: &Rig, method: &str, path: &str, role: Role, kind: (&str, &str), octets: Vec<u8>) -> (u16, Vec<u8>) {
    let request =
        Request::builder().method(method).uri(path).header("authorization", format!("Bearer {}", role.word()));
    let mut request = request.header(kind.0, kind.1).body(Body::from(octets)).unwrap();
    request.extensions_mut().insert(Origin::Network { address: "192.0.2.1".parse().unwrap(), secure: true });
    let response = rig.routes.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn a_queue_goes_out_and_comes_back_once() {
    let (old, new) = (Rig::new(), Rig::new());
    let octets = export(&old).await;
    assert!(octets.len() > 300_000, "larger than any other body may be: {}", octets.len());
    let told = serde_json::json!({"imported": 3, "present": 0, "refused": 0, "reasons": []});
    assert_eq!(import(&new, octets.clone()).await, (200, told));
    assert_eq!(import(&new, octets).await.1["present"], 3, "what is there is left alone");
    let imported = new.fake.imported.lock();
    let ids: Vec<_> = imported.iter().map(|incoming| incoming.record.id).collect();
    assert_eq!(ids, old.fake.records.iter().map(|record| record.id).collect::<Vec<_>>());
    assert_eq!((&imported[0].head[..], imported[0].body.len()), (&b"Subject: \xff\r\n\r\n"[..], 100_000));
    drop(imported);
    let audit = new.get(Role::Read, "/api/v1/audit?limit=9").await.json();
    let said = |n: usize| format!("{} {}", audit["items"][n]["what"], audit["items"][n]["outcome"]);
    assert_eq!(said(0), r#""queue-import" "3 taken, 0 there already, 0 refused""#);
    let audit = old.get(Role::Read, "/api/v1/audit?limit=9").await.json();
    assert_eq!((&audit["items"][0]["what"], &audit["items"][0]["by"]), (&"queue-export".into(), &"token admin".into()));
}

#[tokio::test]
async fn nobody_but_an_admin_has_all_mail() {
    let rig = Rig::new();
    for role in [Role::Inject, Role::Read, Role::Operate] {
        for (method, path) in [("GET", "/api/v1/queue/export"), ("POST", "/api/v1/queue/import")] {
            assert_eq!(ask(&rig, method, path, role, OCTETS, Vec::new()).await.0, 403, "{path}");
        }
    }
    let json = ("content-type", "application/json");
    assert_eq!(ask(&rig, "POST", "/api/v1/queue/import", Role::Admin, json, b"{}".to_vec()).await.0, 415);
    let places = (rig.api.transferring.try_acquire(), rig.api.transferring.try_acquire());
    assert!(places.0.is_ok() && places.1.is_ok());
    assert_eq!(ask(&rig, "GET", "/api/v1/queue/export", Role::Admin, OCTETS, Vec::new()).await.0, 503);
}

#[tokio::test]
async fn a_stream_that_is_cut_off_says_where_and_what_is_there() {
    let octets = export(&Rig::new()).await;
    let second = octets.windows(8).enumerate().filter(|(_, part)| *part == b"message ").nth(1).unwrap().0;
    let cases = [
        (0, "message 0, octet 0: it is cut off", 0),
        (10, "message 0, octet 10: it is cut off", 0),
        (second, "message 1, octet", 1),
        (second + 50_000, "message 2, octet", 1),
        (octets.len() - 3, "message 3, octet", 3),
    ];
    for (len, why, before) in cases {
        let rig = Rig::new();
        let (status, problem) = import(&rig, octets[..len].to_vec()).await;
        let reasons = problem["reasons"].as_array().unwrap();
        assert_eq!((status, reasons.len()), (400, 2), "{len}");
        assert!(reasons[0].as_str().unwrap().starts_with(why), "{len}: {reasons:?}");
        assert!(reasons[0].as_str().unwrap().ends_with("it is cut off"), "{len}: {reasons:?}");
        assert!(reasons[1].as_str().unwrap().starts_with(&format!("{before} messages before it")), "{reasons:?}");
        assert_eq!(rig.fake.imported.lock().len(), before);
    }
}

#[tokio::test]
async fn damage_is_refused_and_nothing_of_that_message_is_taken() {
    let octets = export(&Rig::new()).await;
    let text = String::from_utf8_lossy(&octets).into_owned();
    let record = text.lines().nth(2).unwrap().to_owned();
    // A record of its own making, with sizes and a sum that are right.
    let forged = |record: &str, content: &[u8]| {
        let record = format!("{record}\n");
        let mut crc = crc32fast::Hasher::new();
        crc.update(record.as_bytes());
        crc.update(content);
        let id = "0000000000001".to_owned();
        let announced = Announced { id, record: record.len() as u64, content: content.len() as u64 };
        let ending = Ending::Sum(crc.finalize());
        let parts = [transfer::begin(), announced.to_string(), record];
        let behind = [ending.to_string(), transfer::end(1)].concat();
        [parts.concat().as_bytes(), content, behind.as_bytes()].concat()
    };
    let cases = [
        (forged("{}", b""), "its record can't be read"),
        (forged("[[[[", b""), "its record can't be read"),
        (forged(&record, b"short"), "do not belong together"),
        (forged(&record.replace("\"head_size\":14", "\"head_size\":4294967295"), b"x"), "do not belong together"),
        (b"GET / HTTP/1.1\n".to_vec(), "no export of a queue"),
        ([transfer::begin().as_bytes(), b"message 0000000000001 9999999999999 1\n"].concat(), "larger than"),
    ];
    for (octets, why) in cases {
        let rig = Rig::new();
        let (status, problem) = import(&rig, octets).await;
        assert!(status == 400 && problem["reasons"][0].as_str().unwrap().contains(why), "{why}: {problem}");
        assert!(rig.fake.imported.lock().is_empty(), "{why}");
    }
    let mut at = 20;
    while at < octets.len() {
        let (rig, mut changed) = (Rig::new(), octets.clone());
        changed[at] ^= 4;
        assert_eq!(import(&rig, changed).await.0, 400, "octet {at}");
        at += 30_011;
    }
}

#[tokio::test]
async fn one_that_can_not_be_read_does_not_end_an_export() {
    let octets = export(&Rig::new()).await;
    let text = String::from_utf8_lossy(&octets).into_owned();
    assert!(text.ends_with("\nend 3\n") || text.ends_with("xend 3\n"), "{}", &text[text.len() - 40..]);
    let void = "message 0000000000009 2 4\n..xxxxvoid the disk is gone\n";
    let sum = octets.windows(4).rposition(|part| part == b"end ").unwrap();
    let with = [&octets[..sum], void.as_bytes(), b"end 4\n"].concat();
    let rig = Rig::new();
    let (status, told) = import(&rig, with).await;
    assert_eq!((status, told["imported"].as_u64(), told["refused"].as_u64()), (200, Some(3), Some(1)), "{told}");
    assert_eq!(told["reasons"][0]["reason"], "the disk is gone");
}
