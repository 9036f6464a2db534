//! Batches arrive as the protocol has them; what a receiver does not take is sent again, then counted.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::telemetry::otlp::Endpoint;

/// Requests as they come, answered with these statuses, the last one again and again.
async fn receiver(statuses: &'static [u16]) -> (SocketAddr, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = unbounded_channel();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            loop {
                let mut piece = [0; 4096];
                let read = stream.read(&mut piece).await.unwrap();
                request.extend_from_slice(&piece[..read]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
                if read == 0 || request.len() >= head.len() + 4 + length.unwrap_or(0) {
                    break;
                }
            }
            let _ = tell.send(String::from_utf8_lossy(&request).into_owned());
            let status = statuses.get(number).or(statuses.last()).copied().unwrap();
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, heard)
}

fn exporter(address: SocketAddr) -> Exporter {
    let endpoint =
        Endpoint { tls: false, host: address.ip().to_string(), port: address.port(), path: "/v1/traces".into() };
    let config = Config {
        endpoint,
        headers: None,
        sample_percent: 100,
        batch: 10,
        queue: 20,
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(5),
        service: "waypost".into(),
    };
    let resolver = Arc::new(crate::routing::Hickory::from_system().unwrap());
    let client = Client::new(resolver, Arc::new(TlsClients::load(None).unwrap()));
    let spans = Spans::new(&config, "relay.test");
    Exporter { spans, config, host: "relay.test".into(), client, headers: vec![("X-Key".into(), "hush".into())] }
}

/// What came of one batch: requests, and spans sent and lost.
async fn sent(statuses: &'static [u16]) -> (Vec<String>, (u64, u64)) {
    let (address, mut heard) = receiver(statuses).await;
    let exporter = exporter(address);
    for _ in 0..3 {
        exporter.spans.record_for_tests("q1");
    }
    exporter.send(exporter.spans.take()).await;
    let requests = std::iter::from_fn(|| heard.try_recv().ok()).collect();
    (requests, exporter.spans.counts())
}

#[tokio::test]
async fn a_batch_is_one_request_with_the_fields_of_the_operator() {
    let (heard, counts) = sent(&[200]).await;
    assert_eq!((heard.len(), counts), (1, (3, 0)));
    let request = heard[0].to_ascii_lowercase();
    for part in ["post /v1/traces http/1.1", "content-type: application/x-protobuf", "x-key: hush", "smtp reception"] {
        assert!(request.contains(part), "{part}: {request}");
    }
}

#[tokio::test]
async fn what_waits_is_sent_by_itself() {
    let (address, mut heard) = receiver(&[200]).await;
    let exporter = exporter(address);
    let spans = exporter.spans.clone();
    let running = tokio::spawn(exporter.run(CancellationToken::new()));
    for _ in 0..2 {
        spans.record_for_tests("q1");
        let request = tokio::time::timeout(Duration::from_secs(60), heard.recv()).await.unwrap().unwrap();
        assert!(request.starts_with("POST /v1/traces"), "{request}");
    }
    running.abort();
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_and_then_counted() {
    let (heard, counts) = sent(&[503, 200]).await;
    assert_eq!((heard.len(), counts), (2, (3, 0)));
    let (heard, counts) = sent(&[503]).await;
    assert_eq!((heard.len(), counts), (3, (0, 3)));
    let (heard, counts) = sent(&[400]).await;
    assert_eq!((heard.len(), counts), (1, (0, 3)), "no use in trying again");
}
