//! Peers that send members what they never should get, at the port of clients and at that of the other members, while clients
//! write.

use robust_test::hostile::{Corpus, Hostile, Watch};
use robust_test::network::{Recording, Stream};

use super::*;

/// What a client says to its server, from the beginning of its connections on.
async fn said_by_a_client(client: &Client<Etcd>) -> Result<Vec<Recording>> {
    let talker = Client::connect_another(client).await?;
    let proxy = Client::proxy(&talker, "client");
    proxy.record(1 << 20);
    talker.put("recorded", "1").await?;
    talker.put("recorded/long", &"x".repeat(500)).await?;
    talker.get("recorded", Linearizable).await?;
    talker.list("recorded", Serializable).await?;
    let lease = talker.grant(secs(60)).await?;
    talker.put_with_lease("recorded/leased", "1", lease).await?;
    talker.delete("recorded").await?;
    Ok(proxy.recordings())
}

/// What the other members say to this one.
async fn said_by_members(node: &Server<Etcd>, client: &Client<Etcd>) -> Result<Vec<Recording>> {
    let proxy = node.proxy("peer");
    proxy.record(1 << 20);
    // So that the beginnings of connections are there too.
    proxy.reset_connections().await?;
    for number in 0..20 {
        put_at_last(client, "recorded", &number.to_string()).await?;
    }
    Ok(proxy.recordings())
}

/// It answers an operator and a client.
async fn answers(node: Server<Etcd>) -> Result {
    let operator = node.admin().await?;
    operator.is_healthy().await?;
    Ok(())
}

async fn attack(
    case: &Case,
    (db, client): (&Cluster<Etcd>, &Client<Etcd>),
    (victim, port): (&Server<Etcd>, &str),
    corpus: Corpus,
) -> Result {
    let load = Load::begun(db, client).await?;
    let watched = victim.clone();
    let report = Hostile::against(case, victim.name(), victim.endpoint(port))
        .with(corpus)
        .watching(Watch::of(victim).answers(move || answers(watched.clone())))
        .attacks(100)
        .for_at_most(secs(10))
        .run()
        .await?;
    assert!(report.attacks() > 20, "{report:?}");
    db.until_settled(SETTLED).await?;
    let ledger = load.end().await?;
    is_kept_by_all(db, client, &ledger).await
}

#[robust_test(timeout = "120s", weight = 4)]
async fn peers_at_the_port_of_clients_harm_no_member(
    case: Case,
    db: Cluster<Etcd>,
    #[proxied] client: Client<Etcd>,
) -> Result {
    let victim = db.until_settled(SETTLED).await?;
    let recordings = said_by_a_client(&client).await?;
    let corpus = Corpus::recorded(&recordings, Stream::Upstream);
    attack(&case, (&db, &client), (&victim, "client"), corpus).await
}

#[robust_test(timeout = "120s", weight = 4)]
async fn peers_at_the_port_of_members_harm_no_member(
    case: Case,
    #[proxied] db: Cluster<Etcd>,
    #[only("gateway")] client: Client<Etcd>,
    #[values(leader = true, follower = false)] is_leader: bool,
) -> Result {
    let leader = db.until_settled(SETTLED).await?;
    let victim = match is_leader {
        true => leader,
        false => others(&db, &leader).remove(0),
    };
    let recordings = said_by_members(&victim, &client).await?;
    db.until_settled(SETTLED).await?;
    let corpus = Corpus::recorded(&recordings, Stream::Upstream);
    attack(&case, (&db, &client), (&victim, "peer"), corpus).await
}
