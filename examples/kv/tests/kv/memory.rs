//! What of acknowledged writes outlives a server that wants more memory than there is for it, as in a container: the kernel
//! kills it, without a word, in the middle of whatever it does.

use kv_suite::{Command, Reply};
use robust_test::fault::MemoryLimit;

use super::*;

const SPARE_BYTES: u64 = 16 << 20;
const VALUE_BYTES: usize = 64 << 10;
/// More than fit into twice of what is spare.
const WRITES_MAX: usize = 2 * SPARE_BYTES as usize / VALUE_BYTES;

#[robust_test(requires(server = "persistence"), pin(persistence = "rdb"), timeout = "60s")]
async fn a_server_that_is_killed_for_its_memory_keeps_every_acknowledged_write(
    server: Server<Kv>,
    client: Client<Kv>,
) -> Result {
    set_up(&server, kept(Persistence::AofAlways)).await?;
    until_answered(&*client).await?;
    let ends = server.expect_exit();
    let limit = MemoryLimit {
        spare_bytes: SPARE_BYTES,
    }
    .inject(&server)
    .await?;
    let value = vec![b'x'; VALUE_BYTES];
    let mut acknowledged = 0;
    while client.set(&format!("key {acknowledged}"), &value).await.is_ok() {
        acknowledged += 1;
        assert!(acknowledged < WRITES_MAX, "it has more than its limit");
    }
    // The cache of its file was taken back before.
    assert!(acknowledged > WRITES_MAX / 4, "{acknowledged}");
    assert_eq!(ends.wait().await?, Exit::Signaled(9));
    let proof = limit.heal().await?;
    assert!(proof.contains(", 1 processes killed"), "{proof}");
    server.start().await?;
    until_answered(&*client).await?;
    let keys = (0..acknowledged).map(|number| Command::new("EXISTS").arg(format!("key {number}")));
    let replies = client.pipeline(keys.collect()).await?;
    let lost = replies
        .iter()
        .filter(|reply| **reply != Reply::Integer(1))
        .count();
    assert_eq!((replies.len(), lost), (acknowledged, 0));
    // Without the limit it gets what it wants.
    for number in acknowledged..WRITES_MAX + acknowledged {
        client.set(&format!("key {number}"), &value).await?;
    }
    Ok(())
}
