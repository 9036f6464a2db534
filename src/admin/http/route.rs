//! One route: what it is called, who may use it, what it takes and gives, and which request it makes.

use http::Method;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{Array, Object, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoParams, ToSchema};

use super::input::Input;
use super::problem::Problem;
use crate::admin::{Request, Role};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Open,
    /// Role read, or everybody, as it is configured.
    Metrics,
    /// Whoever is known, whatever their role.
    Known,
    /// Whoever has this role.
    Needs(Role),
}

/// What a route does.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// Makes a request of the relay.
    Ask(fn(&Input) -> Result<Request, Problem>),
    /// Something of its own.
    Own(Own),
    /// Takes messages of another queue, from a body of any length.
    Import,
}

/// What is no request of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Health,
    Ready,
    Metrics,
    Document,
    LogIn,
    WhoAmI,
    LogOut,
    Content,
    Export,
    Rates,
    Events,
    Audit,
    Inject,
}

/// What is answered, besides problems.
#[derive(Clone)]
pub(super) enum Gives {
    /// 200 with JSON.
    Json(RefOr<Schema>),
    /// 200 with this media type.
    Text(&'static str),
    /// 204.
    Nothing,
    /// 202 with JSON.
    Accepted(RefOr<Schema>),
}

/// A body that is taken: its media types, each with its schema.
pub(super) type Bodies = Vec<(&'static str, RefOr<Schema>)>;

/// One route.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// The operation's id: also what the audit calls it.
    pub(super) id: &'static str,
    pub(super) about: &'static str,
    pub(super) access: Access,
    pub(super) act: Act,
    pub(super) query: Vec<Parameter>,
    pub(super) bodies: Bodies,
    pub(super) gives: Gives,
    pub(super) schemas: Vec<(String, RefOr<Schema>)>,
}

impl Route {
    pub(super) fn new(
        method: Method,
        path: &'static str,
        (id, about): (&'static str, &'static str),
        access: Access,
        act: Act,
    ) -> Self {
        let (query, bodies, schemas) = (Vec::new(), Vec::new(), Vec::new());
        Self { method, path, id, about, access, act, query, bodies, gives: Gives::Nothing, schemas }
    }

    /// Takes these in the query.
    pub(super) fn query<Q: IntoParams>(mut self) -> Self {
        self.query = Q::into_params(|| Some(ParameterIn::Query));
        self
    }

    /// Takes this as JSON.
    pub(super) fn takes<T: ToSchema>(mut self) -> Self {
        let schema = self.named::<T>();
        self.bodies.push(("application/json", schema));
        self
    }

    /// Takes octets of this media type.
    pub(super) fn takes_octets(mut self, kind: &'static str) -> Self {
        self.bodies.push((kind, plain(Type::String).into()));
        self
    }

    /// Answers this.
    pub(super) fn gives<T: ToSchema>(mut self) -> Self {
        self.gives = Gives::Json(self.named::<T>());
        self
    }

    /// Answers this, for what will be done.
    pub(super) fn accepts<T: ToSchema>(mut self) -> Self {
        self.gives = Gives::Accepted(self.named::<T>());
        self
    }

    /// Answers text of this media type.
    pub(super) fn tells(mut self, kind: &'static str) -> Self {
        self.gives = Gives::Text(kind);
        self
    }

    /// Answers an object.
    pub(super) fn gives_object(mut self) -> Self {
        self.gives = Gives::Json(plain(Type::Object).into());
        self
    }

    /// Answers a list of these, and what stands beside it.
    pub(super) fn lists<T: ToSchema>(mut self, beside: &[(&str, RefOr<Schema>)]) -> Self {
        let item = self.named::<T>();
        self.gives = Gives::Json(list(item, beside));
        self
    }

    /// Answers a list of objects, and what stands beside it.
    pub(super) fn lists_objects(mut self, beside: &[(&str, RefOr<Schema>)]) -> Self {
        self.gives = Gives::Json(list(plain(Type::Object).into(), beside));
        self
    }

    /// Makes the schema known, and refers to it.
    pub(super) fn named<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let name = T::name().into_owned();
        self.schemas.push((name.clone(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(name).into()
    }

    /// Names in the path.
    pub(super) fn parts(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// A value of this type.
pub(super) fn plain(of: Type) -> Object {
    Object::with_type(of)
}

/// A value of this type, or null.
pub(super) fn or_null(of: Type) -> RefOr<Schema> {
    let either = SchemaType::from_iter([of, Type::Null]);
    ObjectBuilder::new().schema_type(either).build().into()
}

fn list(item: RefOr<Schema>, beside: &[(&str, RefOr<Schema>)]) -> RefOr<Schema> {
    let mut object = ObjectBuilder::new().property("items", Array::new(item)).required("items");
    for (name, schema) in beside {
        object = object.property(*name, schema.clone()).required(*name);
    }
    object.build().into()
}
