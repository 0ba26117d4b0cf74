//! How clients come back, and what becomes of what was under way.

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::*;

#[robust_test(timeout = "60s")]
async fn clients_come_back(
    server: Server<Kv>,
    client: Client<Kv>,
    #[values(refuse = Down::Refuse, close = Down::AcceptThenClose, black_hole = Down::BlackHole)] down: Down,
) -> Result {
    const DEADLINE: Duration = secs(1);
    let impatient = client.open(client.options().clone().deadline(DEADLINE)).await?;
    impatient.set("key", b"before").await?;
    server.kill().await?;
    server.while_down(down).await?;
    for _ in 0..3 {
        let began = Instant::now();
        let answer = impatient.get("key").await;
        assert!(answer.is_err(), "{answer:?}");
        let took = began.elapsed();
        assert!(took < DEADLINE + SOON, "it failed after {took:?}");
    }
    server.start().await?;
    eventually("it is back", SOON, || impatient.set("key", b"after")).await?;
    assert_eq!(
        client
            .open(client.options().clone())
            .await?
            .get("key")
            .await?
            .as_deref(),
        Some(&b"after"[..])
    );
    Ok(())
}

/// A subscriber that is cut off is told so, or hears what is published from some point on.
#[robust_test(timeout = "60s")]
async fn a_subscriber_goes_on_or_is_told(
    server: Server<Kv>,
    publisher: Client<Kv>,
    client: Client<Kv>,
) -> Result {
    let mut subscriber = client.subscriber().await?;
    subscriber.subscribe("news").await?;
    publisher.publish("news", b"before").await?;
    assert_eq!(subscriber.next(SOON).await?.payload, b"before");
    server.kill().await?;
    server.start().await?;
    until_answered(&*publisher).await?;
    let subscriber = Mutex::new(subscriber);
    eventually("it goes on or is told", SOON, || async {
        publisher.publish("news", b"after").await?;
        match subscriber.lock().await.next(millis(100)).await {
            Ok(message) => Ok(message.payload == b"after"),
            Err(ClientError::Lost { .. }) => Ok(true),
            Err(other) => Err(other),
        }
    })
    .await?;
    // And a new one hears in any case.
    let mut subscriber = client.subscriber().await?;
    subscriber.subscribe("weather").await?;
    publisher.publish("weather", b"rain").await?;
    assert_eq!(subscriber.next(SOON).await?.payload, b"rain");
    Ok(())
}

/// The length of `INCR count` as it is sent.
const INCR_BYTES: usize = b"*2\r\n$4\r\nINCR\r\n$5\r\ncount\r\n".len();

/// How many bytes wait to be read by who listens at this port.
fn received_unread(port: u16) -> Result<usize> {
    let mut bytes = 0;
    for line in std::fs::read_to_string("/proc/net/tcp")?.lines().skip(1) {
        // `sl local_address rem_address st tx_queue:rx_queue ..`
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields[1].ends_with(&format!(":{port:04X}")) {
            let (_, received) = fields[4].split_once(':').context("no queues")?;
            bytes += usize::from_str_radix(received, 16)?;
        }
    }
    Ok(bytes)
}

/// Commands that a frozen server has received and not read when it is killed.
#[robust_test(
    pin(persistence = "rdb"),
    requires(server = "counters"),
    pin(tls = "off"),
    timeout = "60s"
)]
async fn commands_in_flight_are_done_at_most_once(
    #[settings(KvSettings { persistence: Some(Persistence::AofAlways), ..KvSettings::default() })]
    server: Server<Kv>,
    client: Client<Kv>,
    #[values(1, 3)] attempts_max: u32,
) -> Result {
    const COMMANDS: usize = 20;
    let mut options = client.options().clone();
    options.attempts_max = attempts_max;
    let client = client.open(options).await?;
    client.incr("count").await?;
    server.pause().await?;
    let commands = join_all((0..COMMANDS).map(|_| client.incr("count")));
    let killing = async {
        eventually("they are with the server", SOON, || async {
            received_unread(server.endpoint("redis").port()).map(|bytes| bytes >= INCR_BYTES * COMMANDS)
        })
        .await?;
        server.kill().await?;
        server.start().await?;
        Ok::<_, Error>(())
    };
    let (answers, killed) = tokio::join!(commands, killing);
    killed?;
    let acknowledged = answers.iter().filter(|answer| answer.is_ok()).count();
    let value = eventually("it answers", SOON, || async {
        client.incr("count").await.map(Done)
    })
    .await?;
    let done = usize::try_from(value - 2)?;
    assert!(
        (acknowledged..=COMMANDS).contains(&done),
        "{done} of {COMMANDS} commands were done, {acknowledged} acknowledged"
    );
    // None was answered before the kill: who sends a command once has no acknowledgement.
    if attempts_max == 1 {
        assert_eq!(acknowledged, 0, "{answers:?}");
    }
    Ok(())
}

mod counters {
    use super::*;

    const INCREMENTS: i64 = 100;

    #[derive(Default)]
    struct Counted {
        acknowledged: i64,
        /// Done or not.
        unknown: i64,
    }

    /// What one of many clients does: increments until `INCREMENTS` are acknowledged.
    async fn count(client: &dyn KvClient) -> Result<Counted> {
        let began = Instant::now();
        let mut counted = Counted::default();
        while counted.acknowledged < INCREMENTS {
            match client.incr("count").await {
                Ok(_) => counted.acknowledged += 1,
                Err(ClientError::Refused { message }) => {
                    // It loads its data: nothing was done.
                    assert!(message.starts_with("LOADING"), "{message}");
                }
                Err(_) => {
                    counted.unknown += 1;
                    tokio::time::sleep(millis(10)).await;
                }
            }
            assert!(
                began.elapsed() < secs(40),
                "{} are acknowledged",
                counted.acknowledged
            );
        }
        Ok(counted)
    }

    #[robust_test(pin(persistence = "rdb"), requires(server = "counters"), timeout = "90s")]
    async fn of_16_clients_are_exact_across_a_restart(
        #[settings(KvSettings { persistence: Some(Persistence::AofAlways), ..KvSettings::default() })]
        server: Server<Kv>,
        #[count(16)] clients: Vec<Client<Kv>>,
        #[values(stop = false, kill = true)] kill: bool,
    ) -> Result {
        let counting = join_all(clients.iter().map(|client| count(&**client)));
        let restarting = async {
            let operator = server.admin().await?;
            eventually("some are counted", SOON, || async {
                let count = operator.text("GET", &["count"]).await?;
                Ok::<_, Error>(count.parse::<i64>()? > 100)
            })
            .await?;
            match kill {
                true => server.kill().await?,
                false => server.stop().await?,
            }
            server.start().await?;
            Ok::<_, Error>(())
        };
        let (counted, restarted) = tokio::join!(counting, restarting);
        restarted?;
        let (mut acknowledged, mut unknown) = (0, 0);
        for counted in counted {
            let counted = counted?;
            acknowledged += counted.acknowledged;
            unknown += counted.unknown;
        }
        let value = clients[0].incr("count").await? - 1;
        assert!(
            (acknowledged..=acknowledged + unknown).contains(&value),
            "it is {value} after {acknowledged} acknowledged and {unknown} unknown increments"
        );
        Ok(())
    }
}
