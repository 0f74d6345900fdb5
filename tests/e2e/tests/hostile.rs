//! A guest that does everything a guest should not: the broker and its neighbours go on.

use flumen_harness::clients::{feed, kcat};
use flumen_harness::process::stdout;
use flumen_harness::{Flumen, tools, wait};

/// What the hostile guest knows to do; tests/guests/hostile says what each is.
const DEEDS: [&str; 10] = [
    "loop",
    "allocate",
    "trap",
    "lie-count-low",
    "lie-count-high",
    "lie-length",
    "lie-output",
    "recurse",
    "huge-output",
    "garbage",
];

#[test]
fn the_broker_and_a_neighbour_go_on_whatever_a_guest_does() {
    let mut pipelines = String::from("[topics.in]\npartitions = 1\n");
    for deed in DEEDS {
        pipelines.push_str(&format!(
            "[transforms.{deed}]\nplugin = \"{}\"\nfrom = \"in\"\nto = \"{deed}-out\"\nconfig = {{ deed = \"{deed}\" }}\n\
             limits = {{ memory = \"32MiB\", call = \"500ms\", output = \"4MiB\" }}\nerrors.policy = \"retry\"\n",
            tools::guest("hostile").display()
        ));
    }
    pipelines.push_str(
        "[transforms.neighbour]\nplugin = \"json-filter\"\nfrom = \"in\"\nto = \"kept\"\nconfig = { where = \"n >= 0\" }\n",
    );
    let flumen = Flumen::start(&pipelines);
    let broker = flumen.bootstrap();
    let lines: String = (0..100).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    feed("kcat", &mut kcat(&["-P", "-b", &broker, "-t", "in"]), lines.as_bytes());

    wait::until("every hostile guest to be in trouble, with a reason", || {
        for deed in DEEDS {
            let plugin = flumen.plugin(deed)?;
            let troubled = ["retrying", "failing"].contains(&plugin["state"].as_str().unwrap_or_default());
            if !troubled || plugin["reason"].as_str().is_none_or(str::is_empty) {
                return Err(plugin.to_string());
            }
        }
        Ok(())
    });
    let read = |topic: &str| {
        stdout(
            "kcat",
            &mut kcat(&[
                "-C",
                "-q",
                "-e",
                "-b",
                &broker,
                "-t",
                topic,
                "-o",
                "beginning",
                "-X",
                "isolation.level=read_committed",
            ]),
        )
    };
    wait::until("the neighbour to have passed all", || match read("kept").lines().count() {
        100 => Ok(()),
        n => Err(format!("{n}: {:?}", flumen.plugin("neighbour"))),
    });
    for deed in DEEDS {
        let listed = stdout("kcat -L", &mut kcat(&["-L", "-b", &broker]));
        if listed.contains(&format!("{deed}-out")) {
            assert_eq!(read(&format!("{deed}-out")), "", "{deed} got records through");
        }
    }
    assert_eq!(flumen.plugin("neighbour").expect("its status")["state"], "running");
}

#[test]
fn a_poison_record_is_parked_and_the_rest_goes_through() {
    let flumen = Flumen::start(&format!(
        "[topics.in]\npartitions = 1\n[transforms.poison]\nplugin = \"{}\"\nfrom = \"in\"\nto = \"out\"\n\
         config = {{ deed = \"trap-on\", word = \"poison\" }}\nerrors.policy = \"dead-letter\"\nerrors.topic = \"parked\"\n",
        tools::guest("hostile").display()
    ));
    let broker = flumen.bootstrap();
    let lines: String =
        (0..200).map(|n| if n == 77 { "poison\n".into() } else { format!("good {n}\n") }).collect();
    feed("kcat", &mut kcat(&["-P", "-b", &broker, "-t", "in"]), lines.as_bytes());
    let read = |topic: &str, format: &str| {
        let args = [
            "-C",
            "-q",
            "-e",
            "-b",
            &broker,
            "-t",
            topic,
            "-o",
            "beginning",
            "-X",
            "isolation.level=read_committed",
            "-f",
            format,
        ];
        let output = kcat(&args).output().map_err(|e| e.to_string())?;
        Ok::<_, String>(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    wait::until("199 good records", || match read("out", "%s\n")?.lines().count() {
        199 => Ok(()),
        n => Err(format!("{n}: {:?}", flumen.plugin("poison"))),
    });
    let parked = read("parked", "%s %h\n").expect("the parked record");
    assert_eq!(parked.lines().count(), 1, "{parked}");
    assert!(parked.starts_with("poison ") && parked.contains("flumen.error.offset=77"), "{parked}");
    let listed = flumen.cli(&["dlq", "show", "parked", "--json"]);
    assert!(listed.contains("77"), "{listed}");
}
