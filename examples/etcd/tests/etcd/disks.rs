//! Members whose disks fail: power that goes, disks that are full, syncs that take their time or fail. What was acknowledged
//! was synced by a majority before, so no single disk and no loss of power may take it back.

use std::num::NonZeroU32;

use robust_test::fault::{FailingSync, FullDisk, PowerLoss, SlowSync};

use super::*;

// Each has three members that start again, at their disks' pace: many at once would be a test of the machine's processors, in which
// nobody gets a quorum.

#[robust_test(timeout = "120s", weight = 4)]
async fn a_member_that_loses_its_power_costs_no_acknowledged_write(
    #[disk] db: Cluster<Etcd>,
    client: Client<Etcd>,
    #[values(leader = true, follower = false)] is_leader: bool,
    #[values(whole = false, torn = true)] is_torn: bool,
) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    let victim = if is_leader {
        leader
    } else {
        others(&db, &leader).remove(0)
    };
    let load = Load::begun(&db, &client).await?;
    let power = PowerLoss { is_torn }.inject(&victim).await?;
    leader_among(&others(&db, &victim)).await?;
    power.heal().await?;
    db.until_settled(SETTLED).await?;
    let ledger = load.end().await?;
    is_kept_by_all(&db, &client, &ledger).await
}

#[robust_test(timeout = "120s", weight = 4)]
async fn all_members_lose_their_power_at_once_and_no_acknowledged_write(
    #[disk] db: Cluster<Etcd>,
    client: Client<Etcd>,
    #[values(whole = false, torn = true)] is_torn: bool,
) -> Result {
    db.until_settled(SETTLED).await?;
    let load = Load::begun(&db, &client).await?;
    let power = PowerLoss { is_torn }.inject(&db.pick(Pick::All)?).await?;
    let ledger = load.end().await?;
    power.heal().await?;
    db.until_settled(SETTLED).await?;
    is_kept_by_all(&db, &client, &ledger).await
}

/// What a member does that cannot write: it ends, as etcd's documents have it, and the others go on.
enum Broken {
    Full,
    Failing,
}

#[robust_test(timeout = "120s", weight = 4)]
async fn a_member_that_cannot_write_ends_and_the_others_go_on(
    #[disk] db: Cluster<Etcd>,
    client: Client<Etcd>,
    #[values(full = Broken::Full, failing = Broken::Failing)] broken: Broken,
) -> Result {
    let victim = db.until_settled(SETTLED).await?;
    let load = Load::begun(&db, &client).await?;
    let ends = victim.expect_exit();
    let fault = match broken {
        Broken::Full => FullDisk { spare_bytes: 0 }.inject(&victim).await?,
        Broken::Failing => {
            FailingSync {
                one_in: NonZeroU32::MIN,
            }
            .inject(&victim)
            .await?
        }
    };
    fault.until_proved(SETTLED).await?;
    let exit = ends.wait().await?;
    assert_ne!(exit, Exit::Status(0));
    let new = leader_among(&others(&db, &victim)).await?;
    put_at_last(&at(&client, &new).await?, "key", "meanwhile").await?;
    fault.heal().await?;
    victim.start().await?;
    db.until_settled(SETTLED).await?;
    let ledger = load.end().await?;
    all_have(&db, &client, "key", "meanwhile").await?;
    is_kept_by_all(&db, &client, &ledger).await
}

#[robust_test(timeout = "120s", weight = 4)]
async fn slow_disks_cost_time_and_no_acknowledged_write(
    #[disk] db: Cluster<Etcd>,
    client: Client<Etcd>,
    faults: Faults,
) -> Result {
    db.until_settled(SETTLED).await?;
    let load = Load::begun(&db, &client).await?;
    faults.tolerate(3);
    let slow = SlowSync(millis(60)).inject(&db.pick(Pick::All)?).await?;
    slow.until_proved(SETTLED).await?;
    put_at_last(&client, "key", "slowly").await?;
    slow.heal().await?;
    db.until_settled(SETTLED).await?;
    let ledger = load.end().await?;
    all_have(&db, &client, "key", "slowly").await?;
    is_kept_by_all(&db, &client, &ledger).await
}
