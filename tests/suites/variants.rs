//! Kinds with variants, and scenarios that narrow them, fail with some of them, or know that they do. Run by
//! `tests/variants.rs`. A server is a store on a thread, which forgets at a restart what it does not persist.
#![allow(missing_docs)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use robust_test::harness::param::{Axis, AxisValue, Build, Environment, Param, Shape, TakesKinds};
use robust_test::harness::registry::Site;
use robust_test::harness::variant::VariantAxis;
use robust_test::prelude::*;

struct Kv;

impl Service for Kv {
    type Client = Connection;
    type Settings = ();
}

/// A connection that gives the password where the server wants one.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn ask(&mut self, line: &str) -> std::io::Result<String> {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        self.0.read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }
}

/// One word is kept; `set WORD`, `get`, `auth`.
fn serve(
    listener: &TcpListener,
    file: Option<&Path>,
    auth: bool,
    stopping: &Stopping,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut word = file
        .and_then(|file| std::fs::read_to_string(file).ok())
        .unwrap_or_default();
    while !stopping.is_requested() {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(std::time::Duration::from_millis(1));
            continue;
        };
        stream.set_nonblocking(false)?;
        let mut known = !auth;
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
            let answer = match line.trim_end().split_once(' ').unwrap_or((line.trim_end(), "")) {
                ("auth", _) => {
                    known = true;
                    "welcome".to_owned()
                }
                _ if !known => "who are you".to_owned(),
                ("set", to) => {
                    word = to.to_owned();
                    if let Some(file) = file {
                        std::fs::write(file, &word)?;
                    }
                    "kept".to_owned()
                }
                _ => word.clone(),
            };
            lines.get_mut().write_all(format!("{answer}\n").as_bytes())?;
            line.clear();
        }
    }
    Ok(())
}

async fn start(node: &mut Node<Kv>, persists: bool, auth: bool) -> Result<Instance> {
    let address = node.address("kv");
    let file = node.data_dir()?.join("word");
    let serve = move |stopping: Stopping| {
        let listener = TcpListener::bind(address)?;
        serve(&listener, persists.then_some(&file), auth, &stopping)
    };
    Ok(node.thread(serve).ready_when(tcp("kv")).spawn().await?)
}

#[robust_server(
    Kv,
    variants(persistence = ["none", "rdb", "aof"], auth = ["off", "on"], fixed(cache = ["small", "big"]))
)]
async fn store(node: &mut Node<Kv>) -> Result<Instance> {
    println!("cache is {}", node.variant("cache"));
    let (persists, auth) = (
        node.variant("persistence") != "none",
        node.variant("auth") == "on",
    );
    start(node, persists, auth).await
}

#[robust_server(Kv, variants(persistence = ["none"]))]
async fn memory(node: &mut Node<Kv>) -> Result<Instance> {
    start(node, false, false).await
}

/// Says its version, from which program it is.
#[robust_server(Kv, program = "planted-versioned-store")]
async fn versioned(node: &mut Node<Kv>) -> Result<Instance> {
    println!("program: {}", node.program()?.display());
    start(node, true, false).await
}

#[robust_client(Kv, variants(greeting = ["short", "long"]))]
async fn line(link: ClientLink) -> Result<Box<Connection>> {
    let mut connection = Connection(BufReader::new(TcpStream::connect(link.endpoint("kv"))?));
    println!("greeting is {}", link.variant("greeting"));
    if link.server_kind() == "store" && link.server_variant("auth") == "on" {
        connection.ask("auth")?;
    }
    Ok(Box::new(connection))
}

#[robust_test(tags("works"))]
async fn answers(#[except("versioned")] server: Server<Kv>, mut client: Client<Kv>) -> Result {
    client.ask("set x")?;
    assert_eq!(client.ask("get")?, "x");
    println!("persistence is {}", server.variant("persistence"));
    Ok(())
}

#[robust_test(tags("explained"))]
async fn remembers(#[only("store")] server: Server<Kv>, mut client: Client<Kv>) -> Result {
    client.ask("set x")?;
    Client::close(client);
    server.restart().await?;
    let mut again = connect(&server)?;
    assert_eq!(again.ask("get")?, "x", "forgotten");
    Ok(())
}

#[robust_test(
    forbid(server.persistence = "none", because = "it forgets by design"),
    pin(auth = "on")
)]
async fn remembers_what_can_be(#[only("store")] server: Server<Kv>, mut client: Client<Kv>) -> Result {
    client.ask("set x")?;
    Client::close(client);
    server.restart().await?;
    let mut again = connect(&server)?;
    assert_eq!(again.ask("get")?, "x");
    Ok(())
}

#[robust_test(known_failure(server = "store", server.persistence = "none", because = "it forgets by design"))]
async fn forgets_only_without_persistence(
    #[only("store")] server: Server<Kv>,
    mut client: Client<Kv>,
    #[values(1, 2, 3, 4, 5, 6, 7, 8)] _round: u8,
) -> Result {
    client.ask("set x")?;
    Client::close(client);
    server.restart().await?;
    assert_eq!(connect(&server)?.ask("get")?, "x", "forgotten");
    Ok(())
}

#[robust_test(exclude(server = "store", server.auth = "on", because = "nobody gives the password here"))]
async fn needs_no_password(#[only("store")] server: Server<Kv>) -> Result {
    let mut plain = Connection(BufReader::new(TcpStream::connect(server.endpoint("kv"))?));
    assert_eq!(plain.ask("set x")?, "kept");
    Ok(())
}

#[robust_test(tags("versions"))]
async fn has_versions(#[only("versioned")] server: Server<Kv>, mut client: Client<Kv>) -> Result {
    client.ask("set x")?;
    println!("version {}", server.variant("version"));
    panic!("so that the output is shown");
}

#[robust_test(ignore = "asks for what is not declared")]
async fn asks_for_another(#[only("store")] server: Server<Kv>) {
    println!("{}", server.variant("persistance"));
}

#[robust_test(ignore = "fails at the first try of each worker", tags("unsteady"))]
fn fails_once(_engine: Engine) {
    let marker = std::env::var_os("VARIANTS_MARKER").unwrap();
    assert!(
        std::fs::exists(&marker).unwrap() || std::fs::write(&marker, "").is_err(),
        "the first time"
    );
}

#[robust_test(ignore = "fails with each of its variants", tags("always"))]
fn always_fails(_engine: Engine) {
    panic!("as always");
}

/// A parameter with three nodes of their own, each with a version.
struct Engine;

impl Param for Engine {
    fn shape(_: &Site, _: &Environment) -> Shape {
        Shape {
            axis: Some(Axis {
                values: vec![AxisValue {
                    label: "quorum".into(),
                    variants: vec![
                        VariantAxis {
                            per_node: true,
                            ..VariantAxis::new("version", ["1", "2", "3"])
                        },
                        VariantAxis::new("storage", ["lsm", "btree"]),
                    ],
                    nodes: Some(3),
                    ..AxisValue::default()
                }],
                empty_because: None,
            }),
            ..Shape::default()
        }
    }

    async fn build(build: &mut Build) -> Result<Self> {
        for node in 1..=4 {
            let variants = build.variants(Some(node));
            println!(
                "node {node}: {} {}",
                variants.value("version")?,
                variants.value("storage")?
            );
        }
        Ok(Self)
    }
}

impl TakesKinds for Engine {}

#[robust_test(tags("nodes"))]
fn nodes_differ(_engine: Engine) {
    panic!("so that the output is shown");
}

fn connect(server: &Server<Kv>) -> Result<Connection> {
    let mut connection = Connection(BufReader::new(TcpStream::connect(server.endpoint("kv"))?));
    if server.variant("auth") == "on" {
        connection.ask("auth")?;
    }
    Ok(connection)
}

robust_test::main!();
