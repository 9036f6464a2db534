//! The nouns of mail: addresses, envelopes, recipients, header sections, trace fields, queue ids.
//!
//! Pure data and text rules. May touch nothing else in the crate but [`crate::time`]; does no I/O, reads no clock.

mod address;
mod annotations;
mod authors;
mod envelope;
mod fold;
mod header;
mod queue_id;
mod requests;
mod results;
mod splitter;
mod tls_required;
mod trace;

#[doc(hidden)]
pub use address::fuzz_address;
pub use address::{AddressError, Domain, Mailbox, ReversePath};
pub use annotations::{Annotation, Annotations, NoteError};
pub use authors::Authors;
#[doc(hidden)]
pub use authors::fuzz_authors;
pub use envelope::{BodyKind, Param, Recipient};
pub use header::{Field, Header, HeaderEdit, HeaderError};
pub use queue_id::{QueueId, QueueIds, queue_id_text};
pub use requests::{DeliverBy, Hold, Requests, parse_priority};
pub use results::{AUTHENTICATION_RESULTS, results_of};
pub use splitter::HeaderSplitter;
#[doc(hidden)]
pub use splitter::fuzz_header;
pub use tls_required::{waiver, waives_tls};
pub use trace::{Dialogue, Received, hop_count, with_protocol};
