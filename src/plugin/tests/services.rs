//! Host services through real components.

use super::*;
use crate::plugin::testing::misbehaving;
use crate::plugin::{Grants, KvQuota, PluginConfig};

async fn refused(set: &crate::plugin::PluginSet) -> bool {
    matches!(set.rcpt(at_rcpt()).await.1, SessionVerdict::Reject(_))
}

#[tokio::test]
async fn kv_needs_its_grant_and_counts_over_generations() {
    let count = misbehaving("count");
    let ungranted = Fixture::new().with("count", &count).build().await;
    assert!(refused(&ungranted).await, "denied");

    let kv = Some(KvQuota { bytes: 1000, keys: 10 });
    let fixture = Fixture::new().with_config("count", &count, PluginConfig { grants: Grants { kv, ..Grants::default() }, ..PluginConfig::default() });
    let first = fixture.build().await;
    assert!(!refused(&first).await && !refused(&first).await);
    let second = fixture.build().await;
    assert!(refused(&second).await, "the third");
    let later = fixture.services.clock.now().plus(std::time::Duration::from_secs(3600));
    second.sweep(later);
    assert!(!refused(&second).await, "its ttl was 60 s");
}
