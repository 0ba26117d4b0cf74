//! Every fault by its life: injected, seen to bite, healed. Run by `tests/faults.rs`, which gives the program by `--bin`.
#![allow(missing_docs)]

use std::num::NonZeroU32;
use std::time::Duration;

use robust_test::fault::{
    ALWAYS, ClockSkew, Cut, DescriptorLimit, FailingSync, FaultKind, FullDisk, Injected, Kill, MemoryLimit,
    Ongoing, Pause, PowerLoss, Relocate, SlowSync, Stop,
};
use robust_test::hosts::Checksum;
use robust_test::prelude::*;
use robust_test_tests::gossip::{self, Asker, Gossip, ahead, answer_within, ask, until_sees};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Mutex;

const SOON: Duration = secs(10);

#[robust_server(Gossip, program = "planted-gossip-server", cluster)]
async fn gossip(node: &mut Node<Gossip>) -> Result<Instance> {
    Ok(gossip::command(node)?.spawn().await?)
}

#[robust_client(Gossip)]
async fn asker(link: ClientLink) -> Result<Box<Asker>> {
    gossip::connect(link).await
}

/// What a node answers on this connection; `None` when it does not for so long.
async fn answer(client: &Asker, line: &str, within: Duration) -> Result<Option<String>> {
    answer_within(&mut *client.lock().await, line, within).await
}

#[robust_test]
async fn killed_and_stopped_nodes_come_back_when_they_are_healed(db: Server<Gossip>) -> Result {
    let kill = Kill.inject(&db).await?;
    assert!(!db.is_running() && ask(&db, "starts").await.is_err());
    assert_eq!((kill.name(), kill.target()), ("kill", "db"));
    let proof = kill.heal().await?;
    assert_eq!(proof, "it was killed, and no process of it was left");
    assert_eq!(ask(&db, "starts").await?, "2");
    let stop = Stop.inject(&db).await?;
    assert!(ask(&db, "starts").await.is_err());
    assert_eq!(
        stop.until_proved(SOON).await?,
        "it was stopped, and no process of it was left"
    );
    stop.heal().await?;
    assert_eq!(ask(&db, "starts").await?, "3");
    Ok(())
}

#[robust_test]
async fn a_node_that_comes_back_on_other_ports_is_found_through_its_proxy(
    #[proxied] db: Server<Gossip>,
    bare: Server<Gossip>,
) -> Result {
    let (proxy, before, bare_before) = (db.proxy("gossip"), db.admin().await?, bare.endpoint("gossip"));
    for server in [&db, &bare] {
        let away = Relocate.inject(server).await?;
        assert!(ask(server, "starts").await.is_err());
        away.heal().await?;
        assert_eq!(ask(server, "starts").await?, "2");
    }
    assert_ne!(db.admin().await?, before);
    assert_eq!(db.endpoint("gossip"), proxy.address());
    assert_ne!(bare.endpoint("gossip"), bare_before);
    assert!(TcpStream::connect(bare_before).await.is_err());
    Ok(())
}

#[robust_test]
async fn a_relocated_member_is_known_to_those_that_start_after_it(#[proxied] db: Cluster<Gossip>) -> Result {
    until_sees(&db.node(1), "1 2 3").await?;
    let away = Relocate.inject(&db.node(2)).await?;
    until_sees(&db.node(1), "1 3").await?;
    away.heal().await?;
    // Its proxy is where it was.
    until_sees(&db.node(1), "1 2 3").await
}

#[robust_test]
async fn a_frozen_node_answers_nobody_until_it_is_healed(
    db: Server<Gossip>,
    client: Client<Gossip>,
    faults: Faults,
) -> Result {
    let pause = Pause.inject(&db).await?;
    assert!(db.is_paused());
    assert_eq!(faults.ongoing(), [("pause".to_owned(), "db".to_owned())]);
    assert_eq!(answer(&client, "starts", millis(50)).await?, None);
    assert_eq!(
        pause.proof().as_deref(),
        Some("all its processes were seen stopped")
    );
    faults.note("client", "was not answered");
    pause.heal().await?;
    assert!(!db.is_paused() && faults.ongoing().is_empty());
    // What it was asked while it was frozen.
    let mut line = String::new();
    tokio::time::timeout(SOON, client.lock().await.read_line(&mut line)).await??;
    assert_eq!(line, "1\n");
    let told: Vec<String> = faults
        .timeline()
        .into_iter()
        .map(|moment| format!("{}: {}", moment.place, moment.what))
        .collect();
    assert_eq!(
        told,
        [
            "db: pause: begins",
            "db: pause: holds",
            "db: pause: bites: all its processes were seen stopped",
            "client: was not answered",
            "db: pause: is healed",
            "db: pause: is over: all its processes were seen stopped",
        ]
    );
    Ok(())
}

/// What each does to a question and its answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Answer,
    Silence,
    End,
}

async fn seen(client: &Asker) -> Result<Seen> {
    Ok(match answer(client, "starts", millis(300)).await {
        Ok(Some(_)) => Seen::Answer,
        Ok(None) => Seen::Silence,
        Err(_) => Seen::End,
    })
}

#[robust_test(timeout = "60s")]
async fn every_toxic_bites_and_is_healed(
    #[proxied] db: Server<Gossip>,
    #[proxied] client: Client<Gossip>,
) -> Result {
    let proxy = Client::proxy(&client, "gossip");
    for (toxic, expected) in [
        (Toxic::latency(millis(20)).jitter(millis(5)), Seen::Answer),
        (Toxic::bandwidth(1000), Seen::Answer),
        (Toxic::slicer(1, 0, millis(1)), Seen::Answer),
        (Toxic::limit_data(0), Seen::End),
        (Toxic::timeout(millis(1)), Seen::End),
        (Toxic::black_hole(), Seen::Silence),
        (Toxic::reset_peer(millis(1)), Seen::End),
        (Toxic::half_close(millis(1)), Seen::End),
        (Toxic::stall(), Seen::Silence),
        (Toxic::corrupt(1).upstream(), Seen::Answer),
        (Toxic::truncate(1), Seen::Silence),
    ] {
        let before = Client::connect_another(&client).await?;
        let link = Client::link(&before).clone();
        let fault = toxic.inject(&link).await?;
        let name = fault.name().to_owned();
        // What ends a connection may do so at once or when something is sent.
        let now = eventually(format!("{name} bites"), SOON, || async {
            let now = seen(&before).await?;
            Ok::<_, Error>((now == expected || expected == Seen::Answer).then_some(now))
        })
        .await?;
        if expected == Seen::Answer && name.starts_with("corruption") {
            assert_ne!(now, Seen::End, "{name}");
        } else {
            assert_eq!(now, expected, "{name}");
        }
        fault.until_proved(SOON).await?;
        fault.heal().await?;
        let after = Client::connect_another(&before).await?;
        assert_eq!(seen(&after).await?, Seen::Answer, "{name}, healed");
    }
    // On a node it is on all that reaches it, on a proxy on that.
    for fault in [
        Toxic::stall().inject(&db).await?,
        Toxic::latency(millis(10)).inject(&proxy).await?,
    ] {
        let name = fault.name().to_owned();
        let another = Client::connect_another(&client).await?;
        let _cut_short = seen(&another).await?;
        let _cut_short = answer(&client, "starts", millis(300)).await;
        fault
            .until_proved(SOON)
            .await
            .map_err(|error| Error::from(error).context(name))?;
        fault.heal().await?;
    }
    Ok(())
}

#[robust_test]
async fn a_close_that_comes_late_is_proved_by_the_end_of_a_connection(
    _db: Server<Gossip>,
    #[proxied] client: Client<Gossip>,
) -> Result {
    let fault = Toxic::slow_close(millis(50))
        .inject(Client::link(&client))
        .await?;
    let began = std::time::Instant::now();
    {
        // The server closes when its client has.
        let mut stream = client.lock().await;
        stream.shutdown().await?;
        let mut rest = String::new();
        assert_eq!(tokio::time::timeout(SOON, stream.read_line(&mut rest)).await??, 0);
    }
    assert!(began.elapsed() >= millis(50));
    fault.heal().await?;
    Ok(())
}

#[robust_test]
async fn a_link_that_is_cut_is_down_as_it_was_asked_for_and_comes_back(
    db: Server<Gossip>,
    #[proxied] client: Client<Gossip>,
    #[values(refuse = Down::Refuse, accept_then_close = Down::AcceptThenClose, black_hole = Down::BlackHole)]
    down: Down,
) -> Result {
    assert_eq!(seen(&client).await?, Seen::Answer);
    let cut = Cut(down).inject(Client::link(&client)).await?;
    assert_eq!(seen(&client).await?, Seen::End);
    let address = Client::proxy(&client, "gossip").address();
    match TcpStream::connect(address).await {
        Err(_) => assert_ne!(down, Down::BlackHole),
        Ok(stream) => {
            assert_ne!(down, Down::Refuse);
            let expected = if down == Down::BlackHole {
                Seen::Silence
            } else {
                Seen::End
            };
            assert_eq!(seen(&Mutex::new(BufReader::new(stream))).await?, expected);
        }
    }
    let proof = cut.heal().await?;
    let turned_away = u8::from(down != Down::Refuse);
    assert_eq!(proof, format!("1 connections reset, {turned_away} turned away"));
    let another = Client::connect_another(&client).await?;
    assert_eq!(seen(&another).await?, Seen::Answer);
    assert_eq!(ask(&db, "starts").await?, "1");
    Ok(())
}

#[robust_test(timeout = "60s")]
async fn a_partition_is_a_fault_of_the_cluster(#[proxied] db: Cluster<Gossip>, faults: Faults) -> Result {
    until_sees(&db.node(1), "1 2 3").await?;
    faults.tolerate(1);
    let partition = Partition::Isolate(3).inject(&db).await?;
    assert_eq!(partition.name(), "partition: node 3 isolated");
    until_sees(&db.node(1), "1 2").await?;
    until_sees(&db.node(3), "3").await?;
    // The node that is cut off is the one that may have faults.
    let refused = Kill.inject(&db.node(1)).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "fault `kill` of db-1 is refused: at most 1 nodes may have faults at the same time (`Faults::tolerate`), and there \
         are [\"partition: node 3 isolated of db\"]; heal one first"
    );
    let pause = Pause.inject(&db.node(3)).await?;
    pause.heal().await?;
    let proof = partition.heal().await?;
    assert!(proof.ends_with(" closed"), "{proof}");
    until_sees(&db.node(1), "1 2 3").await
}

#[robust_test]
async fn several_nodes_are_picked_by_the_seed(#[nodes(5)] db: Cluster<Gossip>, faults: Faults) -> Result {
    for (pick, count) in [
        (Pick::One, 1),
        (Pick::Minority, 2),
        (Pick::Majority, 3),
        (Pick::All, 5),
    ] {
        let nodes = db.pick(pick)?;
        assert_eq!(nodes.len(), count);
        let numbers = nodes.numbers();
        assert!(numbers.len() == count && numbers.is_sorted(), "{numbers:?}");
        let pause = Pause.inject(&nodes).await?;
        assert_eq!(db.awake().len(), 5 - count);
        assert_eq!(pause.target().split(" + ").count(), count);
        let refused = Pause.inject(&nodes[0]).await.unwrap_err().to_string();
        assert!(
            refused.ends_with("has `pause` already; heal that first"),
            "{refused}"
        );
        pause.heal().await?;
        assert_eq!(db.awake().len(), 5);
    }
    let minority = db.pick(Pick::Minority)?;
    let kill = Kill.inject(&minority).await?;
    assert_eq!(db.running().len(), 3);
    let nothing = db.pick(Pick::Minority)?;
    faults.tolerate(3);
    let refused = Pause.inject(&nothing).await;
    assert!(refused.unwrap_err().to_string().contains("is refused"));
    kill.heal().await?;
    db.kill().await?;
    assert_eq!(
        db.pick(Pick::Majority).unwrap_err().to_string(),
        "Majority of cluster `db` is 3 nodes of 5, of which 0 run: there is nothing to pick"
    );
    Ok(())
}

#[robust_test]
async fn where_one_of_several_cannot_have_a_fault_none_keeps_it(db: Cluster<Gossip>) -> Result {
    let all = db.pick(Pick::All)?;
    db.node(2).kill().await?;
    let failed = Pause.inject(&all).await.unwrap_err();
    assert_eq!(
        format!("{failed:#}"),
        "fault `pause` could not be injected into db-1 + db-2 + db-3: node `db-2` does not run: restart it first"
    );
    assert_eq!(db.awake().len(), 2);
    Ok(())
}

#[robust_test(tags("disk"))]
async fn without_power_what_was_not_synced_is_gone(
    #[disk] db: Server<Gossip>,
    #[values(whole = false, torn = true)] is_torn: bool,
) -> Result {
    assert_eq!(ask(&db, "starts").await?, "1");
    // A killed process loses nothing.
    Kill.inject(&db).await?.heal().await?;
    assert_eq!(ask(&db, "starts").await?, "2");
    let power = PowerLoss { is_torn }.inject(&db).await?;
    assert!(!db.is_running());
    let proof = power.heal().await?;
    assert!(proof.contains("lost: 2 bytes of 1 files, "), "{proof}");
    let starts: u32 = ask(&db, "starts").await?.parse()?;
    assert!(starts == 1 || is_torn && starts <= 3, "{starts}");
    let data = db.data_dir()?;
    std::fs::File::open(data.join("starts"))?.sync_all()?;
    PowerLoss { is_torn }.inject(&db).await?.heal().await?;
    assert_eq!(ask(&db, "starts").await?, (starts + 1).to_string());
    db.restarting().wipe_data().run().await?;
    assert_eq!(ask(&db, "starts").await?, "1");
    Ok(())
}

#[robust_test(tags("disk"))]
async fn all_nodes_lose_their_power_at_once(#[disk] db: Cluster<Gossip>) -> Result {
    for node in db.nodes() {
        std::fs::File::open(node.data_dir()?.join("starts"))?.sync_all()?;
    }
    let power = PowerLoss { is_torn: false }.inject(&db.pick(Pick::All)?).await?;
    assert!(db.running().is_empty());
    power.heal().await?;
    for node in db.nodes() {
        until_sees(&node, "1 2 3").await?;
        assert_eq!(ask(&node, "starts").await?, "2");
    }
    Ok(())
}

#[robust_test(tags("disk"))]
async fn a_disk_is_full_slow_or_failing_until_it_is_healed(#[disk] db: Server<Gossip>) -> Result {
    let file = db.data_dir()?.join("file");
    let write = |bytes: usize| {
        let file = file.clone();
        async move { tokio::task::spawn_blocking(move || std::fs::write(file, vec![1; bytes])).await }
    };
    let sync = || {
        let file = file.clone();
        async move { tokio::task::spawn_blocking(move || std::fs::File::open(file)?.sync_all()).await }
    };
    write(100).await??;
    let full = FullDisk { spare_bytes: 8192 }.inject(&db).await?;
    assert_eq!(full.name(), "full-disk after 8192 more bytes");
    assert_eq!(full.proof(), None);
    assert_eq!(
        write(1 << 20).await?.unwrap_err().kind(),
        std::io::ErrorKind::StorageFull
    );
    // A part of it fitted, then nothing did.
    assert_eq!(full.until_proved(SOON).await?, "2 writes refused");
    full.heal().await?;
    write(1 << 20).await??;

    let slow = SlowSync(millis(60)).inject(&db).await?;
    let began = std::time::Instant::now();
    sync().await??;
    assert!(began.elapsed() >= millis(60));
    assert_eq!(slow.heal().await?, "1 syncs delayed");
    sync().await??;

    let failing = FailingSync {
        one_in: NonZeroU32::MIN,
    }
    .inject(db.disk())
    .await?;
    assert_eq!(sync().await?.unwrap_err().raw_os_error(), Some(5));
    failing.heal().await?;
    sync().await??;
    Ok(())
}

/// How many sockets a process has open.
fn sockets(pid: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let links = open
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links
        .filter(|link| link.to_string_lossy().starts_with("socket:"))
        .count()
}

#[robust_test]
async fn a_node_without_descriptors_serves_nobody_more_until_it_is_healed(db: Server<Gossip>) -> Result {
    // It has two for each connection. Once it answers it has accepted those of whoever looked whether it is ready, and it
    // closes them a moment later.
    ask(&db, "starts").await?;
    let pid = db.pid().context("it runs")?;
    eventually("it has no connection", SOON, || {
        std::future::ready(sockets(pid) == 1)
    })
    .await?;
    // Two for each of two, and the one that waits for the next.
    let scarce = DescriptorLimit { spare: 5 }.inject(&db).await?;
    let connect = || TcpStream::connect(db.endpoint("gossip"));
    let mut served = Vec::new();
    for _ in 0..2 {
        let client = Mutex::new(BufReader::new(connect().await?));
        assert_eq!(answer(&client, "starts", SOON).await?.as_deref(), Some("1"));
        served.push(client);
    }
    let proof = scarce.until_proved(SOON).await?;
    assert!(proof.contains(" descriptors are in use"), "{proof}");
    let one_more = Mutex::new(BufReader::new(connect().await?));
    let told = answer(&one_more, "starts", millis(50)).await;
    assert!(!matches!(told, Ok(Some(_))), "{told:?}");
    scarce.heal().await?;
    // It waits in the backlog no longer: whoever comes next wakes the server.
    let another = Mutex::new(BufReader::new(connect().await?));
    assert_eq!(answer(&another, "starts", SOON).await?.as_deref(), Some("1"));
    Ok(())
}

const MIB: u64 = 1 << 20;

/// The control groups of a process, by which those that count memory are found whatever their version.
fn control_groups(pid: u32) -> Result<String> {
    Ok(std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?)
}

/// Which processes have this one as their parent.
fn children(pid: u32) -> Vec<u32> {
    let all = robust_test::harness::processes::all();
    let children = all
        .iter()
        .filter(|process| process.parent == pid && !process.zombie);
    children.map(|process| process.pid).collect()
}

#[robust_test(tags("memory"))]
async fn all_processes_of_a_node_share_what_memory_is_left_until_it_is_healed(db: Server<Gossip>) -> Result {
    let pid = db.pid().context("it runs")?;
    let before = control_groups(pid)?;
    // There before the limit, and the bigger one.
    assert_eq!(ask(&db, "helper").await?, "done");
    assert_eq!(ask(&db, &format!("helper take {}", 40 * MIB)).await?, "done");
    let limit = MemoryLimit {
        spare_bytes: 32 * MIB,
    }
    .inject(&db)
    .await?;
    assert_eq!(limit.name(), "memory-limit after 33554432 more bytes");
    let during = control_groups(pid)?;
    assert_ne!(during, before);
    let helpers = children(pid);
    assert_eq!(helpers.len(), 1);
    assert_eq!(control_groups(helpers[0])?, during);
    // What they had before does not count, and what fits is theirs.
    assert_eq!(ask(&db, &format!("take {}", 12 * MIB)).await?, "done");
    assert_eq!(ask(&db, &format!("helper take {}", 12 * MIB)).await?, "done");
    assert_eq!(limit.proof(), None);
    assert_eq!(ask(&db, &format!("helper take {}", 16 * MIB)).await?, "it ended");
    let proof = limit.until_proved(SOON).await?;
    assert!(proof.contains(", 1 processes killed"), "{proof}");
    // Whoever is started by then is in it too.
    assert_eq!(ask(&db, "helper").await?, "done");
    assert_eq!(control_groups(children(pid)[0])?, during);
    assert_eq!(ask(&db, &format!("helper take {}", 33 * MIB)).await?, "it ended");
    assert_eq!(ask(&db, "helper").await?, "done");
    let proof = limit.heal().await?;
    assert!(proof.contains(", 2 processes killed"), "{proof}");
    assert_eq!(control_groups(pid)?, before);
    assert_eq!(control_groups(children(pid)[0])?, before);
    assert_eq!(ask(&db, &format!("helper take {}", 64 * MIB)).await?, "done");
    assert_eq!(ask(&db, &format!("take {}", 64 * MIB)).await?, "done");
    assert_eq!(ask(&db, "starts").await?, "1");
    Ok(())
}

#[robust_test(tags("memory"))]
async fn a_node_that_is_killed_for_its_memory_was_limited_and_its_next_start_is_not(
    db: Server<Gossip>,
) -> Result {
    let before = control_groups(db.pid().context("it runs")?)?;
    let limit = MemoryLimit {
        spare_bytes: 16 * MIB,
    }
    .inject(&db)
    .await?;
    let ends = db.expect_exit();
    assert!(
        ask(&db, &format!("take {}", 32 * MIB))
            .await
            .is_ok_and(|answer| answer != "done")
    );
    assert_eq!(ends.wait().await?, Exit::Signaled(9));
    let proof = limit.until_proved(SOON).await?;
    assert!(proof.contains(", 1 processes killed"), "{proof}");
    db.start().await?;
    assert_eq!(control_groups(db.pid().context("it runs")?)?, before);
    assert_eq!(ask(&db, &format!("take {}", 32 * MIB)).await?, "done");
    assert_eq!(limit.heal().await?, proof);
    assert_eq!(ask(&db, "starts").await?, "2");
    Ok(())
}

#[robust_test(tags("memory"))]
async fn several_nodes_have_so_much_each_and_a_node_that_is_down_has_none(db: Cluster<Gossip>) -> Result {
    let all = db.pick(Pick::All)?;
    let scarce = MemoryLimit {
        spare_bytes: 16 * MIB,
    };
    let limit = scarce.inject(&all).await?;
    for node in db.nodes() {
        assert_eq!(ask(&node, "helper").await?, "done");
        assert_eq!(limit.proof(), None);
        assert_eq!(
            ask(&node, &format!("helper take {}", 32 * MIB)).await?,
            "it ended"
        );
    }
    limit.heal().await?;
    db.node(2).kill().await?;
    let told = scarce.inject(&db.node(2)).await.unwrap_err();
    assert!(
        format!("{told:#}").ends_with("into db-2: it is down, or runs inside the case's process"),
        "{told:#}"
    );
    Ok(())
}

#[robust_test(tags("clock"))]
async fn a_clock_is_wrong_over_restarts_until_it_is_healed(db: Server<Gossip>) -> Result {
    assert_eq!(ahead(&db).await?, 0);
    let skew = ClockSkew::ahead(secs(3600)).inject(&db).await?;
    assert_eq!(skew.name(), "clock-skew of 3600 s ahead");
    assert_eq!(skew.proof(), None);
    assert_eq!(ahead(&db).await?, 3600);
    assert_eq!(
        skew.until_proved(SOON).await?,
        "1 readings of the clock were moved"
    );
    db.restart().await?;
    assert_eq!(ahead(&db).await?, 3600);
    db.kill().await?;
    db.start().await?;
    assert_eq!(ahead(&db).await?, 3600);
    assert_eq!(skew.heal().await?, "3 readings of the clock were moved");
    assert_eq!(ahead(&db).await?, 0);
    db.restart().await?;
    assert_eq!(ahead(&db).await?, 0);
    assert_eq!(ask(&db, "starts").await?, "4");

    let skew = ClockSkew::behind(secs(86_400)).inject(&db).await?;
    assert_eq!(skew.name(), "clock-skew of 86400 s behind");
    assert_eq!(ahead(&db).await?, -86_400);
    skew.heal().await?;
    assert_eq!(ahead(&db).await?, 0);
    // Nothing is before 1970.
    let skew = ClockSkew::behind(secs(3_153_600_000)).inject(&db).await?;
    assert_eq!(ask(&db, "clock").await?, "0");
    skew.heal().await?;
    Ok(())
}

#[robust_test(tags("clock"))]
async fn a_clock_jumps_forth_and_back_and_one_of_a_node_that_is_down_or_frozen_is_wrong_when_it_goes_on(
    db: Server<Gossip>,
) -> Result {
    let strobe = ClockSkew::ahead(secs(3600)).strobe(millis(2)).inject(&db).await?;
    assert_eq!(strobe.name(), "clock-skew of 3600 s ahead and back, every 2 ms");
    for expected in [3600, 0, 3600, 0] {
        eventually(format!("it is {expected} s ahead"), SOON, || async {
            Ok::<_, Error>((ahead(&db).await? == expected).then_some(()))
        })
        .await?;
    }
    strobe.heal().await?;
    assert_eq!(ahead(&db).await?, 0);

    db.stop().await?;
    let skew = ClockSkew::ahead(secs(60)).inject(&db).await?;
    db.start().await?;
    assert_eq!(ahead(&db).await?, 60);
    db.stop().await?;
    skew.heal().await?;
    db.start().await?;
    assert_eq!(ahead(&db).await?, 0);

    let pause = Pause.inject(&db).await?;
    let skew = ClockSkew::behind(secs(60)).inject(&db).await?;
    assert!(db.is_paused());
    pause.heal().await?;
    assert_eq!(ahead(&db).await?, -60);
    skew.heal().await?;
    Ok(())
}

/// Whatever its threads do in the moment in which its clock changes.
#[robust_test(tags("clock"), timeout = "2m", weight = 4)]
async fn a_program_that_reads_the_clock_all_the_time_goes_on(db: Server<Gossip>) -> Result {
    ask(&db, "watch 4").await?;
    for turn in 1..=60 {
        let skew = ClockSkew::ahead(secs(turn)).inject(&db).await?;
        assert_eq!(ahead(&db).await?, turn as i64);
        skew.heal().await?;
        assert_eq!(ahead(&db).await?, 0);
    }
    assert_eq!(ask(&db, "starts").await?, "1");
    Ok(())
}

#[robust_test(tags("clock"))]
async fn several_clocks_are_wrong_and_one_cannot_be_by_more_than_a_century(db: Cluster<Gossip>) -> Result {
    until_sees(&db.node(1), "1 2 3").await?;
    let skew = ClockSkew::ahead(secs(10)).inject(&db.pick(Pick::All)?).await?;
    for node in db.nodes() {
        assert_eq!(ahead(&node).await?, 10);
    }
    skew.heal().await?;
    let told = ClockSkew::ahead(secs(200 * 365 * 86_400))
        .inject(&db.node(1))
        .await;
    let told = format!("{:#}", told.unwrap_err());
    assert!(
        told.ends_with("into db-1: a clock can be wrong by 100 years at most"),
        "{told}"
    );
    assert_eq!(ahead(&db.node(1)).await?, 0);
    Ok(())
}

/// Packets from one host to the other until one arrives, which is not the way of the first.
async fn passes(from: &UdpSocket, to: &UdpSocket) -> Result<bool> {
    let mut packet = [0; 16];
    // Copies, and what was late.
    while tokio::time::timeout(millis(20), to.recv(&mut packet))
        .await
        .is_ok()
    {}
    for _ in 0..50 {
        from.send_to(b"packet", to.local_addr()?).await?;
        if tokio::time::timeout(millis(20), to.recv(&mut packet))
            .await
            .is_ok()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

#[robust_test(tags("hosts"), timeout = "60s")]
async fn every_impairment_of_a_net_bites_and_is_healed(net: Net) -> Result {
    let (one, other) = (net.host("one")?, net.host("other")?);
    let (from, to) = (one.udp_socket(0)?, other.udp_socket(0)?);
    for (impairment, arrives) in [
        (Impairment::cut(), false),
        (Impairment::loss(1.0), false),
        (Impairment::corrupt(1.0, Checksum::Wrong), false),
        (Impairment::corrupt(1.0, Checksum::Right), true),
        (Impairment::duplicate(1.0), true),
        (Impairment::bandwidth(1 << 20, 1 << 16), true),
        (Impairment::delay(millis(1)), true),
        (Impairment::reorder(1.0, millis(1)), true),
    ] {
        let fault = impairment.from(&one).to(&other).inject(&net).await?;
        let name = fault.name().to_owned();
        assert_eq!(passes(&from, &to).await?, arrives, "{name}");
        // The other way all is well.
        assert!(passes(&to, &from).await?, "{name}");
        fault.until_proved(SOON).await?;
        fault.heal().await?;
        assert!(passes(&from, &to).await?, "{name}, healed");
    }
    let partition = Partition::Isolate(2).inject(&net).await?;
    assert!(!passes(&from, &to).await? && !passes(&to, &from).await?);
    partition.heal().await?;
    assert!(passes(&from, &to).await? && passes(&to, &from).await?);
    Ok(())
}

#[robust_test]
async fn what_cannot_be_is_told_with_what_to_write(db: Server<Gossip>, client: Client<Gossip>) -> Result {
    let told =
        |fault: Result<Injected>| format!("{:#}", fault.map(|fault| fault.name().to_owned()).unwrap_err());
    assert_eq!(
        told(Toxic::stall().inject(&db).await),
        "fault `stall (downstream)` could not be injected into db: fault `stall` cannot be injected into db: it is not behind \
         proxies; write `#[proxied]` on the parameter"
    );
    assert!(told(Cut(Down::Refuse).inject(Client::link(&client)).await).contains("write `#[proxied]`"));
    let pause = Pause.inject(&db).await?;
    assert_eq!(
        told(Pause.inject(&db).await),
        "fault `pause` is refused: db has `pause` already; heal that first"
    );
    pause.heal().await?;
    Ok(())
}

#[robust_test(tags("disk"))]
async fn without_a_disk_of_its_own_a_node_cannot_lose_its_power(db: Server<Gossip>) -> Result {
    let told = PowerLoss { is_torn: false }.inject(&db).await.unwrap_err();
    if told.skip_reason().is_some() || told.is_required() {
        return Err(told);
    }
    assert!(
        format!("{told:#}").contains("write `#[disk]` on the parameter"),
        "{told:#}"
    );
    assert!(db.is_running());
    Ok(())
}

#[robust_test]
async fn what_nobody_heals_ends_with_the_case(#[proxied] db: Cluster<Gossip>) -> Result {
    until_sees(&db.node(1), "1 2 3").await?;
    let partition = Partition::Isolate(3).inject(&db).await?;
    until_sees(&db.node(1), "1 2").await?;
    let _left = (
        partition,
        Pause.inject(&db.node(2)).await?,
        Kill.inject(&db.node(1)).await?,
    );
    Ok(())
}

/// A fault of a suite's own, whose first heal fails.
#[derive(Debug)]
struct Stubborn {
    /// Whether the second one does too.
    stays: bool,
}

static STUBBORN: FaultKind = FaultKind {
    name: "stubborn",
    target: "node",
    does: "nothing, and that for long",
    mechanism: &ALWAYS,
};
robust_test::register_fault!(STUBBORN);

struct Staying {
    heals: u32,
    stays: bool,
}

impl Fault<Server<Gossip>> for Stubborn {
    fn kind(&self) -> &'static FaultKind {
        &STUBBORN
    }

    fn begin<'a>(&'a self, _: &'a Server<Gossip>) -> BoxFuture<'a, Result<Box<dyn Ongoing>>> {
        let staying = Staying {
            heals: 0,
            stays: self.stays,
        };
        Box::pin(std::future::ready(Ok(Box::new(staying) as Box<dyn Ongoing>)))
    }
}

impl Ongoing for Staying {
    fn proof(&self) -> Option<String> {
        Some(format!("{} times healed", self.heals))
    }

    fn heal(&mut self) -> BoxFuture<'_, Result> {
        self.heals += 1;
        let healed = match self.heals == 1 || self.stays {
            true => Err(error("it holds on")),
            false => Ok(()),
        };
        Box::pin(std::future::ready(healed))
    }
}

#[robust_test]
async fn a_heal_that_fails_is_told_and_tried_again_at_the_end(db: Server<Gossip>, faults: Faults) -> Result {
    let stubborn = Stubborn { stays: false }.inject(&db).await?;
    let failed = stubborn.heal().await.unwrap_err();
    assert_eq!(
        format!("{failed:#}"),
        "fault `stubborn` of db cannot be healed: it holds on"
    );
    assert_eq!(faults.ongoing(), [("stubborn".to_owned(), "db".to_owned())]);
    let last = faults.timeline().pop().context("it has a timeline")?;
    assert_eq!(last.what, "stubborn: cannot be healed: it holds on");
    Ok(())
}

#[robust_test(tags("fails"))]
async fn one_that_cannot_be_healed_at_all_is_an_error(db: Server<Gossip>) -> Result {
    let _left = Stubborn { stays: true }.inject(&db).await?;
    Ok(())
}

#[robust_test(tags("fails"))]
async fn one_that_hit_nothing_is_an_error_when_it_is_healed(
    _db: Server<Gossip>,
    #[proxied] client: Client<Gossip>,
) -> Result {
    let inert = Toxic::stall().inject(Client::link(&client)).await?;
    assert_eq!(
        inert.until_proved(millis(30)).await.unwrap_err().to_string(),
        "fault `stall (downstream)` of client has hit nothing within 30 ms"
    );
    inert.heal().await?;
    Ok(())
}

#[robust_test(tags("fails"))]
async fn one_that_hit_nothing_until_the_end_of_the_case_is_an_error(
    _db: Server<Gossip>,
    #[proxied] client: Client<Gossip>,
) -> Result {
    let _inert = Toxic::stall().inject(Client::link(&client)).await?;
    Ok(())
}

#[robust_test(tags("fails"))]
async fn one_whose_target_dies_ends_with_the_node(db: Server<Gossip>) -> Result {
    let scarce = DescriptorLimit { spare: 1 }.inject(&db).await?;
    let pid = db.pid().context("it runs")?.try_into()?;
    let pid = rustix::process::Pid::from_raw(pid).context("a pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    std::future::pending::<()>().await;
    drop(scarce);
    Ok(())
}

/// It cannot remove what it made.
#[robust_test(tags("memory", "fails"))]
async fn one_whose_worker_dies_leaves_that_to_the_runner(db: Server<Gossip>) -> Result {
    let _held = MemoryLimit { spare_bytes: MIB }.inject(&db).await?;
    std::process::abort();
}

/// Holds a fault until its runner is killed.
#[robust_test(ignore = "until its runner is killed", timeout = "1h")]
async fn holds(
    net: Net,
    #[proxied]
    #[disk]
    db: Cluster<Gossip>,
    #[values(
        "kill",
        "pause",
        "stall",
        "cut",
        "partition",
        "power_loss",
        "full_disk",
        "slow_sync",
        "failing_sync",
        "stop",
        "relocate",
        "packets",
        "descriptors",
        "clock",
        "memory"
    )]
    which: &'static str,
) -> Result {
    until_sees(&db.node(1), "1 2 3").await?;
    let one = db.node(1);
    let _held = match which {
        "kill" => Kill.inject(&one).await?,
        "pause" => Pause.inject(&one).await?,
        "stall" => Toxic::stall().inject(&one).await?,
        "cut" => Cut(Down::BlackHole).inject(&one).await?,
        "partition" => Partition::Isolate(1).inject(&db).await?,
        "power_loss" => PowerLoss { is_torn: true }.inject(&one).await?,
        "full_disk" => FullDisk { spare_bytes: 0 }.inject(&one).await?,
        "slow_sync" => SlowSync(secs(3600)).inject(&one).await?,
        "failing_sync" => {
            FailingSync {
                one_in: NonZeroU32::MIN,
            }
            .inject(&one)
            .await?
        }
        "stop" => Stop.inject(&one).await?,
        "relocate" => Relocate.inject(&one).await?,
        "packets" => {
            let (_one, _other) = (net.host("one")?, net.host("other")?);
            Impairment::cut().inject(&net).await?
        }
        "descriptors" => DescriptorLimit { spare: 1 }.inject(&one).await?,
        "clock" => {
            ClockSkew::ahead(secs(3600))
                .strobe(millis(1))
                .inject(&one)
                .await?
        }
        _ => MemoryLimit { spare_bytes: MIB }.inject(&one).await?,
    };
    std::fs::write(std::env::temp_dir().join("holds"), which)?;
    std::future::pending::<()>().await;
    Ok(())
}

/// Holds one that needs neither disks nor hosts, until everything is killed.
#[robust_test(ignore = "until its runner is killed", timeout = "1h")]
async fn holds_a_node_alone(db: Server<Gossip>) -> Result {
    let _held = MemoryLimit { spare_bytes: MIB }.inject(&db).await?;
    std::fs::write(std::env::temp_dir().join("holds"), "memory")?;
    std::future::pending::<()>().await;
    Ok(())
}

robust_test::main!();
