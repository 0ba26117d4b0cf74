//! Peers that send servers and clients what they never should get, while others' commands go on.

use robust_test::hostile::{Attack, Corpus, Hostile, HostileServer, Watch};
use robust_test::network::{Recording, Stream};

use super::raw::Raw;
use super::*;

/// What a client says to its server and is told, of what every server here knows.
async fn recorded(client: &Client<Kv>) -> Result<Vec<Recording>> {
    let proxy = Client::proxy(client, "redis");
    proxy.record(1 << 20);
    // On connections of its own, so that their beginnings are recorded too.
    let talker = client.open(client.options().clone()).await?;
    talker.set("recorded", b"1").await?;
    talker.set("recorded-long", &[b'x'; 500]).await?;
    talker.get("recorded").await?;
    talker.get("recorded-long").await?;
    talker.get("no such key").await?;
    drop(talker);
    Ok(proxy.recordings())
}

/// A new connection is answered.
async fn answers(server: Server<Kv>) -> Result {
    let mut raw = Raw::connect(&server).await?;
    let told = raw.ask(&["get", "no such key"]).await?;
    assert_eq!(told, "$-1");
    Ok(())
}

#[robust_test(pin(tls = "off", user = "default"), timeout = "90s")]
async fn peers_harm_no_server_and_lose_nobodys_writes(
    case: Case,
    server: Server<Kv>,
    #[proxied] speaker: Client<Kv>,
    #[only("redis-rs")] worker: Client<Kv>,
) -> Result {
    // What it was told by them may be anything.
    server.retire();
    let recordings = recorded(&speaker).await?;
    let watched = server.clone();
    let peers = Hostile::against(&case, server.name(), server.endpoint("redis"))
        .with(Corpus::recorded(&recordings, Stream::Upstream))
        .watching(Watch::of(&server).answers(move || answers(watched.clone())))
        .attacks(150)
        .for_at_most(secs(20));
    let is_over = std::cell::Cell::new(false);
    let attacking = async {
        let report = peers.run().await;
        is_over.set(true);
        report
    };
    let working = async {
        let mut number: u64 = 0;
        while !is_over.get() {
            let (key, value) = (format!("worker-{}", number % 10), number.to_string());
            worker.set(&key, value.as_bytes()).await?;
            let found = worker.get(&key).await?;
            assert_eq!(found.as_deref(), Some(value.as_bytes()), "of {key}");
            number += 1;
        }
        for last in number.saturating_sub(10)..number {
            let found = worker.get(&format!("worker-{}", last % 10)).await?;
            assert_eq!(found, Some(last.to_string().into_bytes()));
        }
        Ok::<_, Error>(number)
    };
    let (report, written) = tokio::join!(attacking, working);
    assert!(report?.attacks() > 20);
    assert!(written? > 10, "nobody was served meanwhile");
    Ok(())
}

#[robust_test(pin(tls = "off", user = "default"), timeout = "90s")]
async fn a_client_of_a_hostile_server_ends_what_it_does(
    case: Case,
    server: Server<Kv>,
    #[proxied] client: Client<Kv>,
    #[values(instead = false, between = true)] place: bool,
) -> Result {
    const TRIES: usize = 30;
    let recordings = recorded(&client).await?;
    let hostile = HostileServer::new(&case, "hostile server").deadline(secs(1));
    let hostile = match place {
        true => hostile.in_front_of(server.endpoint("redis")),
        false => hostile
            .with(Corpus::recorded(&recordings, Stream::Downstream))
            .only(Attack::DRAWN),
    };
    let hostile = hostile.listen()?;
    let options = ConnectOptions {
        address: hostile.address(),
        deadline: secs(2),
        ..client.options().clone()
    };
    let mut failed = 0;
    for _ in 0..TRIES {
        let trying = async {
            let client = client.open(options.clone()).await?;
            client.set("tried", b"1").await?;
            match client.get("tried").await?.as_deref() {
                Some(b"1") => Ok(true),
                _ => Ok::<_, ClientError>(false),
            }
        };
        let tried = hostile.until_ended("a talk", secs(20), trying).await?;
        failed += usize::from(!tried.unwrap_or(false));
    }
    assert!(failed > 0, "nothing was spoilt in {TRIES} talks");
    assert!(hostile.finish()?.attacks() > 0);
    client.set("after", b"1").await?;
    Ok(())
}
