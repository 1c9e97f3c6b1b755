//! What a request through the gate costs beside the same request by the bare client library.
//!
//! `cargo bench --bench requests`. A guest sends 1,000 requests to a server on the loopback interface, one after another;
//! `hyper` alone does the same. Both open a connection for each request. What counts is the ratio, of medians of rounds that
//! alternate. Every request of a guest is recorded on the disk before it is sent, so that the time of a flush is part of
//! it: the same is measured with a home in memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench is not the product"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const REQUESTS: u32 = 1000;
const ROUNDS: usize = 5;

/// A server on a thread of its own that answers each connection once.
fn server() -> u16 {
    let (port, ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            port.send(listener.local_addr().unwrap().port()).unwrap();
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = [0; 2048];
                    let _ = stream.read(&mut head).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
                });
            }
        });
    });
    ready.recv().unwrap()
}

/// The bare client library: 1,000 requests, each on a connection of its own.
fn bare(port: u16) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    runtime.block_on(async {
        for _ in 0..REQUESTS {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            let driver = tokio::spawn(connection);
            let request = http::Request::get("/v1/x").header("host", "127.0.0.1").body(Empty::<Bytes>::new()).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
            driver.abort();
        }
    });
    begun.elapsed()
}

/// A bundle whose agent is told to call a tool that sends requests.
fn bundle(folder: &Path, port: u16) {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest-examples/target/wasm32-wasip2/components");
    for (name, guest) in [("agent", "agent-probe"), ("prober", "probe-http")] {
        let from = guests.join(format!("{guest}.wasm"));
        std::fs::copy(&from, folder.join(format!("{name}.wasm"))).expect("run `cargo xtask guests` first");
    }
    let manifest = "name = \"bench\"\nversion = \"0.1.0\"\n[agent]\ncomponent = \"agent.wasm\"\n[agent.requests]\n\
        tools = { names = [\"prober\"] }\n[tools.prober]\ncomponent = \"prober.wasm\"\n[tools.prober.requests]\n\
        http = { methods = [\"GET\"] }\n";
    std::fs::write(folder.join("bundle.toml"), manifest).unwrap();
    let grants = format!(
        "bundle = \"bench\"\n[limits]\neffects = 10000\n[agent]\ntools = [\"prober\"]\n[tools.prober]\nhttp = [{{ scheme = \"http\", \
         host = \"127.0.0.1\", port = {port}, methods = [\"GET\"], paths = [\"/v1/*\"], budget = {{ requests = 10000 }} }}]\n"
    );
    std::fs::write(folder.join("grants.toml"), grants).unwrap();
}

/// A guest's requests, so many.
fn guest(folder: &Path, home: &Path, port: u16, requests: u32) -> Duration {
    let ask = serde_json::json!({ "authority": format!("127.0.0.1:{port}"), "path": "/v1/x" });
    let arguments = serde_json::json!({ "ask": ask, "times": requests });
    let input = serde_json::json!({ "calls": [{ "tool": "prober.repeat", "arguments": arguments }] }).to_string();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ambit"));
    command.arg("--home").arg(home).args(["--format", "json", "run"]).arg(folder).arg("--policy").arg(folder);
    let begun = Instant::now();
    let output = command.args(["--input", &input]).output().unwrap();
    let took = begun.elapsed();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["output"][0]["ok"], requests, "{report}");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let port = server();
    let bundle_folder = tempfile::tempdir().unwrap();
    bundle(bundle_folder.path(), port);
    let on_disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let in_memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let homes = [("home on the disk", on_disk.path()), ("home in memory", in_memory.path())];
    // Compiles, and opens what is opened once.
    for (_, home) in &homes {
        guest(bundle_folder.path(), home, port, 1);
    }
    let mut bares = Vec::new();
    let mut guests = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        bares.push(bare(port));
        for ((_, home), times) in homes.iter().zip(&mut guests) {
            // What starting and ending cost is not what requests cost.
            let around = guest(bundle_folder.path(), home, port, 0);
            times.push(guest(bundle_folder.path(), home, port, REQUESTS).saturating_sub(around));
        }
    }
    let bare = median(bares);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(REQUESTS);
    println!("bare client         {:>8.1} µs a request", each(bare));
    for ((name, _), times) in homes.iter().zip(guests) {
        let time = median(times);
        println!(
            "{name:<18}  {:>8.1} µs a request, {:.2} times the bare client",
            each(time),
            time.as_secs_f64() / bare.as_secs_f64()
        );
    }
}
