//! What `answer:` lines say, said by a policy service that the shipped plugin `http-policy` asks: it knows the connection
//! by the client's port.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// The service. Its threads end with the process.
pub(super) struct Policy {
    address: SocketAddr,
    answers: Answers,
}

/// By the client's port: hook and answer, in the order in which they are wanted.
type Answers = Arc<Mutex<HashMap<u16, Vec<(String, String)>>>>;

impl Policy {
    /// Listens on a port of its own.
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Answers::default();
        let of_threads = Arc::clone(&answers);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let answers = Arc::clone(&of_threads);
                // A question that breaks off is the relay's business: it shows in what the client is answered.
                thread::spawn(move || answer(stream.unwrap(), &answers).ok());
            }
        });
        Self { address, answers }
    }

    /// The plugin's tables.
    pub(super) fn tables(&self, component: &str) -> String {
        let hooks = r#"["connect", "helo", "auth", "mail", "rcpt", "message"]"#;
        let Self { address, .. } = self;
        format!(
            "[plugins.policy]\npath = \"{component}\"\nhooks = {hooks}\non-failure = \"tempfail\"\n\
             grants.http = {{ allow = [\"http://{address}\"], private-networks = [\"127.0.0.1/32\"] }}\n\
             [plugins.policy.config]\nurl = \"http://{address}/\"\nhooks = {hooks}\ntimeout-millis = 4000\n"
        )
    }

    /// A connection from this port will be told this.
    pub(super) fn expect(&self, port: u16, answers: Vec<(String, String)>) {
        self.answers.lock().unwrap().insert(port, answers);
    }

    /// What was never asked for.
    pub(super) fn left(&self, port: u16) -> Vec<(String, String)> {
        self.answers.lock().unwrap().remove(&port).unwrap_or_default()
    }
}

fn answer(stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = verdict(&serde_json::from_slice(&body)?, answers).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    stream.get_mut().write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())
}

fn verdict(question: &Value, answers: &Answers) -> Value {
    let hook = question["hook"].as_str().unwrap();
    let port = u16::try_from(question["session"]["client"]["port"].as_u64().unwrap()).unwrap();
    let mut answers = answers.lock().unwrap();
    let Some(wanted) = answers.get_mut(&port) else { return json!({}) };
    let Some(at) = wanted.iter().position(|(of, _)| of == hook) else { return json!({}) };
    let (_, answer) = wanted.remove(at);
    let (verb, text) = answer.split_once(' ').unwrap_or((&answer, ""));
    match (hook, verb) {
        (_, "proceed") | ("message", "queue") => json!({}),
        (_, "accept") => json!({"verdict": "accept"}),
        ("auth", "failure") => json!({"verdict": "reject", "reply": text}),
        ("message", "discard") => json!({"verdict": "discard", "reason": "told so"}),
        ("message", "refuse") => {
            json!({"verdict": if text.starts_with('4') { "tempfail" } else { "reject" }, "reply": text})
        }
        (_, "reject" | "tempfail" | "close") => json!({"verdict": verb, "reply": text}),
        _ => panic!("a policy service can't say {answer:?} at {hook}"),
    }
}
