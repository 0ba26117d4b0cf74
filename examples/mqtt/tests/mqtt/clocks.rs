//! Brokers whose clock is wrong, or jumps: connections go by the time that passes, and messages stay.

use robust_test::fault::ClockSkew;

use super::*;

const HOUR: Duration = secs(3600);

#[robust_test(
    requires(broker = "process"),
    exclude(broker = "nats-server", qos = "2", because = "nats-server 2.9 has no QoS 2"),
    timeout = "60s"
)]
async fn jumps_cost_no_connection_and_no_message(
    broker: Server<Mqtt>,
    publisher: Client<Mqtt>,
    subscriber: Client<Mqtt>,
    #[values(1, 2)] qos: u8,
    #[values(
        ahead = ClockSkew::ahead(HOUR),
        behind = ClockSkew::behind(HOUR),
        jumping = ClockSkew::behind(HOUR).strobe(millis(20))
    )]
    skew: ClockSkew,
) -> Result {
    const MESSAGES: usize = 20;
    let qos = Qos::try_from(qos)?;
    subscriber.subscribe("news", qos).await?;
    publisher.publish("news", b"before", qos).await?;
    expect(&*subscriber, "before").await?;
    let skew = skew.inject(&broker).await?;
    for number in 0..MESSAGES {
        let text = number.to_string();
        publisher.publish("news", text.as_bytes(), qos).await?;
        expect(&*subscriber, text).await?;
    }
    skew.until_proved(SOON).await?;
    skew.heal().await?;
    publisher.publish("news", b"after", qos).await?;
    expect(&*subscriber, "after").await?;
    Ok(())
}

#[robust_test(
    requires(broker = "process"),
    requires(broker = "persistence"),
    timeout = "60s"
)]
async fn what_was_kept_is_there_after_a_restart_with_another_time(
    broker: Server<Mqtt>,
    publisher: Client<Mqtt>,
    absent: Client<Mqtt>,
    #[values(ahead = ClockSkew::ahead(HOUR), behind = ClockSkew::behind(HOUR))] skew: ClockSkew,
) -> Result {
    restarts::fill(&*publisher, &*absent).await?;
    let skew = skew.inject(&broker).await?;
    broker.restart().await?;
    restarts::check(&*publisher, &*absent).await?;
    skew.heal().await?;
    broker.restart().await?;
    publisher.connect(publisher.options()).await?;
    publisher.publish("weather/now", b"sun", Qos::AtLeastOnce).await?;
    Ok(())
}
