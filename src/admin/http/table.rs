//! Every route there is: path, who may use it, and which request it makes. The one place where roles are given out.

use http::Method;
use ipnet::IpNet;
use utoipa::openapi::schema::Type;

use super::compose::Parts;
use super::forms::{
    AuditQuery, BanBody, ChangeBody, CommandBody, CountQuery, DomainBody, DomainQuery, LimitQuery, LogInBody,
    NetworkQuery, QueueQuery, RecordingBody, ReloadBody, RuleBody, SessionForm, SummaryQuery, SuppressedQuery,
    SuppressionBody, SuppressionQuery,
};
use super::inject::{EnvelopeQuery, TakenForm};
use super::input::Input;
use super::problem::Problem;
use super::rates::RatesForm;
use super::route::{Access, Act, Own, Route, or_null, plain};
use super::transfer::ImportedForm;
use crate::admin::{
    BanStatus, ChangedForm, Counted, EventsForm, ExplainForm, FilterForm, HistoryForm, MessageView, RecordingStatus,
    ReloadReport, Request, Role, RuleStatus, SetStatus, Status, StsForm, Summary, SummaryRow, SuppressForm, WhyForm,
    audit, transfer,
};

const READ: Access = Access::Needs(Role::Read);
const OPERATE: Access = Access::Needs(Role::Operate);
const ADMIN: Access = Access::Needs(Role::Admin);

type Made = Result<Request, Problem>;

fn get(path: &'static str, named: (&'static str, &'static str), access: Access, make: fn(&Input) -> Made) -> Route {
    Route::new(Method::GET, path, named, access, Act::Ask(make))
}

fn post(path: &'static str, named: (&'static str, &'static str), access: Access, make: fn(&Input) -> Made) -> Route {
    Route::new(Method::POST, path, named, access, Act::Ask(make))
}

fn delete(path: &'static str, named: (&'static str, &'static str), access: Access, make: fn(&Input) -> Made) -> Route {
    Route::new(Method::DELETE, path, named, access, Act::Ask(make))
}

fn own(method: Method, path: &'static str, named: (&'static str, &'static str), access: Access, own: Own) -> Route {
    Route::new(method, path, named, access, Act::Own(own))
}

const INJECT: &str = "Hand a message in: raw with its envelope in the query, or its parts";

const EXPORT: &str = "Every message with its content and state, as octets that queue-import takes";
const IMPORT: &str = "Take messages of an export, with the ids they have; of any length; answered after the flush";

/// All of them.
pub(super) fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    routes.extend(relay());
    routes.extend(session());
    routes.extend(queue());
    routes.extend(queue_changes());
    routes.extend(mail());
    routes.extend(ways());
    routes.extend(bans());
    routes.extend(plugins());
    routes.extend(plugin_changes());
    routes
}

fn relay() -> Vec<Route> {
    vec![
        own(Method::GET, "/healthz", ("health", "Whether the process answers"), Access::Open, Own::Health)
            .tells("text/plain"),
        own(Method::GET, "/readyz", ("ready", "Whether mail is taken"), Access::Open, Own::Ready).tells("text/plain"),
        own(Method::GET, "/metrics", ("metrics", "Metrics for Prometheus"), Access::Metrics, Own::Metrics)
            .tells("text/plain"),
        own(Method::GET, "/api/v1/openapi.json", ("document", "This document"), Access::Open, Own::Document)
            .gives_object(),
        get("/api/v1/status", ("status", "How the relay stands"), READ, |_| Ok(Request::Status)).gives::<Status>(),
        post("/api/v1/reload", ("reload", "Read configuration and plugins anew"), ADMIN, |input| {
            let ReloadBody { allow_weaken } = input.body()?;
            Ok(Request::Reload { allow_weaken })
        })
        .takes::<ReloadBody>()
        .gives::<ReloadReport>(),
        own(Method::GET, "/api/v1/rates", ("rates", "How mail flowed in the last ten minutes"), READ, Own::Rates)
            .gives::<RatesForm>(),
        own(
            Method::GET,
            "/api/v1/events",
            ("events", "What happens, as it happens: server-sent events"),
            READ,
            Own::Events,
        )
        .query::<EventsForm>()
        .tells("text/event-stream"),
        own(Method::GET, "/api/v1/audit", ("audit", "The last changes made through this API"), READ, Own::Audit)
            .query::<AuditQuery>()
            .lists::<audit::Entry>(&[]),
    ]
}

fn session() -> Vec<Route> {
    const PATH: &str = "/api/v1/session";
    vec![
        own(Method::POST, PATH, ("log-in", "Begin a session of the console"), Access::Open, Own::LogIn)
            .takes::<LogInBody>()
            .gives::<SessionForm>(),
        own(Method::GET, PATH, ("who-am-i", "Who asks"), Access::Known, Own::WhoAmI).gives::<SessionForm>(),
        own(Method::DELETE, PATH, ("log-out", "End the session"), Access::Known, Own::LogOut),
    ]
}

fn filter(text: Option<String>) -> FilterForm {
    text.map_or_else(FilterForm::default, FilterForm::text)
}

fn queue() -> Vec<Route> {
    vec![
        get("/api/v1/queue", ("queue-list", "A page of the queue, the oldest first"), READ, |input| {
            let QueueQuery { filter: text, after, limit } = input.query()?;
            Ok(Request::QueueList { filter: filter(text), after, limit })
        })
        .query::<QueueQuery>()
        .lists::<Summary>(&[("next", or_null(Type::String))]),
        get("/api/v1/queue/count", ("queue-count", "How many messages there are: one step"), READ, |input| {
            let CountQuery { filter: text, after, upto } = input.query()?;
            Ok(Request::QueueCount { filter: filter(text), after, upto })
        })
        .query::<CountQuery>()
        .gives::<Counted>(),
        get("/api/v1/queue/summary", ("queue-summary", "Recipients by what and by age: one step"), READ, |input| {
            let SummaryQuery { filter: text, by, after, upto } = input.query()?;
            Ok(Request::QueueSummary { filter: filter(text), by, after, upto })
        })
        .query::<SummaryQuery>()
        .lists::<SummaryRow>(&[
            ("next", or_null(Type::String)),
            ("upto", or_null(Type::String)),
            ("looked", plain(Type::Integer).into()),
        ]),
        get("/api/v1/queue/messages/{id}", ("queue-show", "One message, without its content"), READ, |input| {
            Ok(Request::QueueShow { id: input.part("id") })
        })
        .gives::<MessageView>(),
        own(
            Method::GET,
            "/api/v1/queue/messages/{id}/content",
            ("queue-cat", "The content of a message"),
            OPERATE,
            Own::Content,
        )
        .tells("message/rfc822"),
        own(Method::GET, "/api/v1/queue/export", ("queue-export", EXPORT), ADMIN, Own::Export).tells(transfer::KIND),
        get("/api/v1/queue/rules", ("queue-rules", "The rules in force"), READ, |_| Ok(Request::QueueRules))
            .lists::<RuleStatus>(&[]),
    ]
}

fn queue_changes() -> Vec<Route> {
    vec![
        post("/api/v1/queue/command", ("queue-command", "Do something to messages: one step"), OPERATE, |input| {
            let CommandBody { filter, all, command, after, upto } = input.body()?;
            Ok(Request::QueueCommand { filter, all, command, after, upto })
        })
        .takes::<CommandBody>()
        .gives::<ChangedForm>(),
        post("/api/v1/queue/rules", ("queue-rule-add", "Put a rule in force"), OPERATE, |input| {
            let RuleBody { kind, filter, all, reason, for_secs } = input.body()?;
            Ok(Request::QueueRuleAdd { kind, filter, all, reason, for_secs })
        })
        .takes::<RuleBody>()
        .gives::<RuleStatus>(),
        Route::new(Method::POST, "/api/v1/queue/import", ("queue-import", IMPORT), ADMIN, Act::Import)
            .takes_octets(transfer::KIND)
            .gives::<ImportedForm>(),
        delete("/api/v1/queue/rules/{number}", ("queue-rule-lift", "Lift a rule"), OPERATE, |input| {
            let text = input.part("number");
            let number = text.parse().map_err(|_| Problem::input(format!("{text:?} is no number of a rule")))?;
            Ok(Request::QueueRuleLift { number })
        })
        .gives::<RuleStatus>(),
    ]
}

fn mail() -> Vec<Route> {
    const SUPPRESSIONS: &str = "/api/v1/suppressions";
    let more = || plain(Type::Boolean).into();
    vec![
        get(SUPPRESSIONS, ("suppressions", "Entries of the suppression list"), READ, |input| {
            let SuppressionQuery { contains, tenant, limit } = input.query()?;
            Ok(Request::Suppress { what: SuppressForm::List { contains, tenant, limit } })
        })
        .query::<SuppressionQuery>()
        .lists_objects(&[]),
        get("/api/v1/suppressions/check", ("suppression-check", "What keeps mail from an address"), READ, |input| {
            let SuppressedQuery { address, tenant } = input.query()?;
            Ok(Request::Suppress { what: SuppressForm::Check { address, tenant } })
        })
        .query::<SuppressedQuery>()
        .lists_objects(&[]),
        post(SUPPRESSIONS, ("suppression-add", "Send nothing there any more"), OPERATE, |input| {
            let SuppressionBody { address, tenant, reason, for_secs } = input.body()?;
            Ok(Request::Suppress { what: SuppressForm::Add { address, tenant, reason, for_secs } })
        })
        .takes::<SuppressionBody>()
        .lists_objects(&[]),
        delete(SUPPRESSIONS, ("suppression-remove", "Send there again"), OPERATE, |input| {
            let SuppressedQuery { address, tenant } = input.query()?;
            Ok(Request::Suppress { what: SuppressForm::Remove { address, tenant } })
        })
        .query::<SuppressedQuery>()
        .lists_objects(&[]),
        own(Method::POST, "/api/v1/messages", ("inject", INJECT), Access::Needs(Role::Inject), Own::Inject)
            .query::<EnvelopeQuery>()
            .takes_octets("message/rfc822")
            .takes::<Parts>()
            .accepts::<TakenForm>(),
        get("/api/v1/history", ("history", "Messages that left the queue, the newest first"), READ, |input| {
            Ok(Request::History { which: input.query()? })
        })
        .query::<HistoryForm>()
        .lists_objects(&[("more", more())]),
        get("/api/v1/why", ("why", "What plugins decided, the newest first"), READ, |input| {
            Ok(Request::Why { which: input.query()? })
        })
        .query::<WhyForm>()
        .lists_objects(&[("more", more())]),
    ]
}

fn ways() -> Vec<Route> {
    vec![
        get("/api/v1/explain", ("explain", "Why mail goes the way it goes"), READ, |input| {
            Ok(Request::Explain { about: input.query()? })
        })
        .query::<ExplainForm>()
        .gives_object(),
        get("/api/v1/sts", ("sts", "What is known of a domain's MTA-STS policy"), READ, |input| {
            let DomainQuery { domain } = input.query()?;
            Ok(Request::Sts { about: StsForm { domain, refresh: false } })
        })
        .query::<DomainQuery>()
        .gives_object(),
        post("/api/v1/sts", ("sts-refresh", "Fetch a domain's MTA-STS policy now"), OPERATE, |input| {
            let DomainBody { domain } = input.body()?;
            Ok(Request::Sts { about: StsForm { domain, refresh: true } })
        })
        .takes::<DomainBody>()
        .gives_object(),
        get("/api/v1/destinations", ("destinations", "The sites that mail goes to"), READ, |_| {
            Ok(Request::Destinations)
        })
        .lists_objects(&[]),
    ]
}

/// A network as people write it: an address is one of its own.
fn network(text: &str) -> Result<IpNet, Problem> {
    let read = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    read.map_err(|_| Problem::input(format!("{text:?} is no network: write 192.0.2.0/24, or an address")))
}

fn bans() -> Vec<Route> {
    const PATH: &str = "/api/v1/bans";
    vec![
        get(PATH, ("bans", "Who is not served, the longest first"), READ, |_| Ok(Request::BanList))
            .lists::<BanStatus>(&[("in_force", plain(Type::Integer).into())]),
        post(PATH, ("ban-add", "Do not serve a network for a while"), OPERATE, |input| {
            let BanBody { network: text, secs } = input.body()?;
            Ok(Request::BanAdd { network: network(&text)?, secs })
        })
        .takes::<BanBody>()
        .gives_object(),
        delete(PATH, ("ban-remove", "Serve it again"), OPERATE, |input| {
            let NetworkQuery { network: text } = input.query()?;
            Ok(Request::BanRemove { network: network(&text)? })
        })
        .query::<NetworkQuery>()
        .gives_object(),
    ]
}

fn plugins() -> Vec<Route> {
    let mut status = get("/api/v1/plugins", ("plugins", "Every plugin, and the set they belong to"), READ, |_| {
        Ok(Request::PluginStatus)
    });
    let set = status.named::<SetStatus>();
    vec![
        status.lists_objects(&[("set", set)]),
        get("/api/v1/plugins/metrics", ("plugin-metrics", "What plugins counted"), READ, |_| {
            Ok(Request::PluginMetrics { plugin: None })
        })
        .lists_objects(&[]),
        get("/api/v1/plugins/{name}/metrics", ("plugin-metrics-of", "What one plugin counted"), READ, |input| {
            Ok(Request::PluginMetrics { plugin: Some(input.part("name")) })
        })
        .lists_objects(&[]),
        get("/api/v1/plugins/{name}/trial", ("plugin-trial", "What a candidate's trial has come to"), READ, |input| {
            Ok(Request::PluginTrial { name: input.part("name") })
        })
        .lists_objects(&[("trial", plain(Type::Object).into())]),
        get("/api/v1/plugins/generations", ("plugin-generations", "Sets kept for a roll-back"), READ, |_| {
            Ok(Request::PluginGenerations)
        })
        .lists_objects(&[]),
        get(
            "/api/v1/plugins/audit",
            ("plugin-audit", "The last changes of plugins, the oldest first"),
            READ,
            |input| {
                let LimitQuery { limit } = input.query()?;
                Ok(Request::PluginAudit { limit })
            },
        )
        .query::<LimitQuery>()
        .lists_objects(&[]),
    ]
}

fn plugin_changes() -> Vec<Route> {
    const RECORDING: &str = "/api/v1/plugins/{name}/recording";
    vec![
        post("/api/v1/plugins/change", ("plugin-change", "Change the plugins that serve"), ADMIN, |input| {
            let ChangeBody { change, allow_weaken } = input.body()?;
            Ok(Request::PluginChange { change, allow_weaken })
        })
        .takes::<ChangeBody>()
        .gives::<ReloadReport>(),
        post(RECORDING, ("record", "Write calls of a plugin down"), OPERATE, |input| {
            let RecordingBody { calls, address } = input.body()?;
            Ok(Request::Record { plugin: input.part("name"), calls, address })
        })
        .takes::<RecordingBody>()
        .gives::<RecordingStatus>(),
        delete(RECORDING, ("stop-recording", "End a recording"), OPERATE, |input| {
            Ok(Request::StopRecording { plugin: input.part("name") })
        })
        .gives::<RecordingStatus>(),
    ]
}
