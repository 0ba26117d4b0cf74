//! The attributes, with what each of their options means.

/// Declares a scenario: a function that runs once for every cell of its parameters' matrix.
///
/// The function is plain or `async`, and returns `()` or a `Result` of it with any error that has `Debug`. What
/// a parameter is, its type says, by implementing `Param`; with `#[values(..)]` it can have any type.
///
/// ```
/// use robust_test::prelude::*;
///
/// #[robust_test(timeout = "30s", tags("slow"))]
/// async fn a_message_arrives(case: Case, #[values(0, 1)] qos: u8) -> Result {
///     let topic = format!("topic-{}", case.seed());
/// #   let _ = (topic, qos);
///     // ..
///     Ok(())
/// }
/// ```
///
/// # Options
///
/// | option | meaning | default |
/// | --- | --- | --- |
/// | `timeout = "1m 30s"` | the deadline of one attempt, setup and teardown included; units from `ms` to `h` | `--timeout`'s |
/// | `retries = 2` | how often a bad attempt is repeated | `--retries`'s |
/// | `tags("slow", "net")` | labels for `--tag` and `--skip-tag` | none |
/// | `ignore`, `ignore = "why"` | runs only with `--ignored` or `--include-ignored` | runs |
/// | `should_panic`, `should_panic = "part of the message"` | passes only by a panic | |
/// | `serial = "group"`, `serial("a", "b")` | of each group, at most one case runs at a time | |
/// | `weight = 4` | how many slots' worth of the machine a case takes | 1 |
/// | `isolation = "worker"`, `"process"`, `"none"` | where a case runs: in a pooled worker process, in one of its own, or in the runner's | `--isolation`'s |
/// | `flavor = "current_thread"`, `"multi_thread"` | the tokio runtime's flavor | `"current_thread"` |
/// | `worker_threads = 4` | threads of the `"multi_thread"` flavor | tokio's |
/// | `start_paused`, `start_paused = true` | starts with tokio's clock paused; for `async` functions on `"current_thread"` | runs |
/// | `requires(param = "capability")` | skips cells whose kind does not provide it; repeatable | |
/// | `exclude(param = "label", because = "..")` | skips cells in which all named parameters have these labels; repeatable | |
/// | `known_failure(param = "label", because = "..")` | such cells are expected to fail, and fail when they pass; without parameters every cell; repeatable | |
/// | `known_failure(.., expected = "part of the message")`, `expected("..", "..")` | the failure has to say this, or one of these, in its message or details; one that says something else is a failure | any failure is expected |
/// | `known_failure(.., expected = "..", intermittent = true)` | such cells may pass, too: for a defect that does not show each time | they must fail |
/// | `pin(axis = "value")`, `pin(param.axis = "value")` | the variant that the scenario needs; kinds that have the axis and not the value are skipped; repeatable | |
/// | `forbid(axis = "value", because = "..")`, `forbid(param.axis = ..)` | variants that it cannot have: neither drawn nor expanded; repeatable | |
/// | `allow_leak(threads = "pool", because = "..")`, `allow_leak(files, because = "..")` | what of a class (`tasks`, `threads`, `processes`, `descriptors`, `listeners`, `files`) may outlive a case: what has the text in its name, or all; repeatable; for a whole suite see [`allow_leak!`](crate::allow_leak!) | nothing |
///
/// Labels are strings, or the numbers, `bool`s and characters that `#[values(..)]` was given.
///
/// `exclude` and `known_failure` may name variants beside labels, as `broker.tls = "on"`: an excluded one is not
/// drawn where the rest of the rule holds, and a known failure holds for the cases that have drawn it. Where several known
/// failures hold, the first one that expects what the failure says is told.
///
/// ```
/// use robust_test::prelude::*;
///
/// #[robust_test(
///     retries = 2,
///     serial("disk", "net"),
///     weight = 4,
///     isolation = "process",
///     flavor = "multi_thread",
///     worker_threads = 2,
///     exclude(size = "big", level = -1, because = "takes an hour"),
///     known_failure(level = 0, because = "level 0 loses the last byte", expected = "a byte is missing"),
/// )]
/// async fn data_survives(
///     #[values(small = 1, big = 64 * 1024)] size: usize,
///     #[values(-1, 0, 1)] level: i32,
/// ) {
/// #   let _ = (size, level);
///     // ..
/// }
///
/// #[robust_test(should_panic = "too big", ignore = "not built yet")]
/// fn sizes_are_checked() {
///     panic!("too big: 5");
/// }
///
/// #[robust_test(start_paused)]
/// async fn a_day_passes_at_once() {
///     tokio::time::sleep(std::time::Duration::from_secs(86_400)).await;
/// }
/// ```
///
/// # Attributes of parameters
///
/// | attribute | meaning | on |
/// | --- | --- | --- |
/// | `#[values(0, 1)]`, `#[values(small = 1, big = 64 * K)]` | an axis of plain values, called by their text or name | any type |
/// | `#[only("a", "b")]`, `#[except("a")]` | the labels that stay, or go | parameters with an axis |
/// | `#[on(broker)]` | the earlier parameter that this one connects to | clients |
/// | `#[nodes(3)]` | the number of nodes; of several, `#[nodes(1, 3, 5)]`, each is a case, `[db=etcd,db.nodes=3]` | clusters |
/// | `#[mixed("a", "b")]` | the kinds that nodes are of, drawn for each node (the variant `db-1.kind`), or as `--variants` says | clusters |
/// | `#[count(4)]` | the number of elements | `Vec`s of parameters |
/// | `#[settings(expression)]` | the settings of the service | servers |
/// | `#[proxied]` | puts a [`Proxy`](crate::network::Proxy) in front of each of its ports, or of each port it connects to | servers, clusters, clients |
/// | `#[disk]` | keeps the data of each node on a [`Disk`](crate::disk::Disk) that can fail | servers, clusters |
/// | `#[hosts]` | puts each node on a [`Host`](crate::hosts::Host) of its own, of a net that can fail; with kinds that `provides("hosts")` | clusters |
///
/// A parameter is a name, not a pattern. `#[cfg(..)]` goes on the function.
pub use robust_test_macros::robust_test;

/// Declares a kind of server: how one node of it is started, also after a restart.
///
/// The function is `async`, takes `&mut Node<Service>` and returns `Result<Instance>`. It becomes one label on
/// the axis of every parameter that is a server of that service.
///
/// ```
/// use robust_test::node::{Instance, Node};
/// use robust_test::prelude::*;
///
/// struct Mqtt;
/// # trait MqttClient: Send {}
///
/// impl Service for Mqtt {
///     type Client = dyn MqttClient;
///     type Settings = ();
/// }
///
/// #[robust_server(Mqtt, name = "mosquitto-2", program = "mosquitto", provides("qos2", "retain"))]
/// async fn mosquitto(node: &mut Node<Mqtt>) -> Result<Instance> {
/// #   let _ = node;
///     // start the process, wait until it listens
/// #   todo!()
/// }
/// ```
///
/// # Options
///
/// The service comes first, then any of:
///
/// | option | meaning | default |
/// | --- | --- | --- |
/// | `name = "mosquitto-2"` | the label in the names of cases: without spaces and `[ ] , =` | the function's name |
/// | `provides("qos2", "retain")` | capabilities, for `requires(..)` | none |
/// | `program = "mosquitto"` | the program that must be installed, and that `--bin` replaces | none |
/// | `variants(persistence = ["none", "aof"], ..)` | what it can be varied in, the default first | none |
///
/// | `cluster`, `cluster = "serial"` | its nodes can form clusters, and start at once or one after another | it forms none |
/// | `shared(reset)` | one server serves many cases | a fresh one for each case |
///
/// # Hosts of their own
///
/// A kind whose programs listen at [`Node::address`](crate::node::Node::address), whatever that is, and whose probes ask at
/// [`Node::local_address`](crate::node::Node::local_address) can be put on hosts of its own: it says so by
/// `provides("hosts")`, and scenarios with `#[hosts] db: Cluster<Db>` run with it. Each node has an address then, and what the
/// nodes say to one another are packets between hosts ([`Cluster::net`](crate::cluster::Cluster::net)): lost, late or damaged ones,
/// partitions. Clients and operators reach each node through a gateway, on the port of 127.0.0.1 that
/// [`Server::endpoint`](crate::server::Server::endpoint) has; it takes connections also while the node is down, and resets
/// them. Where there can be no hosts, such cases are skipped with the reason.
///
/// ```
/// use robust_test::hosts::Impairment;
/// use robust_test::prelude::*;
///
/// struct Kv;
/// # impl Service for Kv { type Client = (); type Settings = (); }
///
/// #[robust_server(Kv, program = "kv-server", cluster, provides("hosts"))]
/// async fn kv_server(node: &mut Node<Kv>) -> Result<Instance> {
///     let (listen, here) = (node.address("kv"), node.local_address("kv"));
///     let peers = node.members().into_iter().map(|member| member.address("kv").to_string());
///     let command = node.command("kv-server").arg(listen.to_string()).args(peers);
///     let command = command.ready_when(probe("it says hello", move || hello(here)));
///     Ok(command.spawn().await?)
/// }
/// # async fn hello(_: std::net::SocketAddr) -> Result<bool> { Ok(true) }
///
/// #[robust_test]
/// async fn a_bad_network_costs_time_alone(#[hosts] db: Cluster<Kv>) -> Result {
///     let lossy = db.net().add(Impairment::loss(0.05))?;
///     // .. ask ..
///     lossy.heal()?;
///     db.partition(Partition::Isolate(1))?.heal()?;
///     Ok(())
/// }
/// ```
///
/// # Shared servers
///
/// A server that is slow to start may go on from case to case: `shared(reset)` names the function that makes it as new,
/// `async fn reset(node: NodeLink) -> Result`. Each worker keeps at most four such servers, for cases that have a
/// parameter of the same name, the kind and the same variants. Only a server that its case left as it was goes on: one
/// that was killed, stopped, paused, signalled or restarted ends with its case, and so does each server of a case that
/// failed; [`Server::retire`](crate::server::Server::retire) says so of other changes that `reset` does not undo. When
/// `reset` fails, or takes longer than 10 s, the case gets a fresh server and its log tells why. Parameters with
/// `#[settings(..)]`, nodes of clusters, retried cases and cases with `isolation = "process"` have fresh ones as well.
/// Only programs can be shared.
///
/// ```
/// use robust_test::prelude::*;
///
/// struct Kv;
/// # impl Service for Kv { type Client = (); type Settings = (); }
///
/// #[robust_server(Kv, program = "redis-server", shared(flush))]
/// async fn redis(node: &mut Node<Kv>) -> Result<Instance> {
///     let port = node.port("kv").to_string();
///     Ok(node.command("redis-server").args(["--port", &port]).ready_when(tcp("kv")).spawn().await?)
/// }
///
/// async fn flush(node: NodeLink) -> Result {
///     use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
///     let mut connection = tokio::net::TcpStream::connect(node.endpoint("kv")).await?;
///     connection.write_all(b"FLUSHALL\r\n").await?;
///     let mut answer = [0; 5];
///     connection.read_exact(&mut answer).await?;
///     if &answer == b"+OK\r\n" { Ok(()) } else { Err(error("it was not flushed")) }
/// }
/// ```
///
/// # Variants
///
/// Scenarios need not know the variants of a kind; each case has one value of every axis. Highest first, it is what
/// `--variant [PARAM.]AXIS=VALUE` gives, what the scenario pins, and else a draw from the case's seed, or what
/// `--variants default|all|pairwise` says. The values are in the case's log, in the reports and in the command that
/// repeats it; where they are expanded, also in its name. Axes in `fixed(..)` take their default unless they are asked
/// for; those in `per_node(..)` are drawn anew for each node of a cluster. Where the command line gives versions
/// of a kind's program (`--bin KIND@VERSION=PATH`), they are one more axis, `version`.
///
/// ```
/// use robust_test::prelude::*;
///
/// struct Kv;
/// # impl Service for Kv { type Client = (); type Settings = (); }
///
/// #[robust_server(Kv, program = "redis-server", variants(persistence = ["none", "aof"], fixed(tls = ["off", "on"])))]
/// async fn redis(node: &mut Node<Kv>) -> Result<Instance> {
///     let appends = if node.variant("persistence") == "aof" { "yes" } else { "no" };
///     let port = if node.variant("tls") == "on" { "--tls-port" } else { "--port" };
///     let redis = node.command("redis-server").args(["--appendonly", appends, port]);
///     Ok(redis.arg(node.port("kv").to_string()).ready_when(tcp("kv")).spawn().await?)
/// }
///
/// #[robust_client(Kv)]
/// async fn client(link: ClientLink) -> Result<Box<()>> {
///     // What clients address may depend on the server's variant.
///     let scheme = if link.server_variant("tls") == "on" { "rediss" } else { "redis" };
///     let _url = format!("{scheme}://{}", link.endpoint("kv"));
///     Ok(Box::new(()))
/// }
///
/// #[robust_test(forbid(server.persistence = "none", because = "it forgets by design"))]
/// async fn data_survives_a_kill(server: Server<Kv>, client: Client<Kv>) -> Result {
/// #   let _ = client;
///     server.kill().await?;
///     Ok(server.restart().await?)
/// }
/// ```
pub use robust_test_macros::robust_server;

/// Declares a kind of client: how one of it connects.
///
/// The function is `async`, takes a `ClientLink` and returns `Result<Box<Service::Client>>`. It becomes one
/// label on the axis of every parameter that is a client of that service. The options are those of
/// [`robust_server`](macro@robust_server), and `requires("mqtt5")`: what the kind of the server it connects to must
/// provide. Cases where it does not are skipped before anything starts, and `--variants pairwise` knows of them.
///
/// ```
/// use robust_test::client::ClientLink;
/// use robust_test::prelude::*;
///
/// struct Mqtt;
/// # trait MqttClient: Send {}
///
/// impl Service for Mqtt {
///     type Client = dyn MqttClient;
///     type Settings = ();
/// }
///
/// #[robust_client(Mqtt, provides("qos2"))]
/// async fn rumqttc(link: ClientLink) -> Result<Box<dyn MqttClient>> {
/// #   let _ = link;
///     // connect to the link's endpoint
/// #   todo!()
/// }
/// ```
pub use robust_test_macros::robust_client;
