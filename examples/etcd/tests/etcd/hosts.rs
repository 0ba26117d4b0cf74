//! Members on hosts of their own, with a network between them that loses, delays and damages packets, and with more than one
//! thing going wrong at a time.

use robust_test::fault::{FullDisk, PowerLoss};
use robust_test::hosts::{Checksum, Impairment};

use super::*;

/// What a bad network does to packets, all of it at once.
async fn spoil(db: &Cluster<Etcd>) -> Result<Vec<robust_test::fault::Injected>> {
    let mut faults = Vec::new();
    for impairment in [
        Impairment::loss(0.02),
        // Below the 100 ms between two heartbeats.
        Impairment::delay(millis(10)).jitter(millis(10)).reordering(),
        Impairment::duplicate(0.02),
        Impairment::corrupt(0.02, Checksum::Wrong),
    ] {
        faults.push(impairment.inject(db.net()).await?);
    }
    Ok(faults)
}

#[robust_test(timeout = "120s", weight = 4)]
async fn a_bad_network_costs_time_and_no_acknowledged_write(
    #[hosts] db: Cluster<Etcd>,
    client: Client<Etcd>,
) -> Result {
    db.until_settled(SETTLED).await?;
    let load = Load::begun(&db, &client).await?;
    let bad = spoil(&db).await?;
    for fault in &bad {
        fault.until_proved(SETTLED).await?;
    }
    put_at_last(&client, "key", "slowly").await?;
    for fault in bad {
        fault.heal().await?;
    }
    db.until_settled(SETTLED).await?;
    let ledger = load.end().await?;
    all_have(&db, &client, "key", "slowly").await?;
    is_kept_by_all(&db, &client, &ledger).await
}

enum Blow {
    Pause,
    PowerLoss,
    FullDisk,
}

/// One blow after another, with the majority there all the while: the leader's disk or processes, then the cable of the next
/// one.
#[robust_test(timeout = "120s", weight = 4)]
async fn two_leaders_in_a_row_cost_no_acknowledged_write(
    #[hosts]
    #[disk]
    db: Cluster<Etcd>,
    client: Client<Etcd>,
    #[values(pause = Blow::Pause, power = Blow::PowerLoss, full = Blow::FullDisk)] blow: Blow,
) -> Result {
    let first = db.until_settled(SETTLED).await?;
    let load = Load::begun(&db, &client).await?;
    match blow {
        Blow::Pause => {
            first.pause().await?;
            leader_among(&others(&db, &first)).await?;
            first.resume().await?;
        }
        Blow::PowerLoss => {
            let power = PowerLoss { is_torn: true }.inject(&first).await?;
            leader_among(&others(&db, &first)).await?;
            power.heal().await?;
        }
        Blow::FullDisk => {
            let ends = first.expect_exit();
            let full = FullDisk { spare_bytes: 0 }.inject(&first).await?;
            ends.wait().await?;
            leader_among(&others(&db, &first)).await?;
            full.heal().await?;
            first.start().await?;
        }
    }
    let second = db.until_settled(SETTLED).await?;
    let cut = Partition::Isolate(second.number()).inject(&db).await?;
    let third = leader_among(&others(&db, &second)).await?;
    put_at_last(&at(&client, &third).await?, "key", "meanwhile").await?;
    cut.heal().await?;
    db.until_settled(SETTLED).await?;
    let ledger = load.end().await?;
    all_have(&db, &client, "key", "meanwhile").await?;
    is_kept_by_all(&db, &client, &ledger).await
}
