//! What a record costs in a guest: packed in, keep-bitmask out, and the host's own work on both sides;
//! and what the same filter costs natively, in the same run.
//!
//! `cargo bench -p flumen-bench`; needs `plugins/build` first. The lines `ns a record` are the thing.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use flumen_host::WasmRef;
use flumen_host::probe::Probe;
use flumen_records::{NewRecord, write_record};
use flumen_sdk::filter;
use flumen_sdk::testing::{Harness, Record, pack};
use json_filter::JsonFilter;
use serde_json::json;

/// Name, plugin, configuration, and the value of the n-th record.
type Case = (&'static str, &'static str, serde_json::Value, fn(u32) -> String);

fn guest(name: &str) -> WasmRef {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/flumen");
    let bytes = std::fs::read(folder.join(format!("{name}.wasm")))
        .unwrap_or_else(|e| panic!("{name}: {e}: run plugins/build first"));
    WasmRef::new(bytes, name)
}

/// Records as plugins.md measured them: a key of 16 bytes, one header, a value of 100.
fn section(count: u32, value: impl Fn(u32) -> String) -> Bytes {
    let mut out = Vec::new();
    let headers: [(&[u8], Option<&[u8]>); 1] = [(b"trace", Some(b"0123456789"))];
    for i in 0..count {
        let (key, value) = (format!("key-{i:012}"), value(i));
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        let record = NewRecord { key, value, headers: &headers, ..NewRecord::default() };
        write_record(&mut out, i as i32, i64::from(i), &record);
    }
    out.into()
}

fn plain(i: u32) -> String {
    format!("{}{}", if i.is_multiple_of(2) { 'a' } else { 'b' }, "x".repeat(99))
}

fn order(i: u32) -> String {
    format!(
        r#"{{"order_id":{i},"customer":"c-{:06}","amount":{}.5,"city":"Basel","paid":true,"items":3}}"#,
        i % 5000,
        i % 200
    )
}

/// The same plugin without wasm between: the ratio to it is what the sandbox costs.
fn native(criterion: &mut Criterion, counts: &[u32]) -> f64 {
    let config = json!({ "where": "amount > 100" }).to_string();
    let mut harness = Harness::<JsonFilter>::new(&config).expect("a configuration");
    let mut group = criterion.benchmark_group("native");
    let mut ns = f64::MAX;
    for &count in counts {
        let header = |record: Record| record.header("trace", "0123456789");
        let records: Vec<Record> =
            (0..count).map(|i| header(Record::value(order(i)).key(format!("key-{i:012}")))).collect();
        let packed = pack("in", 0, &records);
        group.throughput(Throughput::Elements(count.into()));
        let (mut calls, begun) = (0_u64, Instant::now());
        group.bench_function(BenchmarkId::new("json-filter", count), |bencher| {
            bencher.iter(|| {
                calls += 1;
                filter::run(&mut harness.plugin, &packed.batch()).expect("an answer")
            });
        });
        let took = begun.elapsed().as_nanos() as f64 / (calls as f64 * f64::from(count));
        println!("json-filter natively, {count} a call: about {took:.0} ns a record");
        ns = ns.min(took);
    }
    group.finish();
    ns
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut criterion = Criterion::default().configure_from_args();
    let cases: [Case; 3] = [
        ("filter keeps all", "byte-filter", json!({}), plain),
        ("filter keeps half", "byte-filter", json!({ "parity": 1 }), plain),
        ("json-filter", "json-filter", json!({ "where": "amount > 100" }), order),
    ];
    let counts = [16, 256, 4096];
    let natively = native(&mut criterion, &counts);
    let mut group = criterion.benchmark_group("guest call");
    for (title, name, config, value) in cases {
        let mut probe = runtime.block_on(Probe::new(guest(name), config)).expect("the guest");
        for count in counts {
            let records = section(count, value);
            group.throughput(Throughput::Elements(count.into()));
            let (mut calls, begun) = (0_u64, Instant::now());
            group.bench_function(BenchmarkId::new(title, count), |bencher| {
                bencher.iter(|| {
                    calls += 1;
                    runtime.block_on(probe.call(records.clone(), count)).expect("an answer")
                });
            });
            let ns = begun.elapsed().as_nanos() as f64 / (calls as f64 * f64::from(count));
            println!("{title}, {count} a call: about {ns:.0} ns a record");
            if name == "json-filter" {
                println!("{title}, {count} a call: {:.2} times the native filter", ns / natively);
            }
        }
    }
    group.finish();
    criterion.final_summary();
}
