//! docs/reference/config.md: every key, from the same lines that read it.

use crate::acl::AclRule;
use crate::broker::Broker;
use crate::database::Database;
use crate::plugin::{Settings, SinkLinks, SourceLinks, TransformLinks};
use crate::quota::QuotaRule;
use crate::section::Section;
use crate::show::inline;
use crate::topic::Topic;
use crate::user::User;

const INTRO: &str = "\
# flumen.toml

Every key. This page is generated from the types that read the file
(`UPDATE_DOCS=1 cargo test -p flumen-config`), as is [flumen.schema.json](flumen.schema.json), with which
editors complete the file: put `#:schema PATH/flumen.schema.json` into its first line.

- A key with dots is written dotted (`data.dir = \"data\"`), nested (`data = { dir = \"data\" }`) or quoted
  (`\"data.dir\" = \"data\"`); it is the same key.
- **time**: milliseconds as a number, or a text with `ms`, `s`, `m`, `h`, `d`: `\"7d\"`. **size**: bytes as a number,
  or a text with `KiB`, `MiB`, `GiB`, `TiB` (1024) or `kB`, `MB`, `GB`, `TB` (1000): `\"64MiB\"`. -1 is \"no limit\"
  where Kafka has it so.
- **path**: relative to the file that it stands in.
- **secret**: a text, `${env:NAME}` or `${file:PATH}`; `$${` for the characters `${`. Never printed, never given to a
  plugin.
- `include = [\"conf.d/*.toml\"]` adds files with the same tables. The same key in two files is an error.
- `FLUMEN_<TABLE>_<KEY>` in the environment sets a key over the file: capitals, and `_` for everything that is no letter
  or digit. `FLUMEN_BROKER_DATA_DIR` sets `broker.data.dir`, `FLUMEN_SINKS_ORDERS_DB_LIMITS_MEMORY` sets
  `limits.memory` of `[sinks.orders-db]`, `FLUMEN_SINKS_ORDERS_DB_CONFIG_TABLE` its `config.table` if the file has it.
  Lists are written with commas. Topics, databases and plugins must be in the file.
- `flumen check` tells everything that is wrong, each with file and line; `flumen config show` prints every key with
  where its value comes from; `flumen config diff` tells what a reload would do.
- `flumen run` reads the files again when they change, and at SIGHUP.
";

/// The page's text.
pub fn page() -> String {
    let mut page = INTRO.to_string();
    table::<Broker>(
        &mut page,
        "[broker]",
        "Kafka's broker keys under Kafka's names. All of them need a restart to change.",
    );
    table::<Topic>(
        &mut page,
        "[topics.NAME]",
        "A topic that is created, and kept to these settings. What is unset follows the broker's default for it. A topic \
         that is named by a plugin or a client needs no table. Taking a topic out of the file, or lowering its partitions, \
         deletes nothing: it is reported, and done by `flumen topic`, by name.",
    );
    table::<Database>(
        &mut page,
        "[databases.NAME]",
        "Databases that sinks may be granted. The host connects; a plugin knows the name and nothing else.",
    );
    table::<User>(
        &mut page,
        "[users.NAME]",
        "Who clients of SASL listeners may be: `[users.alice]`, or `[users.\"alice@example.com\"]`. A change holds at once, for \
         whoever connects from then on. Users may also be made through the API (`kafka-configs.sh`); one that is declared \
         here is changed here alone.",
    );
    table::<AclRule>(
        &mut page,
        "[[acls]]",
        "Rules for `authorizer.class.name`, in the words of `kafka-acls.sh`; once for each. One table stands for each of its \
         principals, operations, hosts and resources with each of the others. A change holds at once. Rules may also be made \
         through the API; one that is declared here is deleted here alone.",
    );
    table::<QuotaRule>(
        &mut page,
        "[[quotas]]",
        "How much a user, a client id, both, or an address may use, in the words of `kafka-configs.sh`; once for each. Of several \
         that fit, the most specific holds, by Kafka's order: user and client id before the user, the user before the client id, a \
         name before `<default>`. Who uses more is told to wait (`throttle_time_ms`), and is not read meanwhile. A change holds at \
         once. Quotas may also be set through the API; those of whom is declared here are changed here alone.",
    );
    table::<SourceLinks>(
        &mut page,
        "[sources.NAME]",
        "From the outside world into topics. Beside the keys of every plugin (below):",
    );
    table::<TransformLinks>(
        &mut page,
        "[transforms.NAME]",
        "From topics to topics. Beside the keys of every plugin (below):",
    );
    table::<SinkLinks>(
        &mut page,
        "[sinks.NAME]",
        "From topics to the outside world. Beside the keys of every plugin (below):",
    );
    table::<Settings>(
        &mut page,
        "Keys of every source, transform and sink",
        "No two of them have one name: the consumer group `flumen.NAME` and the transactional id `flumen.NAME.TASK` are made \
         of it, and a plugin that is given another name starts anew.",
    );
    page
}

fn table<S: Section>(page: &mut String, title: &str, text: &str) {
    page.push_str(&format!(
        "\n## {title}\n\n{text}\n\n| key | value | default | |\n| --- | --- | --- | --- |\n"
    ));
    for (key, default) in S::KEYS.iter().zip(S::defaults()) {
        let default = match (&default, key.required) {
            (_, true) => "required".into(),
            (serde_json::Value::Null, _) => String::new(),
            (default, _) => format!("`{}`", inline(default)),
        };
        let doc: Vec<&str> = key.doc.lines().map(str::trim).collect();
        page.push_str(&format!("| `{}` | {} | {default} | {} |\n", key.name, key.kind, doc.join(" ")));
    }
}
