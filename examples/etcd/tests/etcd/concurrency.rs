//! Many clients at once.

use super::*;

const ROUNDS: u32 = 5;

#[robust_test(timeout = "90s")]
async fn of_eight_that_swap_exactly_one_wins(
    db: Cluster<Etcd>,
    #[count(8)] clients: Vec<Client<Etcd>>,
) -> Result {
    db.until_settled(SETTLED).await?;
    let nodes = db.nodes();
    let spread = clients.iter().enumerate();
    let spread = spread.map(|(index, client)| Client::connect_to(client, &nodes[index % nodes.len()]));
    let clients = try_join_all(spread).await?;
    let swap_all = |expected: Option<String>, new: String| {
        let clients = &clients;
        async move {
            let swaps = clients
                .iter()
                .map(|client| client.compare_and_swap("counter", expected.as_deref(), &new));
            let won = try_join_all(swaps).await?;
            Ok::<_, ClientError>(won.into_iter().filter(|won| *won).count())
        }
    };
    assert_eq!(swap_all(None, "0".to_owned()).await?, 1, "who created it");
    for round in 0..ROUNDS {
        let (expected, new) = (round.to_string(), (round + 1).to_string());
        assert_eq!(swap_all(Some(expected), new).await?, 1, "in round {round}");
    }
    assert_eq!(fresh(&clients[0], "counter").await?, Some(ROUNDS.to_string()));
    Ok(())
}

const EACH: u32 = 3;

#[robust_test(timeout = "90s")]
async fn eight_that_count_lose_no_increment(
    db: Cluster<Etcd>,
    #[count(8)] clients: Vec<Client<Etcd>>,
) -> Result {
    db.until_settled(SETTLED).await?;
    clients[0].put("counter", "0").await?;
    let count = clients.iter().map(|client| async {
        let mut done = 0;
        while done < EACH {
            let found = client
                .get("counter", Serializable)
                .await?
                .context("it is there")?;
            let next = found.value.parse::<u32>()? + 1;
            let next = next.to_string();
            let swapped = client.compare_and_swap("counter", Some(&found.value), &next);
            done += u32::from(swapped.await?);
        }
        Ok::<_, Error>(())
    });
    try_join_all(count).await?;
    let sum = EACH * clients.len() as u32;
    assert_eq!(fresh(&clients[0], "counter").await?, Some(sum.to_string()));
    Ok(())
}
