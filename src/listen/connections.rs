//! How many connections there are, in all and by client address. A permit is a place; dropping it gives it back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Limits;

/// The count. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    in_all: usize,
    by_client: HashMap<IpAddr, usize>,
    by_listener: HashMap<Arc<str>, usize>,
}

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Permit {
    connections: Connections,
    /// None where connections of one client are not counted.
    client: Option<IpAddr>,
    listener: Arc<str>,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// `limits.connections`.
    InAll,
    /// `limits.per-client`.
    ByClient,
}

impl Crowded {
    /// What the client is told: 421 says to come back (RFC 5321 section 3.8).
    pub(crate) fn words(self) -> &'static [u8] {
        match self {
            Self::InAll => b"421 4.3.2 Too many connections, try again later\r\n",
            Self::ByClient => b"421 4.7.0 Too many connections from your address\r\n",
        }
    }
}

impl Connections {
    /// A place, unless a limit is reached. None: a client without an IP address, or one that is not known yet.
    pub(crate) fn admit(
        &self,
        client: Option<IpAddr>,
        listener: &Arc<str>,
        limits: &Limits,
    ) -> Result<Permit, Crowded> {
        let mut counted = self.0.lock();
        if counted.in_all >= limits.connections {
            return Err(Crowded::InAll);
        }
        if let Some(client) = client {
            counted.enter(client, limits)?;
        }
        counted.in_all += 1;
        *counted.by_listener.entry(listener.clone()).or_default() += 1;
        Ok(Permit { connections: self.clone(), client, listener: listener.clone() })
    }

    /// Connections of one listener now.
    pub(crate) fn of(&self, listener: &str) -> usize {
        self.0.lock().by_listener.get(listener).copied().unwrap_or_default()
    }

    /// Connections now.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().in_all
    }
}

impl Counted {
    fn enter(&mut self, client: IpAddr, limits: &Limits) -> Result<(), Crowded> {
        let of_client = self.by_client.entry(client).or_default();
        if *of_client >= limits.per_client {
            return Err(Crowded::ByClient);
        }
        *of_client += 1;
        Ok(())
    }
}

impl Permit {
    /// The client of a connection that was admitted before it was known: it is counted as that client's from here on.
    pub(crate) fn belongs_to(&mut self, client: IpAddr, limits: &Limits) -> Result<(), Crowded> {
        self.connections.0.lock().enter(client, limits)?;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counted = self.connections.0.lock();
        counted.in_all = counted.in_all.saturating_sub(1);
        if let Some(of_listener) = counted.by_listener.get_mut(&self.listener) {
            *of_listener = of_listener.saturating_sub(1);
        }
        if let Some(client) = self.client
            && let Some(of_client) = counted.by_client.get_mut(&client)
        {
            *of_client = of_client.saturating_sub(1);
            if *of_client == 0 {
                counted.by_client.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let limits = Limits { connections: 3, per_client: 2, ..Limits::default() };
        let smtp: Arc<str> = "smtp".into();
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let all = Connections::default();
        let first = all.admit(Some(a), &smtp, &limits).unwrap();
        let second = all.admit(Some(a), &smtp, &limits).unwrap();
        assert_eq!(all.admit(Some(a), &smtp, &limits).err(), Some(Crowded::ByClient));
        let mut third = all.admit(None, &smtp, &limits).unwrap();
        assert_eq!(all.admit(Some(b), &smtp, &limits).err(), Some(Crowded::InAll));
        assert_eq!(third.belongs_to(a, &limits), Err(Crowded::ByClient));
        assert_eq!(third.belongs_to(b, &limits), Ok(()));
        assert_eq!(all.0.lock().by_client.get(&b), Some(&1));
        drop((first, second, third));
        assert_eq!((all.len(), all.of("smtp")), (0, 0));
        assert!(all.0.lock().by_client.is_empty(), "addresses of the past cost nothing");
    }
}
