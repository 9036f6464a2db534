//! The pure rooms of the relay, compiled on their own: without the runtime, the store and the component engine a target is
//! built in seconds. The entries stand beside the code they attack (`fuzz_*`); a target only calls one.

#[path = "../../src/hooks/mod.rs"]
pub mod hooks;
#[path = "../../src/mail/mod.rs"]
pub mod mail;
#[expect(dead_code, reason = "some of its errors are made by who reads from the socket")]
#[path = "../../src/listen/proxy.rs"]
pub mod proxy;
#[path = "../../src/session/mod.rs"]
pub mod session;
#[path = "../../src/smtp/mod.rs"]
pub mod smtp;
#[path = "../../src/time.rs"]
pub mod time;

/// A whole session, any octets.
pub mod drive;

/// What the pure rooms know of the store: a handle of content that they hand on.
pub mod store {
    use bytes::Bytes;

    /// In memory only.
    #[derive(Clone, Debug)]
    pub enum Content {
        /// All there is.
        Memory(Bytes),
    }

    impl Default for Content {
        fn default() -> Self {
            Self::Memory(Bytes::new())
        }
    }

    impl Content {
        /// Octets.
        pub fn len(&self) -> u64 {
            let Self::Memory(octets) = self;
            octets.len() as u64
        }
    }
}
