//! The arguments that programs give to `sendmail`: the union of what Postfix's and Exim's take and programs really use.
//!
//! What has no meaning here is ignored, as both do with each other's options; what would make mail go another way than the caller
//! meant is refused. Pure.

use std::ffi::OsString;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) mode: Mode,
    /// `-t`: also to those whom the header section names.
    pub(super) from_header: bool,
    /// `-i`: a line with a dot alone is content.
    pub(super) ignore_dots: bool,
    /// `-f` or `-r`.
    pub(super) sender: Option<String>,
    /// `-F`.
    pub(super) full_name: Option<String>,
    /// `-N`, `-R`, `-V`: as in RFC 3461.
    pub(super) notify: Option<String>,
    pub(super) ret: Option<String>,
    pub(super) envid: Option<String>,
    pub(super) verbose: bool,
    pub(super) recipients: Vec<String>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// `-bm`: take a message.
    #[default]
    Submit,
    /// `-bs`: SMTP on standard input and output.
    Session,
    /// `-bp`: show the queue.
    Queue,
    /// `-bv`: look at addresses only.
    Verify,
    /// `-bi` and `-q`: there is nothing to do.
    Nothing,
}

/// Options that take a value, in the same word or in the next one.
const WITH_VALUE: &[u8] = b"fFrBNRVhLOpXCboAM";
/// Options that take the rest of their word, if there is any.
const WITH_REST: &[u8] = b"qdeD";
/// Options by themselves; more than one may stand in a word.
const ALONE: &[u8] = b"tivnmUGxsI";

/// Reads them.
///
/// # Errors
/// What can't be done, for the caller.
pub(super) fn read(words: &[OsString]) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut words = words.iter().map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        match word.strip_prefix('-') {
            Some(options) if !options.is_empty() => arguments.word(options, &mut words)?,
            _ => arguments.recipient(word),
        }
    }
    words.for_each(|word| arguments.recipient(word));
    if arguments.mode == Mode::Submit && arguments.recipients.is_empty() && !arguments.from_header {
        return Err("nobody is named: give recipients, or -t to take them from the header section".to_owned());
    }
    Ok(arguments)
}

impl Arguments {
    fn recipient(&mut self, word: String) {
        // One argument may hold several, as in `sendmail "a@x, b@y"`.
        self.recipients.extend(super::addresses::list(&word));
    }

    /// A word of options, without its hyphen.
    fn word(&mut self, options: &str, more: &mut impl Iterator<Item = String>) -> Result<(), String> {
        for (at, option) in options.char_indices() {
            let rest = options.get(at + option.len_utf8()..).unwrap_or_default();
            let kind = u8::try_from(option).unwrap_or_default();
            if ALONE.contains(&kind) {
                self.alone(option);
            } else if WITH_REST.contains(&kind) {
                self.with_rest(option);
                return Ok(());
            } else if WITH_VALUE.contains(&kind) {
                let mut next = || more.next().ok_or_else(|| format!("-{option} wants a value"));
                let value = if rest.is_empty() { next()? } else { rest.to_owned() };
                // Exim's -oMr and its like say where the mail came from, in the next word.
                if option == 'o' && value.len() > 1 && value.starts_with('M') {
                    more.next();
                }
                return self.with_value(option, value);
            } else {
                return Err(format!("there is no option -{option}"));
            }
        }
        Ok(())
    }

    fn alone(&mut self, option: char) {
        match option {
            't' => self.from_header = true,
            'i' => self.ignore_dots = true,
            'v' => self.verbose = true,
            'I' => self.mode = Mode::Nothing,
            _ => {}
        }
    }

    fn with_rest(&mut self, option: char) {
        // The queue is run by the relay, all the time.
        if option == 'q' {
            self.mode = Mode::Nothing;
        }
    }

    fn with_value(&mut self, option: char, value: String) -> Result<(), String> {
        match option {
            'f' | 'r' => self.sender = Some(value.trim_matches(['<', '>']).trim().to_owned()),
            'F' => self.full_name = Some(value.chars().filter(|c| !c.is_control()).collect()),
            'o' if value == "i" => self.ignore_dots = true,
            'N' => self.notify = Some(notify(&value)?),
            'R' => {
                let ret = value.to_ascii_uppercase();
                let known = ["FULL", "HDRS"].contains(&ret.as_str());
                self.ret = Some(known.then_some(ret).ok_or_else(|| format!("-R {value}: FULL or HDRS"))?);
            }
            'V' => self.envid = Some(xtext(&value)),
            'b' => self.mode = mode(&value)?,
            'o' if value == "itrue" => self.ignore_dots = true,
            'C' => return Err("-C: another configuration is not for those who send mail to name".to_owned()),
            'M' => return Err("-M: what Exim does to its queue by it, `waypost queue` does here".to_owned()),
            'X' => return Err("-X: no log is written for the caller".to_owned()),
            // -B says what the content shows; -h, -L, -O, -p, -A and other -o have no meaning here.
            _ => {}
        }
        Ok(())
    }
}

fn mode(value: &str) -> Result<Mode, String> {
    match value {
        "m" => Ok(Mode::Submit),
        "s" | "S" => Ok(Mode::Session),
        "p" => Ok(Mode::Queue),
        "v" => Ok(Mode::Verify),
        "i" => Ok(Mode::Nothing),
        "d" | "D" => Err(format!("-b{value}: the relay is run by its service, or by `waypost run`")),
        _ => Err(format!("-b{value} is not known")),
    }
}

fn notify(value: &str) -> Result<String, String> {
    let value = value.to_ascii_uppercase();
    let words: Vec<&str> = value.split(',').collect();
    let known = words.iter().all(|word| ["SUCCESS", "FAILURE", "DELAY"].contains(word));
    if known || value == "NEVER" { Ok(value) } else { Err(format!("-N {value}: never, or success, failure, delay")) }
}

/// RFC 3461 section 4.
fn xtext(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && !b"+=".contains(&b);
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("+{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Arguments, String> {
        read(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    /// As cron, mutt, PHP, git, mailx, Exim's users and others call it.
    #[test]
    fn programs_are_understood_as_they_call_it() {
        let cron = of(&["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"]).unwrap();
        assert_eq!((cron.ignore_dots, cron.full_name.as_deref()), (true, Some("CronDaemon")));
        assert_eq!(cron.recipients, ["root"]);
        let php = of(&["-t", "-i", "-f", "web@example.org"]).unwrap();
        assert_eq!((php.from_header, php.sender.as_deref()), (true, Some("web@example.org")));
        let mutt = of(&["-oem", "-oi", "-f", "ann@example.org", "--", "-odd@example.net", "b@example.net"]).unwrap();
        assert_eq!((mutt.ignore_dots, mutt.recipients.len()), (true, 2));
        assert_eq!(mutt.recipients[0], "-odd@example.net");
        let together = of(&["-tvi", "-fann@example.org"]).unwrap();
        assert!(together.from_header && together.verbose && together.ignore_dots);
        let exim = of(&["-oMr", "local", "-odq", "-oem", "a@x.test,b@y.test"]).unwrap();
        assert_eq!(exim.recipients, ["a@x.test", "b@y.test"]);
        let null = of(&["-f", "<>", "a@x.test"]).unwrap();
        assert_eq!(null.sender.as_deref(), Some(""));
        assert_eq!(
            of(&["-N", "success,failure", "-R", "hdrs", "-V", "a+b", "a@x.test"]).unwrap().envid.as_deref(),
            Some("a+2Bb")
        );
        assert_eq!(
            of(&["-Ac", "-O", "DeliveryMode=b", "-L", "tag", "-h", "3", "a@x.test"]).unwrap().recipients,
            ["a@x.test"]
        );
    }

    #[test]
    fn modes_are_told_apart() {
        let cases = [
            (&["-bs"][..], Mode::Session),
            (&["-bp"], Mode::Queue),
            (&["-bi"], Mode::Nothing),
            (&["-q15m"], Mode::Nothing),
        ];
        for (words, mode) in cases {
            assert_eq!(of(words).unwrap().mode, mode, "{words:?}");
        }
        assert_eq!(of(&["-b", "m", "a@x.test"]).unwrap().mode, Mode::Submit);
    }

    #[test]
    fn what_would_mislead_is_refused() {
        for words in [
            &["-C", "/tmp/x", "a@x.test"][..],
            &["-bd"],
            &["-Mrm", "1abcde-000000-00"],
            &["-X", "/tmp/log", "a@x.test"],
            &["-Z", "a@x.test"],
            &[],
            &["-f"],
            &["-N", "sometimes", "a@x.test"],
            &["-R", "some", "a@x.test"],
        ] {
            assert!(of(words).is_err(), "{words:?}");
        }
    }
}
