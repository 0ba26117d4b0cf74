//! Ending the embedded broker leaves nothing behind: alone in its process, so that all threads, descriptors
//! and tasks there are the broker's or the clients'.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mqtt_suite::embedded::{BrokerError, serve};
use mqtt_suite::{BrokerSettings, ConnectOptions, Listen, MqttClient, Qos, rumqttc_v4, rumqttc_v5};
use tokio::sync::oneshot;

static PANIC_EXPECTED: AtomicBool = AtomicBool::new(false);

const SOON: Duration = Duration::from_secs(5);

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).expect(folder).count()
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// A broker with a thread and a runtime of its own.
struct Broker {
    stop: Option<oneshot::Sender<()>>,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), BrokerError>>>,
}

impl Broker {
    fn start(v4: SocketAddr, v5: SocketAddr) -> Self {
        let (stop, stopping) = oneshot::channel();
        let (kill, killed) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let settings = BrokerSettings::default();
            let listen = Listen { v4, v5, tls: None };
            let stop = async {
                let _ = stopping.await;
            };
            runtime.block_on(async {
                tokio::select! {
                    ended = serve(&listen, &settings, stop) => ended,
                    _ = killed => Ok(()),
                }
            })
        });
        let (stop, kill) = (Some(stop), Some(kill));
        let thread = Some(thread);
        Self { stop, kill, thread }
    }

    fn stop(&mut self) -> Result<(), BrokerError> {
        drop(self.stop.take());
        self.join()
    }

    fn kill(&mut self) -> Result<(), BrokerError> {
        drop(self.kill.take());
        self.join()
    }

    fn join(&mut self) -> Result<(), BrokerError> {
        self.thread.take().unwrap().join().unwrap()
    }
}

#[test]
fn stopping_leaves_no_thread_task_or_socket_and_the_address_free() {
    let test = std::thread::current().id();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() == test || PANIC_EXPECTED.load(Ordering::Relaxed) {
            return hook(panic);
        }
        // A panic on a thread of the broker's would not fail this test otherwise. Past libtest's capture.
        let _ = writeln!(std::io::stderr(), "{panic}");
        std::process::exit(101);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (v4, v5) = (free_address(), free_address());
        let threads = count("/proc/self/task");
        let descriptors = count("/proc/self/fd");
        for round in 0..20 {
            let mut broker = Broker::start(v4, v5);
            listening(&[v4, v5]).await;
            let mut clients = Vec::new();
            for index in 0..5 {
                let options = ConnectOptions::new(format!("four-{index}"));
                clients.push(rumqttc_v4::connect(v4, options.persistent()).await.unwrap());
                let options = ConnectOptions::new(format!("five-{index}"));
                clients.push(rumqttc_v5::connect(v5, options).await.unwrap());
            }
            stall(&*clients[0], &*clients[1]).await;
            // Connected, and never sends its CONNECT.
            let mute = TcpStream::connect(v4).unwrap();
            assert!(count("/proc/self/task") >= threads + 2);

            let begin = Instant::now();
            let ended = if round % 2 == 0 {
                broker.stop()
            } else {
                broker.kill()
            };
            ended.unwrap();
            assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
            only(threads, &format!("round {round}")).await;
            for address in [v4, v5] {
                let error = TcpStream::connect(address).unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
            }

            for client in &clients {
                // Also the one that had stopped reading.
                let _ = client.resume_reading();
                let error = loop {
                    match client.next(SOON).await {
                        Ok(_) => {}
                        Err(error) => break error,
                    }
                };
                assert!(error.to_string().starts_with("connection lost"), "{error}");
            }
            drop((clients, mute));
            tokio::time::timeout(SOON, async {
                while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .unwrap();
            assert_eq!(count("/proc/self/fd"), descriptors, "descriptors, round {round}");
        }

        let taken = TcpListener::bind(v5).unwrap();
        let error = Broker::start(v4, v5).join().unwrap_err();
        assert!(
            matches!(error, BrokerError::Server { listen, .. } if listen == v5),
            "{error}"
        );
        drop(taken);
        only(threads, "a broker that did not start").await;

        // rumqttd 0.20 cuts a topic after its first byte.
        let mut broker = Broker::start(v4, v5);
        listening(&[v4, v5]).await;
        let client = rumqttc_v4::connect(v4, ConnectOptions::new("x")).await.unwrap();
        client.subscribe("#", Qos::AtMostOnce).await.unwrap();
        PANIC_EXPECTED.store(true, Ordering::Relaxed);
        assert!(client.publish("é", b"x", Qos::AtLeastOnce).await.is_err());
        let error = broker.join().unwrap_err();
        assert!(matches!(error, BrokerError::RouterDied), "{error}");
        only(threads, "a broker that died").await;
    });
}

/// Waits for the threads of this process to be so many: the system lists one for a moment after it was joined.
async fn only(threads: usize, when: &str) {
    let begin = Instant::now();
    while count("/proc/self/task") != threads {
        let now = count("/proc/self/task");
        assert!(begin.elapsed() < SOON, "{now} threads and not {threads}: {when}");
        tokio::task::yield_now().await;
    }
}

async fn listening(addresses: &[SocketAddr]) {
    let begin = Instant::now();
    for address in addresses {
        while TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < SOON, "nothing listens at {address}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Makes the broker block in a write to `slow`.
async fn stall(slow: &dyn MqttClient, publisher: &dyn MqttClient) {
    slow.subscribe("#", Qos::AtMostOnce).await.unwrap();
    slow.stop_reading().unwrap();
    for _ in 0..200 {
        publisher
            .publish("flood", &[b'x'; 64 * 1024], Qos::AtLeastOnce)
            .await
            .unwrap();
    }
}
