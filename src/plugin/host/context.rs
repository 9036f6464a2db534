//! `context`: the way to the facts of the running call.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::super::state::{Delivery, Message, Row, Session, State, Transaction, error};
use super::wit::context::Host;
use super::wit::types::{ErrorCode, HostError};
use crate::hooks::Hook;

impl State {
    fn fact<T: 'static>(&mut self, there: bool, missing: ErrorCode) -> Result<Result<Resource<T>, HostError>> {
        if !there {
            return Ok(Err(error(missing, "the running hook is not about one")));
        }
        Ok(self.rows.push(Row::Fact))
    }
}

impl Host for State {
    fn current_session(&mut self) -> Result<Result<Resource<Session>, HostError>> {
        // Route is about a session at arrival only: asked for from the queue there is none to be found.
        let missing = match self.hook {
            Some(Hook::Route | Hook::Message) => ErrorCode::NotFound,
            _ => ErrorCode::NotHere,
        };
        self.fact(self.subject.session.is_some(), missing)
    }

    fn current_transaction(&mut self) -> Result<Result<Resource<Transaction>, HostError>> {
        self.fact(self.subject.transaction.is_some(), ErrorCode::NotHere)
    }

    fn current_message(&mut self) -> Result<Result<Resource<Message>, HostError>> {
        self.fact(self.subject.message.is_some(), ErrorCode::NotHere)
    }

    fn current_delivery(&mut self) -> Result<Result<Resource<Delivery>, HostError>> {
        self.fact(self.subject.delivery.is_some(), ErrorCode::NotHere)
    }
}
