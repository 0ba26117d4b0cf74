//! What a disk that can fail costs: the same work on it and in a folder of the machine's own, one after the other. Prints,
//! and asserts nothing: a sync here is not passed on to the machine's disk, so it may well be the quicker of the two.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use robust_test::disk::Disk;
use robust_test::harness::case::{Case, Facts};
use robust_test::harness::seed::Seed;

type Work = fn(&Path) -> std::io::Result<(u64, &'static str)>;

/// Each does something so often, and says what.
const WORK: &[(&str, Work)] = &[
    ("append 4 KiB and fdatasync", |folder| {
        let mut file = File::create(folder.join("log"))?;
        for _ in 0..2000 {
            file.write_all(&[1; 4096])?;
            file.sync_data()?;
        }
        Ok((2000, "writes"))
    }),
    ("overwrite 4 KiB and fdatasync", |folder| {
        use std::os::unix::fs::FileExt as _;
        let file = File::options().write(true).open(folder.join("log"))?;
        for number in 0..2000 {
            file.write_all_at(&[2; 4096], number % 500 * 4096)?;
            file.sync_data()?;
        }
        Ok((2000, "writes"))
    }),
    ("write 256 MiB, then fsync", |folder| {
        let mut file = File::create(folder.join("big"))?;
        for _ in 0..256 {
            file.write_all(&[3; 1 << 20])?;
        }
        file.sync_all()?;
        Ok((256, "MiB"))
    }),
    ("read 256 MiB", |folder| {
        let mut file = File::open(folder.join("big"))?;
        let mut buffer = vec![0; 1 << 20];
        while file.read(&mut buffer)? > 0 {}
        Ok((256, "MiB"))
    }),
    ("create, write and remove small files", |folder| {
        for number in 0..2000 {
            std::fs::write(folder.join(format!("small-{number}")), "small")?;
        }
        for number in 0..2000 {
            std::fs::remove_file(folder.join(format!("small-{number}")))?;
        }
        Ok((2000, "files"))
    }),
    (
        "replace a file: write, fsync, rename, fsync the folder",
        |folder| {
            for _ in 0..500 {
                let mut file = File::create(folder.join("new"))?;
                file.write_all(b"content")?;
                file.sync_all()?;
                std::fs::rename(folder.join("new"), folder.join("name"))?;
                File::open(folder)?.sync_all()?;
            }
            Ok((500, "times"))
        },
    ),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Err(why) = Disk::available() {
        println!("skipped: {why}");
        return Ok(());
    }
    let home = tempfile::tempdir()?;
    let case = Case::new(Facts {
        name: "bench".to_owned(),
        seed: Seed(1),
        attempt: 0,
        folder: home.path().join("case"),
        environment: Arc::default(),
        run_id: "bench".to_owned(),
        variants: Default::default(),
        stash: None,
        spare: None,
    });
    let direct = home.path().join("direct");
    std::fs::create_dir(&direct)?;
    let folder = case.folder()?.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let disk = runtime.block_on(Disk::mount(
        &case,
        "disk",
        folder.join("backing"),
        folder.join("data"),
    ))?;
    for (what, work) in WORK {
        let rate = |folder: &Path| -> std::io::Result<String> {
            let begin = Instant::now();
            let (count, unit) = work(folder)?;
            let took: Duration = begin.elapsed();
            Ok(format!("{:>8.0} {unit}/s", count as f64 / took.as_secs_f64()))
        };
        println!(
            "{what}: directly {}, on the disk {}",
            rate(&direct)?,
            rate(disk.path())?
        );
    }
    let begin = Instant::now();
    let lost = disk.lose_power(None)?;
    println!("power loss in {:?}: {lost}", begin.elapsed());
    while let Some(closer) = case.pop_closer() {
        runtime
            .block_on((closer.close)())
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
