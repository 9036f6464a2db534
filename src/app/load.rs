//! What comes in and who is kept out, for the admin socket.

use std::time::Duration;

use ipnet::IpNet;

use super::Inner;
use crate::admin::{BanStatus, LoadStatus, Peer};
use crate::listen::{BanInForce, ShedCounts};

/// Bans listed at most: an answer that people can read to its end, and a machine within a megabyte.
const LISTED: usize = 5000;

impl Inner {
    pub(super) fn load(&self) -> LoadStatus {
        let load = self.reception.load();
        let ShedCounts { in_all, by_client, by_network, too_fast, banned, store } = load.shed;
        let shed = [
            ("limits.connections", in_all),
            ("limits.per-client", by_client),
            ("limits.per-network", by_network),
            ("limits.connections-per-minute", too_fast),
            ("ban", banned),
            ("store", store),
        ];
        LoadStatus {
            connections: load.connections as u64,
            connections_most: self.reception.rules.load().config.limits.connections as u64,
            stressed: load.stressed,
            banned: load.banned as u64,
            shed: shed.map(|(why, count)| (why.to_owned(), count)).into(),
        }
    }

    pub(super) fn listed_bans(&self) -> (Vec<BanStatus>, u64) {
        let status = |ban: BanInForce| BanStatus {
            network: ban.network,
            left_secs: ban.left.as_secs().max(1),
            rule: if ban.by_operator { "operator" } else { "limits.ban.errors" }.to_owned(),
        };
        let bans = self.reception.bans(LISTED).into_iter().map(status).collect();
        (bans, self.reception.load().banned as u64)
    }

    pub(super) fn add_ban(&self, by: Peer, network: IpNet, secs: u64) -> Result<(), Vec<String>> {
        if secs == 0 {
            return Err(vec!["a ban lasts for at least a second".to_owned()]);
        }
        let network = network.trunc();
        self.reception.ban(network, Duration::from_secs(secs)).map_err(|why| vec![why])?;
        tracing::warn!(%network, secs, rule = "operator", %by, "banned");
        Ok(())
    }

    pub(super) fn remove_ban(&self, by: Peer, network: IpNet) -> Result<(), Vec<String>> {
        let network = network.trunc();
        if !self.reception.lift_ban(&network) {
            return Err(vec![format!(
                "{network} is not banned: `waypost ban list` shows what is, as it is written there"
            )]);
        }
        tracing::info!(%network, %by, "ban lifted");
        Ok(())
    }
}
