//! Hot reload under load: 200 changes of the file and of a plugin's `.wasm`, and every record arrives
//! exactly once and in order.

use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use flumen_harness::{Flumen, sqlite, tools, wait};

fn pipeline(round: usize) -> String {
    format!(
        r#"
[topics.lines]
partitions = 1
[topics.marked]
partitions = 1

[databases.out]
url = "sqlite:out.db"

[sources.tail]
plugin = "file-source"
topic = "lines"
config = {{ paths = ["inbox/*.jsonl"], format = "jsonl" }}
grant.files = {{ "inbox" = "read" }}

[transforms.mark]
plugin = "./json-map.wasm"
from = "lines"
to = "marked"
config = {{ set = {{ round = {round} }} }}

[sinks.store]
plugin = "db-sink"
from = ["marked"]
config = {{ database = "out", table = "numbers", mode = "insert" }}
grant.databases = ["out"]
"#
    )
}

/// The same component under another hash: a custom section of our own at the end.
fn component(round: usize) -> Vec<u8> {
    let mut wasm = fs::read(tools::guest("json-map")).expect("the guest");
    let name = b"flumen-test";
    let body = format!("round {round:06}");
    wasm.push(0);
    wasm.push((1 + name.len() + body.len()) as u8);
    wasm.push(name.len() as u8);
    wasm.extend_from_slice(name);
    wasm.extend_from_slice(body.as_bytes());
    wasm
}

fn swaps(flumen: &Flumen) -> Result<u64, String> {
    let plugin = flumen.plugin("mark")?;
    plugin["swaps"].as_u64().ok_or_else(|| format!("no count of swaps in {plugin}"))
}

#[test]
fn two_hundred_reloads_lose_nothing_repeat_nothing_and_keep_the_order() {
    let rounds: usize = std::env::var("FLUMEN_RELOAD_ROUNDS").map_or(200, |r| r.parse().expect("a number"));
    let mut flumen = Flumen::prepare(&pipeline(0));
    fs::write(flumen.path("json-map.wasm"), component(0)).expect("the plugin");
    fs::create_dir_all(flumen.path("inbox")).expect("the inbox");
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = {
        let (stop, written, path) = (stop.clone(), written.clone(), flumen.path("inbox/numbers.jsonl"));
        std::thread::spawn(move || {
            let mut file = fs::File::create(path).expect("the input");
            while !stop.load(Ordering::Relaxed) {
                let n = written.load(Ordering::Relaxed);
                let lines: String = (n..n + 50).map(|n| format!("{{\"n\":{n}}}\n")).collect();
                file.write_all(lines.as_bytes()).expect("the input takes it");
                written.store(n + 50, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(5));
            }
        })
    };
    flumen.up();
    wait::until("the pipeline to run", || swaps(&flumen).map(drop));

    for round in 1..=rounds {
        let before = swaps(&flumen).expect("the count of swaps");
        match round % 4 {
            // A new .wasm by rename, as a build does it.
            0 => {
                fs::write(flumen.path("json-map.wasm.tmp"), component(round)).expect("the new plugin");
                fs::rename(flumen.path("json-map.wasm.tmp"), flumen.path("json-map.wasm")).expect("in place");
            }
            // A new .wasm in two halves, as a copy does it.
            1 => {
                let wasm = component(round);
                let mut file = fs::File::create(flumen.path("json-map.wasm")).expect("the plugin's file");
                let (head, rest) = wasm.split_at(wasm.len() / 2);
                file.write_all(head).and_then(|()| file.sync_all()).expect("half of it");
                file.write_all(rest).expect("the other half");
            }
            // The file renamed into place, as editors do; or twice at once.
            2 => flumen.write_config(&pipeline(round)),
            _ => {
                flumen.write_config(&pipeline(round * 1000));
                flumen.write_config(&pipeline(round));
            }
        }
        wait::until("the swap", || match swaps(&flumen)? {
            now if now > before => Ok(()),
            now => Err(format!("round {round}: still {now}: {}", flumen.plugin("mark")?)),
        });
        // The change is live: records come out as the new configuration makes them.
        if round % 8 == 2 {
            let marked = format!("select count(*) from numbers where round = {round}");
            wait::until("a record of the new configuration", || {
                match sqlite::number(&flumen.path("out.db"), &marked)? {
                    0 => Err(format!("round {round}: {}", flumen.plugin("mark")?)),
                    _ => Ok(()),
                }
            });
        }
    }

    // A broken one is refused with the reason; the old one goes on.
    fs::write(flumen.path("json-map.wasm"), b"\0asm but not really").expect("a broken plugin");
    wait::until("the refusal to show", || {
        let configuration = flumen.status()?["configuration"].clone();
        if configuration["refused"]["problems"][0].is_string() {
            Ok(())
        } else {
            Err(configuration.to_string())
        }
    });
    let reached = sqlite::number(&flumen.path("out.db"), "select count(*) from numbers").unwrap_or(0);
    wait::until("the old one to go on", || {
        match sqlite::number(&flumen.path("out.db"), "select count(*) from numbers")? {
            now if now > reached => Ok(()),
            now => Err(format!("{now} rows: {}", flumen.plugin("mark")?)),
        }
    });

    stop.store(true, Ordering::Relaxed);
    writer.join().expect("the writer");
    let written = written.load(Ordering::Relaxed) as i64;
    let ask = |query: &str| sqlite::number(&flumen.path("out.db"), query);
    wait::until("everything to arrive", || match ask("select count(*) from numbers")? {
        now if now >= written => Ok(()),
        now => Err(format!("{now} of {written}")),
    });
    assert_eq!(ask("select count(*) from numbers"), Ok(written), "rows against lines");
    assert_eq!(ask("select count(distinct n) from numbers"), Ok(written), "a record came twice");
    let disorder = "select count(*) from (select n, lag(n) over (order by rowid) as before from numbers) where n < before";
    assert_eq!(ask(disorder), Ok(0), "records out of order");
}
