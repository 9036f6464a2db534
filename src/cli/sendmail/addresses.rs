//! Addresses as people write them in header fields and on command lines (RFC 5322 section 3.4), down to the bare addresses.
//!
//! Pure. Lenient where mail programs are: what is no address comes out as it is and is refused by whoever parses it.

/// The addresses of a list: names, comments, groups and routes left out.
pub(super) fn list(text: &str) -> Vec<String> {
    let mut scan = Scan::default();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        scan.take(c, &mut chars);
    }
    scan.end();
    scan.found
}

/// With the host behind it, where there is no domain.
pub(super) fn qualified(text: &str, host: &str) -> String {
    // `@` within quotes is part of a local part that has no domain.
    let bare = text.rsplit_once('@').is_none_or(|(_, domain)| domain.ends_with('"'));
    if bare { format!("{text}@{host}") } else { text.to_owned() }
}

/// Where in a list we are.
#[derive(Default)]
struct Scan {
    found: Vec<String>,
    /// Outside of brackets: an address, or the name before one.
    outside: String,
    /// Inside of them, once there were any.
    inside: Option<String>,
    quoted: bool,
    comments: u32,
    angle: bool,
    literal: bool,
}

impl Scan {
    fn take(&mut self, c: char, more: &mut std::str::Chars<'_>) {
        match c {
            '\\' if self.quoted || self.comments > 0 => {
                if let Some(next) = more.next().filter(|_| self.comments == 0) {
                    self.push('\\');
                    self.push(next);
                }
            }
            '"' if self.comments == 0 => {
                self.quoted = !self.quoted;
                self.push(c);
            }
            _ if self.quoted => self.push(c),
            '(' => self.comments += 1,
            ')' if self.comments > 0 => self.comments -= 1,
            _ if self.comments > 0 => {}
            '<' => {
                self.angle = true;
                self.inside = Some(String::new());
            }
            '>' => self.angle = false,
            '[' | ']' => {
                self.literal = c == '[';
                self.push(c);
            }
            // A route before an address (RFC 5322 section 4.4), and a group's name, say nothing.
            ':' if self.angle && !self.literal => self.inside = Some(String::new()),
            ':' if !self.literal => self.outside.clear(),
            ',' | ';' if !self.angle => self.end(),
            c if c.is_whitespace() && (self.angle || !self.outside.trim().is_empty()) => self.space(),
            c if c.is_whitespace() => {}
            c => self.push(c),
        }
    }

    fn push(&mut self, c: char) {
        match &mut self.inside {
            Some(inside) if self.angle => inside.push(c),
            Some(_) => {}
            None => self.outside.push(c),
        }
    }

    fn space(&mut self) {
        if !self.angle && self.inside.is_none() {
            self.outside.push(' ');
        }
    }

    fn end(&mut self) {
        let outside = std::mem::take(&mut self.outside);
        let address = self.inside.take().unwrap_or(outside);
        let address = address.trim();
        if !address.is_empty() {
            self.found.push(address.to_owned());
        }
        (self.quoted, self.comments, self.angle, self.literal) = (false, 0, false, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_however_they_are_written() {
        let cases: [(&str, &[&str]); 10] = [
            ("a@x.test", &["a@x.test"]),
            ("Ann <a@x.test>, \"Lee, Bob\" <b@y.test>", &["a@x.test", "b@y.test"]),
            ("root", &["root"]),
            ("friends: a@x.test, b@y.test;, c@z.test", &["a@x.test", "b@y.test", "c@z.test"]),
            ("undisclosed-recipients:;", &[]),
            ("a@x.test (Ann, of x), b@y.test", &["a@x.test", "b@y.test"]),
            ("<@relay.test,@b.test:a@x.test>", &["a@x.test"]),
            ("\"a,b\"@x.test", &["\"a,b\"@x.test"]),
            ("a@[IPv6:2001:db8::1]", &["a@[IPv6:2001:db8::1]"]),
            ("Ann\r\n <a@x.test>,\r\n\tb@y.test", &["a@x.test", "b@y.test"]),
        ];
        for (text, expected) in cases {
            assert_eq!(list(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_bare_name_is_of_this_host() {
        assert_eq!(qualified("root", "host.test"), "root@host.test");
        assert_eq!(qualified("a@x.test", "host.test"), "a@x.test");
        assert_eq!(qualified("\"a@b\"", "host.test"), "\"a@b\"@host.test");
    }
}
