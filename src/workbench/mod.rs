//! The workbench of plugin authors: a new project, a component built from it, and what a relay would say of it.
//!
//! May import `hooks` (their names) and `suggest`; reads and writes the project's folder, and runs compilers in it with
//! their output on standard error. Must never touch a running relay, its configuration or its files, and never print:
//! the command line does.

mod build;
mod component;
mod contract;
mod error;
mod generate;
mod language;
mod new;
mod project;
mod proposal;
mod template;
mod templates;
mod tools;

pub use build::{Built, build};
pub use error::WorkbenchError;
pub use language::Language;
pub use new::{Created, Order, create};
pub use project::{Project, Workpiece, component_of, workpiece};
pub use proposal::{Proposal, propose};
pub use tools::Toolbox;
