//! What a person, a client or the world gets wrong: a clear word where it is seen, nothing lost, the
//! rest keeps running.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use flumen_harness::clients::{feed, kcat};
use flumen_harness::process::stdout;
use flumen_harness::{Flumen, wait};

/// `flumen run` must refuse to start; what it says on the way out.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    assert!(!output.status.success(), "it started:\n{}", String::from_utf8_lossy(&output.stderr));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_data_folder_in_use_is_named_and_the_first_broker_goes_on() {
    let flumen = Flumen::start("");
    let second = "[broker]\ndata.dir = \"data\"\nlisteners = [\"PLAINTEXT://127.0.0.1:0\"]\nhttp = \"\"\n";
    fs::write(flumen.path("second.toml"), second).expect("a second file");
    let (_, said) = refused(&mut flumen.command(&["run", "--config", "second.toml"]));
    assert!(said.contains("data") && said.contains("another process"), "{said}");
    feed("kcat", &mut kcat(&["-P", "-b", &flumen.bootstrap(), "-t", "t"]), b"still here\n");
}

#[test]
fn a_port_in_use_is_named() {
    let flumen = Flumen::start("");
    let second = format!(
        "[broker]\ndata.dir = \"other\"\nlisteners = [\"PLAINTEXT://{}\"]\nhttp = \"\"\n",
        flumen.bootstrap()
    );
    fs::write(flumen.path("second.toml"), second).expect("a second file");
    let (_, said) = refused(&mut flumen.command(&["run", "--config", "second.toml"]));
    assert!(said.contains(&flumen.bootstrap()) && said.contains("in use"), "{said}");
}

#[test]
fn a_data_folder_of_a_newer_version_is_left_alone() {
    let mut flumen = Flumen::start("");
    assert_eq!(flumen.stop(), Some(0));
    let meta = flumen.path("data/meta.properties");
    let newer = fs::read_to_string(&meta).expect("meta.properties").replace("version=1", "version=9");
    fs::write(&meta, &newer).expect("a newer one");
    let (_, said) = refused(&mut flumen.command(&["run", "--config", "flumen.toml"]));
    assert!(said.contains("meta.properties") && said.contains('9'), "{said}");
    assert_eq!(fs::read_to_string(&meta).expect("still there"), newer);
}

#[test]
fn an_admin_api_that_others_reach_needs_a_token() {
    let flumen = Flumen::prepare("");
    let text = format!(
        "[broker]\ndata.dir = \"data\"\nlisteners = [\"PLAINTEXT://{}\"]\nhttp = \"0.0.0.0:8090\"\n",
        flumen.bootstrap()
    );
    fs::write(flumen.config(), text).expect("the file");
    let (code, said) = refused(&mut flumen.command(&["run", "--config", "flumen.toml"]));
    assert!(said.contains("token"), "{said}");
    assert_eq!(code, Some(3), "an invalid file has its own exit code");
}

#[test]
fn every_mistake_in_the_file_is_told_at_once_with_its_line() {
    let flumen = Flumen::prepare("");
    let text = "[broker]\ndata.dri = \"x\"\n[topics.a]\npartitions = 0\n[sinks.s]\nplugin = \"db-sink\"\nfrm = [\"a\"]\n";
    fs::write(flumen.config(), text).expect("the file");
    let (_, said) = refused(&mut flumen.command(&["check", "--config", "flumen.toml"]));
    for needle in ["flumen.toml:2", "data.dir", "flumen.toml:4", "flumen.toml:7", "from"] {
        assert!(said.contains(needle), "{needle} is missing in:\n{said}");
    }
}

#[test]
fn a_plugin_that_is_none_is_refused_and_says_what_it_is() {
    for (bytes, word) in [(&b"#!/bin/sh\n"[..], "component"), (b"\0asm\x01\0\0\0", "component")] {
        let flumen = Flumen::prepare("[transforms.t]\nplugin = \"./x.wasm\"\nfrom = \"a\"\nto = \"b\"\n");
        fs::write(flumen.path("x.wasm"), bytes).expect("a file");
        let (_, said) = refused(&mut flumen.command(&["check", "--config", "flumen.toml"]));
        assert!(said.contains("x.wasm") && said.contains(word), "{said}");
    }
}

#[test]
fn a_plugin_that_wants_more_than_it_is_granted_is_told_which_line_to_add() {
    let flumen = Flumen::prepare(
        "[sources.s]\nplugin = \"file-source\"\ntopic = \"t\"\nconfig = { paths = [\"inbox/*\"], format = \"lines\" }\n",
    );
    let (_, said) = refused(&mut flumen.command(&["check", "--config", "flumen.toml"]));
    assert!(said.contains("grant.files"), "{said}");
}

#[test]
fn hostile_frames_close_their_connection_and_nothing_else() {
    let flumen = Flumen::start("");
    let huge_count = {
        // Metadata, version 1, with 0x7fffffff topics.
        let mut frame = vec![0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff];
        frame.extend_from_slice(&0x7fff_ffff_u32.to_be_bytes());
        frame
    };
    let mut frames: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0xff; 40], huge_count];
    frames.extend((0..200).map(|i: u32| {
        let mut frame = (i as i16 % 70).to_be_bytes().to_vec();
        frame.extend((0..i % 50).map(|j| (i.wrapping_mul(2_654_435_761).wrapping_add(j * 97) >> 5) as u8));
        frame
    }));
    for frame in &frames {
        let mut socket = TcpStream::connect(flumen.bootstrap()).expect("the broker takes connections");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
        let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(frame);
        socket.write_all(&bytes).ok();
        let _whatever_comes = socket.read(&mut [0; 1024]);
    }
    // A length that no buffer should be made for.
    let mut socket = TcpStream::connect(flumen.bootstrap()).expect("still there");
    socket.write_all(&0x7fff_ffff_u32.to_be_bytes()).expect("sent");
    socket.set_read_timeout(Some(wait::PATIENCE)).expect("a time-out");
    assert_eq!(socket.read(&mut [0; 8]).unwrap_or(0), 0, "the connection is closed");

    feed("kcat", &mut kcat(&["-P", "-b", &flumen.bootstrap(), "-t", "t"]), b"fine\n");
    let said = stdout(
        "kcat",
        &mut kcat(&["-C", "-q", "-e", "-b", &flumen.bootstrap(), "-t", "t", "-o", "beginning"]),
    );
    assert_eq!(said, "fine\n");
}

#[test]
fn a_line_of_50_mib_and_a_file_that_vanishes_do_not_stop_the_source() {
    let flumen = Flumen::prepare(
        r#"
[topics.lines]
partitions = 1
[sources.tail]
plugin = "file-source"
topic = "lines"
config = { paths = ["inbox/*.txt"], format = "lines", on_long_line = "skip" }
grant.files = { "inbox" = "read" }
"#,
    );
    fs::create_dir_all(flumen.path("inbox")).expect("the inbox");
    let mut text = b"first\n".to_vec();
    text.extend(std::iter::repeat_n(b'x', 50 << 20));
    text.extend_from_slice(b"\nlast\n");
    fs::write(flumen.path("inbox/a.txt"), text).expect("a long line");
    fs::write(flumen.path("inbox/b.txt"), "short lived\n").expect("a file to vanish");
    let mut flumen = flumen;
    flumen.up();
    fs::remove_file(flumen.path("inbox/b.txt")).expect("it vanishes");
    fs::write(flumen.path("inbox/c.txt"), "later\n").expect("another");
    let bootstrap = flumen.bootstrap();
    wait::until("the good lines", || {
        let read = ["-C", "-q", "-e", "-b", &bootstrap, "-t", "lines", "-o", "beginning"];
        let said = kcat(&read).output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let all = ["first", "last", "later"].iter().all(|w| said.lines().any(|l| l == *w));
        if all { Ok(()) } else { Err(format!("{said}, {:?}", flumen.plugin("tail"))) }
    });
}

#[test]
fn a_torn_segment_is_cut_at_the_last_whole_batch() {
    let mut flumen = Flumen::start("");
    for i in 0..20 {
        feed(
            "kcat",
            &mut kcat(&["-P", "-b", &flumen.bootstrap(), "-t", "torn"]),
            format!("line {i}\n").as_bytes(),
        );
    }
    flumen.kill();
    let log = flumen.path("data/torn-0/00000000000000000000.log");
    let mut bytes = fs::read(&log).expect("the segment");
    bytes.truncate(bytes.len() - 5);
    fs::write(&log, &bytes).expect("torn");
    flumen.up();
    let said = stdout(
        "kcat",
        &mut kcat(&["-C", "-q", "-e", "-b", &flumen.bootstrap(), "-t", "torn", "-o", "beginning"]),
    );
    let expected: String = (0..19).map(|i| format!("line {i}\n")).collect();
    assert_eq!(said, expected);
}

#[test]
fn a_second_signal_stops_at_once_and_nothing_acknowledged_is_lost() {
    let mut flumen = Flumen::start("");
    feed("kcat", &mut kcat(&["-P", "-b", &flumen.bootstrap(), "-t", "t", "-X", "acks=all"]), b"one\ntwo\n");
    flumen.process().signal("TERM");
    flumen.process().signal("TERM");
    flumen.process().wait_within(wait::PATIENCE);
    flumen.up();
    let said = stdout(
        "kcat",
        &mut kcat(&["-C", "-q", "-e", "-b", &flumen.bootstrap(), "-t", "t", "-o", "beginning"]),
    );
    assert_eq!(said, "one\ntwo\n");
    assert_eq!(flumen.stop(), Some(0));
}
