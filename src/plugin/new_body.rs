//! A body that a plugin writes: it goes into the spool, and is read on its way for what mail must not hold.
//!
//! Must never mend anything: the contract says that line ends are not touched.

use crate::smtp::text::Text;
use crate::store::{Content, Draft, StoreError};

/// A body on its way.
#[derive(Debug)]
pub(crate) struct NewBody {
    draft: Draft,
    /// All of it: lines may begin in one write and end in another.
    text: Text,
    eight_bit: bool,
}

impl NewBody {
    pub(crate) fn new(draft: Draft) -> Self {
        Self { draft, text: Text::default(), eight_bit: false }
    }

    /// Octets so far.
    pub(crate) fn len(&self) -> u64 {
        self.draft.len()
    }

    /// What the plugin wrote itself, not what it copied, has octets beyond ASCII.
    pub(crate) fn is_eight_bit(&self) -> bool {
        self.eight_bit
    }

    pub(crate) async fn append(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        self.text.run(octets, false);
        self.eight_bit |= !octets.is_ascii();
        self.draft.append(octets).await
    }

    /// Adds a part of the body as it was.
    pub(crate) async fn copy(&mut self, from: &Content, offset: u64, count: u64) -> Result<(), StoreError> {
        let text = &mut self.text;
        let see = |part: &[u8]| {
            text.run(part, false);
        };
        self.draft.copy(from, offset, count, see).await
    }

    /// Why it is no body of a text. Others read other lines, and other messages, out of bare line ends than the relay does
    /// (RFC 5321 section 2.3.8); NUL is in none (RFC 5322 section 3.5).
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.text.saw_bare() || self.text.ends_in_cr() {
            return Some("the body has a bare CR or LF: in mail a line ends with CRLF");
        }
        self.text.saw_nul().then_some("the body has a NUL")
    }

    pub(crate) async fn finish(self) -> Result<Content, StoreError> {
        self.draft.finish().await
    }
}
