//! Servers whose clock is wrong, or jumps: redis ends keys and syncs its file by the time of day.

use std::time::Instant;

use kv_suite::Command;
use robust_test::fault::{ClockSkew, PowerLoss};

use super::power::writer;
use super::*;

const HOUR: Duration = secs(3600);

/// What is left of a key's time to live, in milliseconds; negative of one that has none or is not there.
async fn left(client: &Client<Kv>, key: &str) -> Result<i64> {
    Ok(client.integer(Command::new("PTTL").arg(key)).await?)
}

async fn set_to_end(client: &Client<Kv>, key: &str, after: Duration) -> Result {
    let milliseconds = after.as_millis().to_string();
    let set = Command::new("SET").arg(key).arg("x").arg("PX").arg(milliseconds);
    client.call(set).await?.or_refused()?;
    Ok(())
}

#[robust_test(requires(server = "persistence"), timeout = "60s")]
async fn keys_end_by_the_clock_of_the_server(server: Server<Kv>, client: Client<Kv>) -> Result {
    set_to_end(&client, "in two hours", 2 * HOUR).await?;
    set_to_end(&client, "in half an hour", HOUR / 2).await?;
    client.set("never", b"x").await?;
    let skew = ClockSkew::ahead(HOUR).inject(&server).await?;
    assert_eq!(client.get("in half an hour").await?, None);
    let an_hour = (0..=HOUR.as_millis() as i64).contains(&left(&client, "in two hours").await?);
    assert!(an_hour, "an hour of its two is left");
    set_to_end(&client, "an hour later", HOUR / 2).await?;
    skew.heal().await?;
    // What ended stays so, and what has begun with the wrong time goes on with it.
    assert_eq!(client.get("in half an hour").await?, None);
    assert!(left(&client, "an hour later").await? > HOUR.as_millis() as i64);

    set_to_end(&client, "soon", SOON).await?;
    let skew = ClockSkew::behind(HOUR).inject(&server).await?;
    assert!(left(&client, "soon").await? > (HOUR / 2).as_millis() as i64);
    skew.heal().await?;
    eventually("it has ended", 3 * SOON, || async {
        Ok::<_, ClientError>(client.get("soon").await?.is_none().then_some(()))
    })
    .await?;
    assert_eq!(client.get("never").await?.as_deref(), Some(&b"x"[..]));
    Ok(())
}

#[robust_test(
    requires(server = "persistence"),
    pin(persistence = "rdb"),
    timeout = "90s",
    known_failure(
        set = "behind",
        because = "with `appendfsync everysec` redis syncs when the time of day is later than at the last sync: while the \
                   clock is set back it syncs nothing (aof.c, flushAppendOnlyFile)",
        expected = " are there, and "
    )
)]
async fn a_file_that_is_synced_every_second_is_so_though_the_clock_was_set(
    #[disk] server: Server<Kv>,
    client: Client<Kv>,
    #[values(ahead = ClockSkew::ahead(HOUR), behind = ClockSkew::behind(HOUR))] set: ClockSkew,
) -> Result {
    let mut writer = writer(&server, &client, Persistence::AofEverySecond).await?;
    writer.write_for(millis(1500)).await?;
    let skew = set.inject(&server).await?;
    writer.write_for(millis(4500)).await?;
    let dark = Instant::now();
    PowerLoss { is_torn: false }.inject(&server).await?.heal().await?;
    writer.there_since(dark).await?;
    skew.heal().await?;
    Ok(())
}

#[robust_test(requires(server = "persistence"), pin(persistence = "rdb"), timeout = "60s")]
async fn jumps_of_the_clock_cost_no_acknowledged_write(
    #[disk] server: Server<Kv>,
    client: Client<Kv>,
) -> Result {
    let mut writer = writer(&server, &client, Persistence::AofAlways).await?;
    let skew = ClockSkew::ahead(HOUR).strobe(millis(20)).inject(&server).await?;
    for _ in 0..3 {
        writer.write_for(millis(300)).await?;
        PowerLoss { is_torn: true }.inject(&server).await?.heal().await?;
        assert_eq!(writer.there().await?, writer.count());
    }
    skew.heal().await?;
    writer.write_for(millis(100)).await?;
    Ok(())
}
