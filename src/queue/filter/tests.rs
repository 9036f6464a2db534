use proptest::prelude::*;

use super::*;
use crate::hooks::{NextHop, Outcome, OutcomeKind, Route, Stage};
use crate::mail::Param;
use crate::queue::tests::{START, record};
use crate::queue::{QueuedRecipient, Record};
use crate::smtp::{Reply, Status};
use crate::time::Timestamp;

fn by_mx(recipient: &QueuedRecipient) -> Arc<Route> {
    Arc::new(Route { hops: vec![NextHop::Mx(recipient.mailbox.domain.as_str().into())], ..Route::default() })
}

fn now() -> Timestamp {
    START.plus(std::time::Duration::from_secs(3 * 3600))
}

/// Two recipients: the first deferred twice and routed by a plugin, the second held and never tried.
fn sample() -> Record {
    let mut record = record(7, &["bob@example.net", "eve@sub.example.com"]);
    record.tags = vec!["bulk".into(), "odd one".into()];
    record.annotations.set("billing", "1", "tenant", "acme").unwrap();
    record.annotations.set("billing", "1", "Order.id", "17").unwrap();
    record.annotations.set("mta", "1", "priority", "4").unwrap();
    record.body_size = 2 << 20;
    let first = &mut record.recipients[0];
    first.state.attempts = 2;
    first.state.due = now().plus(std::time::Duration::from_secs(600));
    first.route =
        Some(Arc::new(Route { hops: vec![NextHop::Smtp { host: "mx.test".into(), port: 26 }], ..Route::default() }));
    first.state.last = Some(Outcome {
        recipient: 0,
        kind: OutcomeKind::Temporary,
        stage: Stage::Rcpt,
        reply: Some(Reply::new(450, Status::new(4, 7, 1), "greylisted, come back")),
        error: None,
        remote: None,
        remote_endpoint: None,
        at: START,
    });
    record.recipients[1].state.held = Some("too odd".into());
    record
}

fn selected(text: &str, record: &Record) -> Vec<u32> {
    let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    filter.select(Sight { record, now: now(), ways: &by_mx })
}

#[test]
fn every_field_is_asked_of_the_right_thing() {
    let record = sample();
    let (none, first, second, both) = (&[][..], &[0][..], &[1][..], &[0, 1][..]);
    let id = format!("id = {}", record.id);
    let cases: &[(&str, &[u32])] = &[
        ("", both),
        ("all", both),
        ("not all", none),
        (&id, both),
        ("id = 0000000000001", none),
        ("sender = sender@example.org", both),
        ("sender = SENDER@example.ORG", both),
        ("sender ~ \"@EXAMPLE.\"", both),
        ("sender != <>", both),
        ("sender-domain = example.org and domain = example.net", first),
        ("recipient =~ \"^e.e@\"", second),
        ("domain = Example.Net", first),
        ("domain = .example.com", second),
        ("domain = .example.net", none),
        ("not domain = example.net", second),
        ("age > 2h and age < 4h", both),
        ("age >= 3h", both),
        ("age > 3h", none),
        ("size > 1M and size <= 2MiB", both),
        ("attempts >= 2", first),
        ("attempts = 0", second),
        ("due < 5m", second),
        ("due > 5m and due <= 10m", first),
        ("held", second),
        ("held and reason ~ odd", second),
        ("reason = x or not held", first),
        ("suspended", none),
        ("tag = bulk", both),
        ("tag != bulk", none),
        ("tag ~ \"odd one\"", both),
        ("tenant = acme", both),
        ("tenant = other", none),
        ("campaign = acme", none),
        ("annotation.Order.id = 17", both),
        ("annotation.billing.Order.id = 17", both),
        ("annotation.mta.Order.id = 17", none),
        ("priority > 3", both),
        ("last-reply ~ greylist", first),
        ("last-code = 450 and status = 4.7.1", first),
        ("last-code != 450", second),
        ("next-hop = smtp://mx.test:26", first),
        ("route = mx:sub.example.com", second),
        ("listener = smtp", none),
        ("client = 192.0.2.0/24", none),
        ("domain = example.net or domain = sub.example.com and not held", first),
        ("(domain = example.net or domain = sub.example.com) and held", second),
    ];
    for (text, wanted) in cases {
        assert_eq!(selected(text, &record), *wanted, "{text}");
    }
}

#[test]
fn mt_priority_is_asked_for_where_no_plugin_says_otherwise() {
    let mut record = record(1, &["a@x.test"]);
    assert_eq!(record.priority(), 0);
    record.sender_params = vec![Param { keyword: "MT-PRIORITY".into(), value: Some("-3".into()) }];
    assert_eq!(record.priority(), -3);
    record.annotations.set("p", "1", "priority", "99").unwrap();
    assert_eq!(record.priority(), 9, "bounded");
    record.annotations.set("p", "1", "priority", "rubbish").unwrap();
    assert_eq!(record.priority(), -3);
}

#[test]
fn mistakes_are_told_with_their_column() {
    let deep = format!("{}held{}", "(".repeat(40), ")".repeat(40));
    let cases = [
        ("domian = x", "at column 1: there is no field \"domian\": did you mean domain?"),
        ("held and", "at column 9: expected a condition, such as domain = example.org"),
        ("held or nott held", "at column 9: there is no field \"nott\": did you mean not?"),
        ("domain", "at column 7: expected an operator after domain: = != ~ =~ < > <= >="),
        ("domain =", "at column 9: expected a value for domain"),
        ("domain = (", "at column 10: expected a value for domain; in quotes if it has blanks"),
        ("domain > x", "at column 8: domain is a text: it takes = != ~ =~"),
        ("age ~ 2h", "at column 5: age is a quantity: it takes = != < > <= >="),
        ("age > 2", "at column 7: \"2\" is no duration: write a number and a unit (s, m, h, d, w), such as 2h"),
        ("size > big", "at column 8: \"big\" is no size: write a number and a unit (B, K, M, G), such as 10M"),
        ("attempts > x", "at column 12: \"x\" is no number"),
        (
            "é and held",
            "at column 1: there is no field \"é\": there are id, sender, sender-domain, recipient, domain, \
            age, size, attempts, due, reason, tag, listener, client, identity, priority, last-reply, last-code, status, \
            next-hop, route, hop, suspension, tenant, campaign, held, suspended, not, all, annotation.KEY",
        ),
        ("tag = \"é\" held", "at column 11: expected \"and\", \"or\" or the end"),
        ("(held", "at column 1: the parenthesis that begins here is not closed"),
        ("held)", "at column 5: nothing is open that this could close"),
        ("tag = \"x", "at column 7: the quote that begins here is not closed"),
        ("!held", "at column 1: \"!\" alone is no operator: write != or not"),
        ("sender =~ \"(\"", "at column 11: no pattern: unclosed group"),
        ("client = 1/2/3", "at column 10: \"1/2/3\" is no network"),
        ("annotation. = x", "at column 1: there is no field \"annotation.\": write annotation.KEY"),
        (&deep, "at column 34: more than 32 levels inside each other"),
    ];
    for (text, wanted) in cases {
        assert_eq!(Filter::parse(text).unwrap_err().to_string(), wanted, "{text}");
    }
    let many = vec!["held"; 1501].join(" or ");
    assert_eq!(Filter::parse(&many).unwrap_err().problem, "more than 1500 conditions");
    let patterns = vec!["sender =~ x"; 17].join(" or ");
    assert_eq!(Filter::parse(&patterns).unwrap_err().problem, "more than 16 patterns");
    assert!(Filter::parse("sender =~ \"(a{1000}){1000}\"").unwrap_err().problem.contains("too large"));
    assert!(Filter::parse(&"x".repeat(50_000)).unwrap_err().problem.contains("octets"));
}

#[test]
fn what_can_only_be_certain_messages_is_known() {
    let ids = |text: &str| Filter::parse(text).unwrap().only_ids().map(|ids| ids.len());
    assert_eq!(ids("id = 0000000000001"), Some(1));
    assert_eq!(ids("(id = 0000000000001 or id = 0000000000002 or id = 0000000000001) and held"), Some(2));
    assert_eq!(ids("id = 0000000000001 or held"), None);
    assert_eq!(ids("not id = 0000000000001"), None);
    assert_eq!(ids("id ~ 0000"), None);
    let thousand = Filter::ids((1..=1000).map(QueueId::from_u64));
    assert_eq!(Filter::parse(&thousand.to_string()).unwrap(), thousand);
    assert_eq!(selected(&Filter::ids([]).to_string(), &sample()), [] as [u32; 0]);
}

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["[a-zA-Z0-9@._:/+-]{0,12}", "\\PC{0,12}", "(and|or|not|held|<>|\"|\\\\|'){1,3}"].prop_map(Arc::from)
}

fn test() -> impl Strategy<Value = Expr> {
    let texts = [Field::Sender, Field::Recipient, Field::Reason, Field::Tag, Field::LastReply, Field::NextHop];
    let text_test = (proptest::sample::select(texts.to_vec()), prop_oneof![Just(Op::Is), Just(Op::Contains)], text())
        .prop_filter_map("the null reverse-path has a form of its own", |(field, op, value)| {
            (field != Field::Sender || &*value != "<>").then_some(Test { field, op, value: Value::Text(value) })
        });
    let annotation = ("[a-zA-Z][a-zA-Z0-9_.-]{0,10}", text()).prop_map(|(key, value)| Test {
        field: Field::Annotation(key.into()),
        op: Op::IsNot,
        value: Value::Text(value),
    });
    let pattern = "[a-z.*+\\\\d\"']{1,8}".prop_filter_map("a pattern", |text| {
        let pattern = regex::Regex::new(&text).ok()?;
        Some(Test { field: Field::Sender, op: Op::Matches, value: Value::Pattern(text.into(), pattern) })
    });
    let order = proptest::sample::select(vec![Op::Is, Op::IsNot, Op::Less, Op::More, Op::AtMost, Op::AtLeast]);
    let quantity = (order, 0..100_000_000_u64, 0..4_u8).prop_map(|(op, number, which)| match which {
        0 => Test { field: Field::Age, op, value: Value::Duration(number) },
        1 => Test { field: Field::Size, op, value: Value::Size(number) },
        2 => Test { field: Field::Priority, op, value: Value::Number(-(number as i64)) },
        _ => Test { field: Field::Id, op: Op::IsNot, value: Value::Id(QueueId::from_u64(number)) },
    });
    prop_oneof![text_test, annotation, pattern, quantity].prop_map(Expr::Test)
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        1 => Just(Expr::Everything),
        1 => Just(Expr::Is(State::Held)),
        1 => Just(Expr::Is(State::Suspended)),
        8 => test(),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Expr::Not(Box::new(inner))),
            proptest::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            proptest::collection::vec(inner, 2..4).prop_map(Expr::Or),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_as_the_same(root in expr()) {
        let filter = Filter { root };
        let text = filter.to_string();
        let patterns = text.matches("=~").count();
        prop_assume!(patterns <= 16);
        prop_assert_eq!(Filter::parse(&text).map_err(|e| format!("{text}: {e}")), Ok(filter));
    }

    #[test]
    fn rubbish_is_refused_and_never_a_panic(text in "\\PC{0,60}") {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn near_filters_never_panic_and_columns_are_within(words in proptest::collection::vec(
        prop_oneof!["domain", "age", "sender", "annotation.é", "and", "or", "not", "held", "\\(", "\\)", "=", "=~", "!=", "<", "<>",
            "2h", "\"a b\"", "\"", "x", "10M", "id"], 0..14)) {
        let text = words.join(" ");
        match Filter::parse(&text) {
            Ok(filter) => { filter.select(Sight { record: &sample(), now: now(), ways: &by_mx }); }
            Err(error) => prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1),
        }
    }

    #[test]
    fn durations_read_back(secs in 0..10_000_000_000_u64) {
        prop_assert_eq!(duration(&show_duration(secs)), Some(secs));
    }
}

#[test]
fn hops_are_written_as_in_the_configuration() {
    let smtp = |host: &str| NextHop::Smtp { host: host.into(), port: 25 };
    let lmtp = NextHop::Lmtp { host: "unix:/run/lmtp".into(), port: 0 };
    let hops = [NextHop::Mx("x.test".into()), smtp("a.test"), smtp("::1"), lmtp, NextHop::Named("vip".into())];
    let texts = hops.iter().map(hop_text).collect::<Vec<_>>();
    assert_eq!(texts, ["mx:x.test", "smtp://a.test:25", "smtp://[::1]:25", "lmtp+unix:/run/lmtp", "destination:vip"]);
}
