//! Components that call host functions, from any place of a plugin, and tell what became of it.
//!
//! A letter for each call: `.` for ok, else one for the error's code, such as `D` for denied; and the words of the last
//! error. Where they can be told depends on the place: see [`Place`].

use std::fmt::Write as _;

use super::{AT, arity, component};
use crate::hooks::Hook;

/// From where the calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `lifecycle.init`, which then fails with the letters.
    Init,
    /// `lifecycle.validate-config`, which then refuses with the letters.
    Validate,
    /// `lifecycle.self-test`, which then fails with the letters.
    SelfTest,
    /// A hook: letters and words are the lines of a 550 at the session's hooks, message and route. At bounce the letters
    /// are why it is suppressed; at the others, how many calls were denied is for how many seconds they hold.
    Hook(Hook),
}

/// All places there are.
pub(crate) fn places() -> impl Iterator<Item = Place> {
    [Place::Init, Place::Validate, Place::SelfTest].into_iter().chain(Hook::ALL.map(Place::Hook))
}

/// One parameter as the canonical ABI flattens it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    /// A string or a list of octets.
    Text(&'static str),
    /// An `option<string>` that is some.
    Some(&'static str),
    /// A number, a case, a discriminant.
    Number(i32),
    /// An f64.
    Float(f64),
    /// A list of pairs of strings.
    Pairs(&'static [(&'static str, &'static str)]),
    /// What `context.current-NAME` gave out.
    Current(&'static str),
}

/// One call, its result through a pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// `kv`, `dns` …
    pub interface: &'static str,
    pub function: &'static str,
    pub args: &'static [Arg],
    /// Where the payload of its result begins: behind the alignment of what it returns.
    pub payload: u32,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    Once,
    /// All of them, again and again.
    Forever,
}

/// Letters by code.
const HOST_ERRORS: u32 = 16;
const DNS_ERRORS: u32 = 32;
/// What the current facts are behind.
const FACTS: u32 = 48;
/// Result of a call.
const RESULT: u32 = 128;
/// Letters, and texts of arguments.
const LETTERS: u32 = 4096;
const TEXTS: u32 = 8192;

struct Writer {
    imports: Vec<String>,
    texts: Vec<u8>,
    body: String,
}

impl Writer {
    fn text(&mut self, text: &str) -> (u32, usize) {
        let at = TEXTS + u32::try_from(self.texts.len()).unwrap();
        self.texts.extend(text.as_bytes());
        (at, text.len())
    }

    /// WAT of an argument, and its core types.
    fn arg(&mut self, arg: Arg) -> (String, &'static str) {
        match arg {
            Arg::Text(text) => {
                let (at, len) = self.text(text);
                (format!("(i32.const {at}) (i32.const {len})"), " i32 i32")
            }
            Arg::Some(text) => {
                let (at, len) = self.text(text);
                (format!("(i32.const 1) (i32.const {at}) (i32.const {len})"), " i32 i32 i32")
            }
            Arg::Number(number) => (format!("(i32.const {number})"), " i32"),
            Arg::Float(number) => (format!("(f64.const {number})"), " f64"),
            Arg::Pairs(pairs) => {
                let mut list = Vec::new();
                for text in pairs.iter().flat_map(|(key, value)| [*key, *value]) {
                    let (at, len) = self.text(text);
                    list.extend(at.to_le_bytes());
                    list.extend(u32::try_from(len).unwrap().to_le_bytes());
                }
                self.texts.resize(self.texts.len().next_multiple_of(4), 0);
                let at = TEXTS + u32::try_from(self.texts.len()).unwrap();
                self.texts.extend(list);
                (format!("(i32.const {at}) (i32.const {})", pairs.len()), " i32 i32")
            }
            Arg::Current(fact) => {
                let import =
                    format!(r#"(import "waypost:plugin/context@0.1.0" "current-{fact}" (func ${fact} (param i32)))"#);
                if !self.imports.contains(&import) {
                    self.imports.push(import);
                }
                let ask = format!("(call ${fact} (i32.const {FACTS}))\n");
                if !self.body.contains(&ask) {
                    self.body.insert_str(0, &ask);
                }
                (format!("(i32.load (i32.const {}))", FACTS + 4), " i32")
            }
        }
    }

    fn call(&mut self, at: usize, call: &Call) {
        let (mut args, mut types) = (String::new(), String::new());
        for arg in call.args {
            let (wat, core) = self.arg(*arg);
            args.push_str(&wat);
            types.push_str(core);
        }
        let Call { interface, function, payload, .. } = call;
        self.imports.push(format!(
            r#"(import "waypost:plugin/{interface}@0.1.0" "{function}" (func $call{at} (param{types} i32)))"#
        ));
        let table = if *interface == "dns" { DNS_ERRORS } else { HOST_ERRORS };
        writeln!(self.body, "(call $call{at} {args} (i32.const {RESULT}))").unwrap();
        writeln!(self.body, "(call $note (i32.const {}) (i32.const {table}))", RESULT + payload).unwrap();
    }
}

/// The last part: where the letters go, by place.
fn export(place: Place) -> String {
    let run = "(call $run)";
    let handle = |hook: Hook, before: &str| {
        let (interface, params) = (hook.interface(), " i32".repeat(arity(hook)));
        format!(
            r#"(func (export "waypost:plugin/{interface}@0.1.0#handle") (param{params}) (result i32)
                {run} {before} (i32.const {AT}))"#
        )
    };
    let letters = |at: u32| {
        let (ptr, len) = (AT + at, AT + at + 4);
        format!(
            "(i32.store (i32.const {ptr}) (i32.const {LETTERS}))
             (i32.store (i32.const {len}) (i32.sub (global.get $at) (i32.const {LETTERS})))"
        )
    };
    let one = |at: u32, value: u32| format!("(i32.store (i32.const {}) (i32.const {value}))", AT + at);
    let lifecycle = |init: &str, validate: &str, test: &str| {
        format!(
            r#"(func (export "waypost:plugin/lifecycle@0.1.0#init") (result i32) {init})
               (func (export "waypost:plugin/lifecycle@0.1.0#validate-config") (param i32 i32) (result i32) {validate})
               (func (export "waypost:plugin/lifecycle@0.1.0#self-test") (result i32) {test})
               (func (export "waypost:plugin/on-connect@0.1.0#handle") (result i32) (i32.const 0))"#
        )
    };
    let failing = format!("{run} {} {} (i32.const {AT})", one(0, 1), letters(4));
    let good = "(i32.const 0)";
    match place {
        Place::Init => lifecycle(&failing, good, good),
        // err([letters])
        Place::Validate => {
            let refusing =
                format!("{run} {} {} {} {} (i32.const {AT})", one(0, 1), one(4, AT + 16), one(8, 1), letters(16));
            lifecycle(good, &refusing, good)
        }
        Place::SelfTest => lifecycle(good, good, &failing),
        // ok(hold-seconds(denied))
        Place::Hook(Hook::DeliveryAttempt) => {
            let seconds = format!("(i32.store (i32.const {}) (global.get $denied))", AT + 8);
            handle(Hook::DeliveryAttempt, &format!("{} {seconds}", one(4, 1)))
        }
        // ok([{recipient: 1, retry-after-seconds(denied)}])
        Place::Hook(Hook::DeliveryResult) => {
            let seconds = format!("(i32.store (i32.const {}) (global.get $denied))", AT + 64 + 8);
            let list = format!("{} {} {} {}", one(4, AT + 64), one(8, 1), one(64, 1), one(68, 1));
            handle(Hook::DeliveryResult, &format!("{list} {seconds}"))
        }
        // ok(suppress(letters))
        Place::Hook(Hook::Bounce) => handle(Hook::Bounce, &format!("{} {}", one(4, 2), letters(8))),
        // ok(reject({550, none, [letters, words]})), or what is laid out like it
        Place::Hook(hook) => {
            let words = format!(
                "(i32.store (i32.const {}) (global.get $words)) (i32.store (i32.const {}) (global.get $length))",
                AT + 72,
                AT + 76
            );
            let reply = format!("{} {} {} {}", one(4, 2), one(8, 550), one(20, AT + 64), one(24, 2));
            handle(hook, &format!("{reply} {} {words}", letters(64)))
        }
    }
}

/// A component that makes these calls in this place. With no call at all, its lifecycle and hook still answer so.
pub(crate) fn probe(place: Place, calls: &[Call], times: Times) -> Vec<u8> {
    let mut writer = Writer { imports: Vec::new(), texts: Vec::new(), body: String::new() };
    for (at, call) in calls.iter().enumerate() {
        writer.call(at, call);
    }
    let Writer { imports, texts, body } = writer;
    let body = match times {
        Times::Once => body,
        Times::Forever => format!("(loop $on {body} (global.set $at (i32.const {LETTERS})) (br $on))"),
    };
    let texts: String = texts.iter().map(|byte| format!("\\{byte:02x}")).collect();
    component(&format!(
        r#"(module {imports}
            (memory (export "memory") 2)
            (global $at (mut i32) (i32.const {LETTERS}))
            (global $denied (mut i32) (i32.const 0))
            (global $words (mut i32) (i32.const {LETTERS}))
            (global $length (mut i32) (i32.const 0))
            (data (i32.const {HOST_ERRORS}) "DHFILXTUO")
            (data (i32.const {DNS_ERRORS}) "NESTDVO")
            (data (i32.const {TEXTS}) "{texts}")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            (func $note (param $payload i32) (param $table i32)
                (local $letter i32)
                (local.set $letter (i32.const 46))
                (if (i32.load8_u (i32.const {RESULT}))
                    (then
                        (local.set $letter (i32.load8_u (i32.add (local.get $table)
                            (i32.load8_u (local.get $payload)))))
                        (if (i32.eq (local.get $table) (i32.const {HOST_ERRORS}))
                            (then
                                (global.set $words (i32.load offset=4 (local.get $payload)))
                                (global.set $length (i32.load offset=8 (local.get $payload)))))))
                (if (i32.eq (local.get $letter) (i32.const 68))
                    (then (global.set $denied (i32.add (global.get $denied) (i32.const 1)))))
                (i32.store8 (global.get $at) (local.get $letter))
                (global.set $at (i32.add (global.get $at) (i32.const 1))))
            (func $run
                (global.set $at (i32.const {LETTERS}))
                (global.set $denied (i32.const 0))
                (global.set $length (i32.const 0))
                {body})
            {export})"#,
        imports = imports.join("\n"),
        export = export(place)
    ))
}
