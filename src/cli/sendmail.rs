//! `waypost sendmail`, and the program called by the name `sendmail`, `mailq` or `newaliases`: what programs on this machine send mail
//! with.
//!
//! Hands mail to the running relay by SMTP; where that is down or says 4yz, writes it into the folder from which the relay takes it
//! later. Runs as whoever calls it: needs no privilege, and must never believe that it has one. Exit statuses are those of
//! sysexits.h, which programs look at.

mod addresses;
mod arguments;
mod message;

use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::args::CONFIGURATION;
use crate::config;
use crate::mail::{Domain, Mailbox};
use crate::maildrop::{self, Answer, Config, DropError, Envelope, RecipientAnswer, Server};
use crate::time::{Clock as _, System};
use arguments::{Arguments, Mode};
use message::{Author, Message};

/// sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Ok = 0,
    Usage = 64,
    Data = 65,
    NoUser = 67,
    Unavailable = 69,
    CantCreate = 73,
    Io = 74,
    TempFail = 75,
}

/// What is said on standard error, and how it ends.
type Failed = (Exit, String);

/// The end of a run under one of the names, if the program was called by one; `waypost sendmail` counts as one.
pub(super) fn by_name() -> Option<ExitCode> {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let words: Vec<OsString> = words.collect();
    let configuration = PathBuf::from(CONFIGURATION);
    Some(match name.as_str() {
        "sendmail" => run(&configuration, &words),
        "mailq" => run(&configuration, &[OsString::from("-bp")]),
        "newaliases" => run(&configuration, &[OsString::from("-bi")]),
        _ => match words.split_first() {
            // Not by way of the command line's own grammar, which would take `--` and the like for itself.
            Some((first, rest)) if first == "sendmail" && rest.first().is_none_or(|word| word != "--help") => {
                run(&configuration, rest)
            }
            _ => return None,
        },
    })
}

/// As `sendmail` with these arguments.
pub(super) fn run(configuration: &Path, words: &[OsString]) -> ExitCode {
    let done = perform(configuration, words);
    let code = done.unwrap_or_else(|(exit, why)| {
        let _ = writeln!(io::stderr(), "sendmail: {}", super::render::clean(&why));
        exit
    });
    ExitCode::from(code as u8)
}

fn perform(configuration: &Path, words: &[OsString]) -> Result<Exit, Failed> {
    let arguments = arguments::read(words).map_err(|why| (Exit::Usage, why))?;
    match arguments.mode {
        // There are no aliases here, and nothing that has to be run by hand.
        Mode::Nothing => Ok(Exit::Ok),
        Mode::Queue => list(configuration),
        Mode::Session => session(&config::sendmail(configuration).0),
        Mode::Verify => verify(&arguments),
        Mode::Submit => {
            let (config, hostname) = config::sendmail(configuration);
            block_on(submit(&config, hostname, &arguments))
        }
    }
}

fn block_on<F: Future<Output = Result<Exit, Failed>>>(work: F) -> Result<Exit, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| (Exit::TempFail, error.to_string()))?.block_on(work)
}

/// `mailq`: the queue of the running relay, for whoever may ask it.
fn list(configuration: &Path) -> Result<Exit, Failed> {
    let program = std::env::current_exe().map_err(|error| (Exit::Unavailable, error.to_string()))?;
    let mut command = std::process::Command::new(program);
    command.arg("--config").arg(configuration).args(["queue", "list"]);
    match command.status() {
        Ok(status) if status.success() => Ok(Exit::Ok),
        Ok(_) => Ok(Exit::Unavailable),
        Err(error) => Err((Exit::Unavailable, error.to_string())),
    }
}

/// `-bv`: whether the addresses can be written to at all. Who is behind them is known only where the mail goes.
fn verify(arguments: &Arguments) -> Result<Exit, Failed> {
    let wrong =
        |text: &String| Mailbox::parse(text, true).err().map(|error| (Exit::NoUser, format!("{text}: {error}")));
    match arguments.recipients.iter().find_map(wrong) {
        Some(failed) => Err(failed),
        None => Ok(Exit::Ok),
    }
}

/// `-bs`: a session on standard input and output is one with the listener. Over when the listener's side is; what the caller's side
/// still holds open is of no matter then.
fn session(config: &Config) -> Result<Exit, Failed> {
    let (mut from, to) = match ends(&config.server) {
        Ok(ends) => ends,
        Err(error) => {
            let _ = io::stdout().write_all(b"421 4.3.2 The relay is not running, try again later\r\n");
            return Err((Exit::TempFail, format!("{}: {error}", config.server)));
        }
    };
    std::thread::spawn(move || to(&mut io::stdin().lock()));
    let (mut out, mut piece) = (io::stdout().lock(), vec![0; 16 << 10]);
    loop {
        let read = from.read(&mut piece).map_err(|error| (Exit::Io, error.to_string()))?;
        let octets = piece.get(..read).unwrap_or_default();
        let passed = out.write_all(octets).and_then(|()| out.flush());
        passed.map_err(|error| (Exit::Io, error.to_string()))?;
        if read == 0 {
            return Ok(Exit::Ok);
        }
    }
}

/// What comes from the listener, and what passes octets on to it to their end.
type Session = (Box<dyn io::Read>, Box<dyn FnOnce(&mut dyn io::Read) + Send>);

fn ends(server: &Server) -> io::Result<Session> {
    // Whatever goes wrong on the way to the listener shows in what comes from there.
    Ok(match server {
        Server::Unix(path) => {
            let stream = std::os::unix::net::UnixStream::connect(path)?;
            let mut to = stream.try_clone()?;
            let pass = move |input: &mut dyn io::Read| {
                let _ = io::copy(input, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            };
            (Box::new(stream), Box::new(pass))
        }
        Server::Tcp(address) => {
            let stream = std::net::TcpStream::connect(address)?;
            let mut to = stream.try_clone()?;
            let pass = move |input: &mut dyn io::Read| {
                let _ = io::copy(input, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            };
            (Box::new(stream), Box::new(pass))
        }
    })
}

/// Both ends of a connection.
trait Ends: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Ends for T {}

async fn connect(server: &Server) -> io::Result<Box<dyn Ends>> {
    Ok(match server {
        Server::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Server::Tcp(address) => Box::new(TcpStream::connect(address).await?),
    })
}

async fn submit(config: &Config, hostname: Option<Arc<str>>, arguments: &Arguments) -> Result<Exit, Failed> {
    let host = hostname.unwrap_or_else(host_name);
    let author = author(arguments, &host);
    let octets = read_input(config.max_message_size)?;
    let mut message = Message::read(&octets, arguments.ignore_dots);
    let mut recipients = arguments.recipients.clone();
    if arguments.from_header {
        recipients.extend(message.recipients());
    }
    message.complete(&author, System.now(), &host).map_err(|why| (Exit::Data, why))?;
    let content = message.into_octets();
    if content.len() as u64 > config.max_message_size {
        return Err((Exit::Data, format!("the message is larger than {} octets", config.max_message_size)));
    }
    let envelope = envelope(arguments, &author, &recipients, &host)?;
    match connect(&config.server).await {
        Err(_nobody) => keep(config, &envelope, &content),
        Ok(stream) => match maildrop::hand_over(stream, &host, &envelope, &content).await {
            Ok(Answer::Taken { reply, refused }) => {
                if arguments.verbose {
                    let _ = writeln!(io::stderr(), "{reply}");
                }
                if refused.is_empty() { Ok(Exit::Ok) } else { Err(refusal(&refused, "taken for the others")) }
            }
            Ok(Answer::Refused(refused)) => Err(refusal(&refused, "not taken")),
            // What became of it is not known after a connection that broke: better twice than never.
            Ok(Answer::Later(_)) | Err(_) => keep(config, &envelope, &content),
        },
    }
}

fn read_input(most: u64) -> Result<Vec<u8>, Failed> {
    let mut octets = Vec::new();
    let read = io::stdin().lock().take(most.saturating_add(1)).read_to_end(&mut octets);
    read.map_err(|error| (Exit::Io, format!("standard input: {error}")))?;
    if octets.len() as u64 > most {
        return Err((Exit::Data, format!("the message is larger than {most} octets")));
    }
    Ok(octets)
}

fn envelope(arguments: &Arguments, author: &Author, recipients: &[String], host: &str) -> Result<Envelope, Failed> {
    let mut found: Vec<String> = Vec::new();
    for text in recipients {
        let whole = addresses::qualified(text, host);
        let mailbox = Mailbox::parse(&whole, true).map_err(|error| (Exit::NoUser, format!("{text}: {error}")))?;
        let mailbox = mailbox.to_string();
        if !found.contains(&mailbox) {
            found.push(mailbox);
        }
    }
    if found.is_empty() {
        return Err((Exit::Usage, "there is no recipient".to_owned()));
    }
    let sender = if author.envelope.is_empty() {
        String::new()
    } else {
        let read = Mailbox::parse(&author.envelope, true);
        read.map_err(|error| (Exit::Data, format!("{}: {error}", author.envelope)))?.to_string()
    };
    let Arguments { notify, ret, envid, .. } = arguments;
    let (notify, ret, envid) = (notify.clone(), ret.clone(), envid.clone());
    let envelope = Envelope { sender, recipients: found, notify, ret, envid };
    if envelope.is_plain() { Ok(envelope) } else { Err((Exit::Data, "an address can't be written".to_owned())) }
}

/// For later.
fn keep(config: &Config, envelope: &Envelope, content: &[u8]) -> Result<Exit, Failed> {
    match maildrop::write(&config.folder, envelope, content) {
        Ok(_) => Ok(Exit::Ok),
        Err(error @ (DropError::NoFolder(_) | DropError::Unfit(_) | DropError::Full(_))) => {
            Err((Exit::TempFail, format!("the relay at {} does not take mail now, and {error}", config.server)))
        }
        Err(error) => Err((Exit::CantCreate, error.to_string())),
    }
}

fn refusal(refused: &[RecipientAnswer], what: &str) -> Failed {
    let said: Vec<String> = refused.iter().map(|r| format!("{}: {}", r.recipient, r.reply)).collect();
    let unknown = refused.iter().all(|r| r.reply.status.is_some_and(|s| (s.subject, s.detail) == (1, 1)));
    let exit = if unknown { Exit::NoUser } else { Exit::Unavailable };
    (exit, format!("{what}: {}", said.join("; ")))
}

/// Who writes: by the options, else by the system's list of users.
fn author(arguments: &Arguments, host: &str) -> Author {
    let user = rustix::process::getuid().as_raw();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let (login, full) = user_of(&passwd, user);
    let own = format!("{login}@{host}");
    let envelope = match arguments.sender.as_deref() {
        None => own.clone(),
        Some("" | "<>") => String::new(),
        Some(text) => addresses::qualified(text, host),
    };
    let address = if envelope.is_empty() { own } else { envelope.clone() };
    let name = arguments.full_name.clone().or_else(|| arguments.sender.is_none().then_some(full).flatten());
    Author { envelope, address, name }
}

/// Login and full name, passwd(5).
fn user_of(passwd: &str, user: u32) -> (String, Option<String>) {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let found = passwd.lines().map(fields).find(|fields| fields.get(2) == Some(&user.to_string()));
    let Some(fields) = found else { return (format!("uid{user}"), None) };
    let full = fields.get(4).and_then(|gecos| gecos.split(',').next()).map(str::to_owned);
    (fields.first().cloned().unwrap_or_default(), full.filter(|name| !name.is_empty()))
}

/// Where the configuration can't be read: as mail programs on Debian find it.
fn host_name() -> Arc<str> {
    let first = |path: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        Domain::parse(text.lines().next()?.trim()).ok()
    };
    let found = ["/etc/mailname", "/etc/hostname"].into_iter().find_map(first);
    found.map_or_else(|| "localhost".into(), |name| name.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_is_known_to_the_system() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:Ann Lee,,,:/home/ann:/bin/sh\n";
        assert_eq!(user_of(passwd, 1000), ("ann".to_owned(), Some("Ann Lee".to_owned())));
        assert_eq!(user_of(passwd, 7), ("uid7".to_owned(), None));
    }

    #[test]
    fn recipients_are_whole_addresses_each_of_them_once() {
        let arguments = Arguments::default();
        let author = Author { envelope: String::new(), address: "ann@host.test".to_owned(), name: None };
        let of = |recipients: &[&str]| {
            let recipients: Vec<String> = recipients.iter().map(|r| (*r).to_owned()).collect();
            envelope(&arguments, &author, &recipients, "host.test")
        };
        assert_eq!(
            of(&["root", "root@host.test", "B@Example.NET"]).unwrap().recipients,
            ["root@host.test", "B@example.net"]
        );
        assert_eq!(of(&[]).unwrap_err().0, Exit::Usage);
        assert_eq!(of(&["a b@x"]).unwrap_err().0, Exit::NoUser);
        assert_eq!(of(&["a@x>\r\nDATA"]).unwrap_err().0, Exit::NoUser);
    }
}
