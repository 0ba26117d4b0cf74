//! What of acknowledged writes outlives the server.
//!
//! A SIGKILL ends a process and leaves the machine up: what was handed to the system is written, flushed or not. One
//! would think that `appendfsync everysec` loses nothing by it, and redis.conf says "a single write". But while an
//! fsync is under way, redis keeps what it acknowledges in memory, for up to 2 s (aof.c, flushAppendOnlyFile): on a
//! busy disk a kill loses hundreds of acknowledged writes. Since nobody can make an fsync last, there is no case that
//! must fail; what is asserted is that the last ones alone are lost, and none of which redis says it is written.
//!
//! Each scenario restarts its server with the persistence that it is about, so what is drawn is pinned.

use std::sync::atomic::{AtomicUsize, Ordering};

use kv_suite::{Command, Reply};

use super::*;

fn key(number: usize) -> String {
    format!("key {number}")
}

/// Writes numbers from `from` on, each acknowledged.
async fn write(client: &dyn KvClient, from: usize, count: usize) -> Result {
    for number in from..from + count {
        client.set(&key(number), number.to_string().as_bytes()).await?;
    }
    Ok(())
}

/// Which of the first `count` numbers are there, each with its own value.
async fn there(client: &dyn KvClient, count: usize) -> Result<BTreeSet<usize>> {
    until_answered(client).await?;
    let gets = (0..count).map(|number| Command::new("GET").arg(key(number)));
    let replies = client.pipeline(gets.collect()).await?;
    let mut there = BTreeSet::new();
    for (number, reply) in replies.into_iter().enumerate() {
        match reply {
            Reply::Nil => {}
            Reply::Bytes(value) if value == number.to_string().as_bytes() => drop(there.insert(number)),
            other => return Err(error(format!("{} is {other:?}", key(number)))),
        }
    }
    Ok(there)
}

async fn save(server: &Server<Kv>, command: &'static str) -> Result {
    let operator = server.admin().await?;
    operator.run(command, &[]).await?;
    eventually("the save is done", SOON, || async {
        let info = operator.info("persistence").await?;
        let is = |name: &str, value: &str| info.get(name).is_some_and(|found| found == value);
        Ok::<_, Error>(is("rdb_bgsave_in_progress", "0") && is("rdb_last_bgsave_status", "ok"))
    })
    .await?;
    Ok(())
}

const WRITES: usize = 100;

/// What a kill leaves: nothing but what a save wrote, which is nothing by itself where persistence is off.
#[robust_test(requires(server = "persistence"), pin(persistence = "rdb"), timeout = "60s")]
async fn a_kill_loses_what_no_save_wrote(
    server: Server<Kv>,
    client: Client<Kv>,
    #[values(none = Persistence::None, rdb = Persistence::Rdb)] persistence: Persistence,
    #[values(none = None, save = Some("SAVE"), bgsave = Some("BGSAVE"))] saved: Option<&'static str>,
) -> Result {
    set_up(&server, kept(persistence)).await?;
    until_answered(&*client).await?;
    write(&*client, 0, WRITES).await?;
    if let Some(command) = saved {
        save(&server, command).await?;
    }
    write(&*client, WRITES, WRITES).await?;
    server.kill().await?;
    server.start().await?;
    let expected = if saved.is_some() { 0..WRITES } else { 0..0 };
    assert_eq!(there(&*client, 2 * WRITES).await?, expected.collect());
    Ok(())
}

/// Kills the server while a client writes.
#[robust_test(requires(server = "persistence"), pin(persistence = "rdb"), timeout = "60s")]
async fn a_kill_under_load_loses_at_most_the_last_writes_of_an_append_only_file(
    server: Server<Kv>,
    client: Client<Kv>,
    #[values(every_second = Persistence::AofEverySecond, always = Persistence::AofAlways)]
    persistence: Persistence,
) -> Result {
    set_up(&server, kept(persistence)).await?;
    until_answered(&*client).await?;
    for round in 1..=2 {
        let acknowledged = AtomicUsize::new(0);
        let base = round * 1_000_000;
        let writing = async {
            loop {
                let number = base + acknowledged.load(Ordering::Relaxed);
                if client.set(&key(number), b"x").await.is_err() {
                    return;
                }
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
        };
        let killing = async {
            eventually("writes are acknowledged", SOON, || async {
                acknowledged.load(Ordering::Relaxed) >= WRITES
            })
            .await?;
            server.kill().await?;
            Ok::<_, Error>(())
        };
        let ((), killed) = tokio::join!(writing, killing);
        killed?;
        server.start().await?;
        until_answered(&*client).await?;
        let count = acknowledged.load(Ordering::Relaxed);
        let exist = (base..base + count).map(|number| Command::new("EXISTS").arg(key(number)));
        let replies = client.pipeline(exist.collect()).await?;
        let is = |number: i64| move |reply: &&Reply| **reply == Reply::Integer(number);
        let kept = replies.iter().take_while(is(1)).count();
        let lost = replies[kept..].iter().take_while(is(0)).count();
        assert_eq!(kept + lost, count, "writes are missing before others");
        if persistence == Persistence::AofAlways {
            assert_eq!(lost, 0, "of {count} acknowledged writes");
        }
    }
    Ok(())
}

#[robust_test(requires(server = "persistence"), pin(persistence = "rdb"), timeout = "60s")]
async fn a_kill_loses_nothing_that_is_in_the_append_only_file(
    server: Server<Kv>,
    client: Client<Kv>,
) -> Result {
    set_up(&server, kept(Persistence::AofEverySecond)).await?;
    until_answered(&*client).await?;
    write(&*client, 0, WRITES).await?;
    let operator = server.admin().await?;
    eventually("nothing waits for its write", SOON, || async {
        let info = operator.info("persistence").await?;
        Ok::<_, Error>(info.get("aof_buffer_length").is_some_and(|bytes| bytes == "0"))
    })
    .await?;
    server.kill().await?;
    server.start().await?;
    assert_eq!(there(&*client, WRITES).await?, (0..WRITES).collect());
    Ok(())
}

#[robust_test(requires(server = "persistence"), pin(persistence = "rdb"), timeout = "60s")]
async fn an_orderly_stop_saves_unless_persistence_is_off(
    server: Server<Kv>,
    client: Client<Kv>,
    #[values(
        none = Persistence::None,
        rdb = Persistence::Rdb,
        aof_every_second = Persistence::AofEverySecond,
        aof_always = Persistence::AofAlways
    )]
    persistence: Persistence,
) -> Result {
    set_up(&server, kept(persistence)).await?;
    until_answered(&*client).await?;
    write(&*client, 0, WRITES).await?;
    server.restart().await?;
    let expected = if persistence == Persistence::None {
        0..0
    } else {
        0..WRITES
    };
    assert_eq!(there(&*client, WRITES).await?, expected.collect());
    Ok(())
}

mod a_torn_append_only_file {
    use super::*;

    /// Takes the last bytes off the file of what was written last.
    fn tear(node: &Node<Kv>) -> Result {
        let folder = node.data_dir()?.join("appendonlydir");
        let mut torn = 0;
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(".incr.aof") {
                let file = std::fs::OpenOptions::new().write(true).open(path)?;
                let length = file.metadata()?.len();
                file.set_len(length - 5)?;
                torn += 1;
            }
        }
        assert_eq!(torn, 1, "files are torn");
        Ok(())
    }

    #[robust_test(requires(server = "persistence"), pin(persistence = "rdb"), timeout = "60s")]
    async fn loses_its_last_command_alone(server: Server<Kv>, client: Client<Kv>) -> Result {
        set_up(&server, kept(Persistence::AofAlways)).await?;
        until_answered(&*client).await?;
        write(&*client, 0, WRITES).await?;
        server.restarting().before_start(tear).run().await?;
        assert_eq!(there(&*client, WRITES).await?, (0..WRITES - 1).collect());
        // It goes on where the file was cut.
        write(&*client, WRITES - 1, WRITES).await?;
        server.kill().await?;
        server.start().await?;
        assert_eq!(there(&*client, 2 * WRITES - 1).await?.len(), 2 * WRITES - 1);
        Ok(())
    }

    #[robust_test(requires(server = "persistence"), pin(persistence = "rdb"), timeout = "60s")]
    async fn is_refused_where_that_was_asked_for(server: Server<Kv>, client: Client<Kv>) -> Result {
        let strict = KvSettings {
            load_truncated: false,
            ..kept(Persistence::AofAlways)
        };
        set_up(&server, strict).await?;
        until_answered(&*client).await?;
        write(&*client, 0, WRITES).await?;
        let started = server.restarting().before_start(tear).run().await;
        let refused = format!("{:#}", Error::from(started.expect_err("it started")));
        assert!(
            refused.contains("exited with status 1 before it was ready"),
            "{refused}"
        );
        assert!(
            server
                .log()?
                .contains("Unexpected end of file reading the append only file")
        );
        assert!(!server.is_running());
        // As an operator does after a look at it.
        server
            .restarting()
            .settings(kept(Persistence::AofAlways))
            .run()
            .await?;
        assert_eq!(there(&*client, WRITES).await?, (0..WRITES - 1).collect());
        Ok(())
    }
}
