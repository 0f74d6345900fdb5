//! Clients from before record batches: pykafka as published, and librdkafka as it speaks to old brokers.

use flumen_harness::Flumen;
use flumen_harness::clients::{feed, kcat, python};
use flumen_harness::process::stdout;

const PRODUCE: &str = include_str!("../scripts/produce.py");
const CONSUME: &str = include_str!("../scripts/consume.py");
const OLD_CLIENT: &str = include_str!("../scripts/old_client.py");
/// All that there was.
const CODECS: [&str; 4] = ["none", "gzip", "snappy", "lz4"];
/// With magic 0 and without ApiVersions; with magic 1 and ApiVersions.
const RELEASES: [&str; 2] = ["0.9.0", "0.10.2"];

/// Keys and values as a consumer printed them.
fn records(said: &str) -> Vec<(String, String)> {
    let text =
        |record: &serde_json::Value, field: &str| record[field].as_str().unwrap_or_default().to_owned();
    let read = |line| serde_json::from_str(line).expect("a JSON line");
    said.lines().map(read).map(|record| (text(&record, "key"), text(&record, "value"))).collect()
}

fn numbered(client: &str, numbers: std::ops::Range<usize>) -> Vec<(String, String)> {
    numbers.map(|n| (format!("k{n}"), format!("{client}-{n}"))).collect()
}

#[test]
fn pykafka_writes_and_a_modern_client_reads() {
    let flumen = Flumen::start("");
    let broker = flumen.bootstrap();
    for release in RELEASES {
        for codec in CODECS {
            let topic = format!("from-{release}-{codec}");
            let said = python("pykafka", OLD_CLIENT, &[release, &broker, &topic, "produce", "200", codec]);
            assert_eq!(said, "produced up to 200\n", "{topic}");
            let said = python("confluent", CONSUME, &["confluent", &broker, &topic, "200"]);
            assert_eq!(records(&said), numbered("pykafka", 0..200), "{topic}");
        }
    }
}

#[test]
fn a_modern_client_writes_and_pykafka_reads_on_where_its_group_was() {
    let flumen = Flumen::start("");
    let broker = flumen.bootstrap();
    for codec in CODECS {
        let topic = format!("to-{codec}");
        python("confluent", PRODUCE, &["confluent", &broker, &topic, "200", codec]);
        for release in RELEASES {
            let group = format!("readers-{release}");
            let read = |how, count| {
                records(&python("pykafka", OLD_CLIENT, &[release, &broker, &topic, how, count, &group]))
            };
            assert_eq!(read("simple", "50"), numbered("confluent", 0..50), "{topic}, {release}");
            assert_eq!(read("balanced", "70"), numbered("confluent", 50..120), "{topic}, {release}");
            assert_eq!(read("simple", "80"), numbered("confluent", 120..200), "{topic}, {release}");
        }
    }
}

#[test]
fn librdkafka_that_takes_the_broker_for_an_old_one_writes_and_reads() {
    let flumen = Flumen::start("");
    let broker = flumen.bootstrap();
    let lines: String = (0..100).map(|n| format!("k{n}:v{n}\n")).collect();
    for release in ["0.8.2", "0.9.0", "0.10.0"] {
        let fallback = format!("broker.version.fallback={release}");
        let old = ["-X", "api.version.request=false", "-X", &fallback];
        for codec in CODECS {
            let topic = format!("kcat-{release}-{codec}");
            let produce = ["-P", "-b", &broker, "-t", &topic, "-z", codec, "-K", ":"];
            feed("kcat -P", &mut kcat(&[&produce[..], &old].concat()), lines.as_bytes());
            let consume = ["-C", "-q", "-e", "-b", &broker, "-t", &topic, "-o", "beginning", "-f", "%k:%s\n"];
            for options in [&old[..], &[]] {
                let said = stdout("kcat -C", &mut kcat(&[&consume[..], options].concat()));
                assert_eq!(said, lines, "{topic} {options:?}");
            }
        }
    }
}
