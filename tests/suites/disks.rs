//! Scenarios that end in every way with a disk mounted, or leave a file system mounted. Run by `tests/disks.rs`.
#![allow(missing_docs)]

use std::process::Command;

use robust_test::disk::Disk;
use robust_test::prelude::*;

robust_test::main!();

/// A disk with a file of a node on it, of which nothing is durable.
async fn disk(case: &Case) -> Result<Disk> {
    if let Err(why) = Disk::available() {
        return Err(skip(why.to_string()));
    }
    let folder = case.folder()?;
    let disk = Disk::mount(case, "disk", folder.join("backing"), folder.join("data")).await?;
    std::fs::write(disk.path().join("written"), "by the node")?;
    Ok(disk)
}

#[robust_test]
async fn passes(case: Case) -> Result {
    let disk = disk(&case).await?;
    assert_eq!(disk.lose_power(None)?.bytes, 11);
    assert!(!disk.path().join("written").exists());
    Ok(())
}

#[robust_test]
async fn fails(case: Case) -> Result {
    let _disk = disk(&case).await?;
    Err(error("as planned"))
}

#[robust_test]
async fn leaves_a_process_on_it(case: Case) -> Result {
    let disk = disk(&case).await?;
    Command::new("sleep")
        .arg("7821")
        .current_dir(disk.path())
        .spawn()?;
    Ok(())
}

#[robust_test]
async fn its_worker_dies(case: Case) -> Result {
    let _disk = disk(&case).await?;
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::KILL)?;
    Ok(())
}

#[robust_test(timeout = "1s")]
async fn blocks_in_its_own_disk(case: Case) -> Result {
    let disk = disk(&case).await?;
    disk.slow_fsync(Some(secs(3600)));
    // On the case's thread, which is also the one that would unmount it.
    std::fs::File::open(disk.path().join("written"))?.sync_all()?;
    Ok(())
}

#[robust_test(timeout = "1s")]
async fn its_worker_stands_still(case: Case) -> Result {
    let disk = disk(&case).await?;
    std::fs::write(disk.path().join("node.log"), "nobody can read this")?;
    let own = rustix::process::getpid();
    rustix::process::kill_process(own, rustix::process::Signal::STOP)?;
    std::future::pending::<()>().await;
    Ok(())
}

#[robust_test]
async fn leaves_a_file_system(case: Case) -> Result {
    let at = case.folder()?.join("left");
    std::fs::create_dir(&at)?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(&at)
        .output()?;
    if !mounted.status.success() {
        return Err(skip("this user may not mount"));
    }
    std::fs::write(at.join("file"), "x")?;
    Ok(())
}

#[robust_test(ignore = "until its runner is killed", timeout = "1h")]
async fn waits(case: Case) -> Result {
    let disk = disk(&case).await?;
    let mut sleep = tokio::process::Command::new("sleep");
    sleep
        .arg("7822")
        .current_dir(disk.path())
        .kill_on_drop(true)
        .status()
        .await?;
    Ok(())
}
