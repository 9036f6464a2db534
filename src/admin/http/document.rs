//! The OpenAPI document, made from the table of routes.

use http::Method;
use utoipa::ToSchema as _;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, Required};

use super::caller::COOKIE;
use super::problem::ProblemForm;
use super::route::{Access, Gives, Route, plain};
use super::table;

/// What may be answered in place of what is asked for, each with a problem.
const OPEN: [u16; 7] = [400, 405, 408, 413, 415, 429, 503];
/// Where somebody has to be known.
const CLOSED: [u16; 12] = [400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 503];

const ABOUT: &str = "What operators ask of a running relay. Over the Unix socket of the relay the caller is known and may do \
     everything; over a network a token is shown. Bodies are JSON of at most 64 KiB, but for messages and imports. Lists have `items`; `next`, where it is \
     not null, is the `after` of the next page. Errors are problems as RFC 9457 has them, with `reasons` in words.";

/// Of all routes.
pub(super) fn document() -> OpenApi {
    let problem = ResponseBuilder::new()
        .description("Why not.")
        .content(
            "application/problem+json",
            ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build(),
        )
        .build();
    let mut components = ComponentsBuilder::new()
        .response("Problem", problem)
        .schema("Problem", <ProblemForm as utoipa::PartialSchema>::schema())
        .security_scheme("token", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()))
        .security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(COOKIE))));
    let mut nested = Vec::new();
    ProblemForm::schemas(&mut nested);
    let mut paths = PathsBuilder::new();
    for route in table::routes() {
        paths = paths.path(route.path, PathItem::new(method(&route.method), operation(&route)));
        nested.extend(route.schemas);
    }
    for (name, schema) in nested {
        components = components.schema(name, schema);
    }
    let info = InfoBuilder::new().title("Waypost").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT)).build();
    OpenApiBuilder::new().info(info).paths(paths.build()).components(Some(components.build())).build()
}

/// As it is served.
pub(super) fn text() -> String {
    // It is made of texts and maps alone.
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

fn method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn operation(route: &Route) -> Operation {
    let tag = route.path.trim_start_matches("/api/v1/").trim_start_matches('/').split('/').next().unwrap_or_default();
    let mut operation = OperationBuilder::new().operation_id(Some(route.id)).summary(Some(route.about)).tag(tag);
    if let Some(role) = needs(route.access) {
        operation = operation.description(Some(role));
    }
    for name in route.parts() {
        let part = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
        operation = operation.parameter(part.schema(Some(plain(Type::String))).build());
    }
    for parameter in &route.query {
        operation = operation.parameter(parameter.clone());
    }
    if !route.bodies.is_empty() {
        let mut body = RequestBodyBuilder::new().required(Some(Required::True));
        for (kind, schema) in &route.bodies {
            body = body.content(*kind, ContentBuilder::new().schema(Some(schema.clone())).build());
        }
        operation = operation.request_body(Some(body.build()));
    }
    let given = |kind: &str, schema| {
        ResponseBuilder::new().description("Done.").content(kind, ContentBuilder::new().schema(Some(schema)).build())
    };
    let (status, response) = match &route.gives {
        Gives::Json(schema) => ("200", given("application/json", schema.clone())),
        Gives::Text(kind) => ("200", given(kind, plain(Type::String).into())),
        Gives::Accepted(schema) => ("202", given("application/json", schema.clone())),
        Gives::Nothing => ("204", ResponseBuilder::new().description("Done.")),
    };
    operation = operation.response(status, response.build());
    let problems: &[u16] = if route.access == Access::Open { &OPEN } else { &CLOSED };
    for status in problems {
        operation = operation.response(status.to_string(), Ref::from_response_name("Problem"));
    }
    if route.id == "log-in" {
        for status in ["401", "409"] {
            operation = operation.response(status, Ref::from_response_name("Problem"));
        }
    }
    if route.access != Access::Open {
        let none: [&str; 0] = [];
        operation = operation.security(SecurityRequirement::new("token", none));
        operation = operation.security(SecurityRequirement::new("session", none));
    }
    operation.build()
}

fn needs(access: Access) -> Option<String> {
    match access {
        Access::Open => Some("Takes no token.".to_owned()),
        Access::Metrics => Some("Takes the role read, unless `admin.http.metrics` is open.".to_owned()),
        Access::Known => None,
        Access::Needs(role) => Some(format!("Takes the role {}.", role.word())),
    }
}
