//! What strangers can do to the network's door, over real sockets, in time that passes as it is needed.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::admin::converse::{HEAD, UNREAD};
use crate::admin::http::{Surroundings, Terms};
use crate::admin::places::{HEAD_TIME, IDLE, SHARE};
use crate::admin::tests::{Fake, record};
use crate::admin::{Network, Role, Scrape, Token, TokenHash};

struct Opened {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Opened {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let http = Network { address: "127.0.0.1:0".parse().unwrap(), certificate: None, metrics: Scrape::Open };
        let token = Token { name: "ann".into(), hash: TokenHash::of("secret"), role: Role::Admin };
        let config = Config { socket: dir.path().join("admin.sock"), http: Some(http), tokens: vec![token] };
        let doors = bind(&config).unwrap();
        let address = doors.address().unwrap();
        let around = Surroundings::default();
        around.terms.store(Arc::new(Terms::of(&config).unwrap()));
        let fake = Fake { records: vec![record(1)], ..Fake::default() };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(doors, Api::new(Arc::new(fake), around), shutdown.clone()));
        Self { address, shutdown, task, dir }
    }

    /// A connection from another address of this machine.
    async fn from(&self, host: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// The status of the answer that comes; none: the connection is closed.
async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).await.unwrap_or(0);
    String::from_utf8_lossy(&buffer[..read]).split(' ').nth(1)?.parse().ok()
}

/// How long it takes until the connection is closed; what comes before is read.
async fn closed_after(stream: &mut TcpStream) -> Duration {
    let begun = Instant::now();
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
    begun.elapsed()
}

const ASKS: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

fn about(took: Duration, expected: Duration) -> bool {
    took >= expected && took < expected + Duration::from_secs(2)
}

#[tokio::test(start_paused = true)]
async fn half_requests_of_one_address_keep_nobody_out() {
    let opened = Opened::new();
    let mut held = Vec::new();
    for _ in 0..70 {
        let mut stream = opened.from(2).await;
        // One that is over its share may be closed before it speaks.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").await;
        held.push(stream);
    }
    let begun = Instant::now();
    let mut other = opened.from(3).await;
    say(&mut other, ASKS).await;
    assert_eq!(status(&mut other).await, Some(200));
    assert!(begun.elapsed() < Duration::from_secs(1), "at once");
    for (at, stream) in held.iter_mut().enumerate() {
        let took = closed_after(stream).await;
        assert!(at != SHARE || took < Duration::from_secs(1), "what is over the share is closed at once: {took:?}");
    }
    assert!(about(begun.elapsed(), HEAD_TIME), "half a head is not awaited for long: {:?}", begun.elapsed());
    let mut again = opened.from(2).await;
    say(&mut again, ASKS).await;
    assert_eq!(status(&mut again).await, Some(200));
    opened.close().await;
}

#[tokio::test(start_paused = true)]
async fn half_requests_of_many_addresses_make_room_for_whoever_comes() {
    let opened = Opened::new();
    let (mut held, mut others) = (Vec::new(), Vec::new());
    for at in 0..CONNECTIONS {
        let mut stream = opened.from(u8::try_from(10 + at / SHARE).unwrap()).await;
        say(&mut stream, "GET /healthz").await;
        held.push(stream);
    }
    // Those who have not even asked go first; then those who send half of what they ask with.
    for stream in &mut held[..CONNECTIONS / 2] {
        say(stream, " HTTP/1.1\r\nhost: x\r\nx: y\r\n\r\n").await;
        assert_eq!(status(stream).await, Some(200));
        let half =
            "POST /api/v1/session HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
        say(stream, half).await;
    }
    for host in 100..200 {
        let mut other = opened.from(host).await;
        say(&mut other, ASKS).await;
        assert_eq!(status(&mut other).await, Some(200), "{host}");
        others.push(other);
    }
    opened.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_is_closed_and_who_listens_is_not() {
    let opened = Opened::new();
    let mut silent = opened.from(2).await;
    assert!(about(closed_after(&mut silent).await, HEAD_TIME));
    let mut kept = opened.from(2).await;
    say(&mut kept, ASKS).await;
    assert_eq!(status(&mut kept).await, Some(200));
    assert!(about(closed_after(&mut kept).await, IDLE));
    let mut listens = opened.from(2).await;
    say(&mut listens, "GET /api/v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\r\n").await;
    let (begun, mut buffer) = (Instant::now(), [0; 4096]);
    while begun.elapsed() < 10 * IDLE {
        assert!(listens.read(&mut buffer).await.unwrap() > 0, "after {:?}", begun.elapsed());
    }
    opened.close().await;
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_is_closed() {
    let opened = Opened::new();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(opened.address).await.unwrap();
    // So many answers that no buffer of the system takes them.
    let ask = "GET /api/v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(400);
    let (mut from, mut to) = stream.split();
    let begun = Instant::now();
    let asked = async {
        let _ = to.write_all(ask.as_bytes()).await;
        to.write_all(b"x").await
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), asked).await;
    tokio::time::sleep(UNREAD + Duration::from_secs(2)).await;
    let mut got = Vec::new();
    let _ = from.read_to_end(&mut got).await;
    assert!(begun.elapsed() < UNREAD + HEAD_TIME, "{:?}", begun.elapsed());
    assert!(String::from_utf8_lossy(&got).matches("HTTP/1.1 200").count() < 400, "it went on all the same");
    opened.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_head_has_a_size() {
    let opened = Opened::new();
    for (octets, expected) in [(HEAD - 100, 200), (HEAD, 431), (90_000, 431)] {
        let mut stream = opened.from(2).await;
        let head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(octets));
        say(&mut stream, &head).await;
        assert_eq!(status(&mut stream).await, Some(expected), "{octets}");
    }
    let mut stream = opened.from(2).await;
    let fields: String = (0..200).map(|at| format!("x-{at}: y\r\n")).collect();
    say(&mut stream, &format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{fields}\r\n")).await;
    assert_eq!(status(&mut stream).await, Some(431), "fields without number");
    opened.close().await;
}

#[tokio::test(start_paused = true)]
async fn the_socket_has_places_of_its_own_and_lets_wait() {
    let opened = Opened::new();
    let path = opened.dir.path().join("admin.sock");
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(tokio::net::UnixStream::connect(&path).await.unwrap());
    }
    let mut network = opened.from(2).await;
    say(&mut network, ASKS).await;
    assert_eq!(status(&mut network).await, Some(200));
    let begun = Instant::now();
    let mut late = tokio::net::UnixStream::connect(&path).await.unwrap();
    late.write_all(ASKS.as_bytes()).await.unwrap();
    let mut buffer = [0; 12];
    late.read_exact(&mut buffer).await.unwrap();
    assert!(buffer.ends_with(b"200") && about(begun.elapsed(), HEAD_TIME), "{:?}", begun.elapsed());
    opened.close().await;
}
