//! docs/reference/cli.md: every command and flag, written from the same definitions that parse them.

use clap::{Arg, Command, CommandFactory};

use super::Cli;

/// The whole page.
fn page() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut page = String::from(
        "# Commands\n\n\
         Written from the program itself: `UPDATE_DOCS=1 cargo test -p flumen reference` renews it. Exit codes are in\n\
         [exit-codes.md](exit-codes.md).\n",
    );
    let shared: Vec<&Arg> = cli.get_arguments().filter(|arg| arg.is_global_set() && is_shown(arg)).collect();
    page.push_str("\nEvery command takes these:\n\n");
    arguments(&shared, &mut page);
    let shared: Vec<&str> = shared.iter().map(|arg| arg.get_id().as_str()).collect();
    for command in cli.get_subcommands() {
        section(command, "flumen", &shared, &mut page);
    }
    page
}

fn section(command: &Command, parent: &str, shared: &[&str], page: &mut String) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let name = format!("{parent} {}", command.get_name());
    page.push_str(&format!("\n## {name}\n\n"));
    if let Some(about) = command.get_about() {
        page.push_str(&format!("{about}\n\n"));
    }
    let usage = command.clone().render_usage().to_string();
    page.push_str(&format!("```text\n{}\n```\n", usage.trim_start_matches("Usage: ").trim()));
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| is_shown(arg) && !shared.contains(&arg.get_id().as_str()))
        .collect();
    if !own.is_empty() {
        page.push('\n');
        arguments(&own, page);
    }
    // What a command shares with those below it is said once, there where it begins.
    let below: Vec<&str> = shared
        .iter()
        .copied()
        .chain(own.iter().filter(|arg| arg.is_global_set()).map(|arg| arg.get_id().as_str()))
        .collect();
    for sub in command.get_subcommands() {
        section(sub, &name, &below, page);
    }
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

fn arguments(arguments: &[&Arg], page: &mut String) {
    page.push_str("| argument | |\n| --- | --- |\n");
    for arg in arguments {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        page.push_str(&format!("| `{}` | {}{} |\n", cell(&spelling(arg)), cell(&help), cell(&facts(arg))));
    }
}

/// How it is written: `-n, --max <COUNT>`, or `<TOPIC>`.
fn spelling(arg: &Arg) -> String {
    let values: Vec<String> =
        arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect();
    let values = if arg.get_action().takes_values() { values.join(" ") } else { String::new() };
    let flags =
        [arg.get_short().map(|short| format!("-{short}")), arg.get_long().map(|long| format!("--{long}"))];
    let flags = flags.into_iter().flatten().collect::<Vec<_>>().join(", ");
    format!("{flags} {values}").trim().to_string()
}

/// What it is without it, and what else says it.
fn facts(arg: &Arg) -> String {
    let mut facts = String::new();
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() && arg.get_action().takes_values() {
        facts.push_str(&format!("; default `{}`", defaults.join(",")));
    }
    if let Some(variable) = arg.get_env() {
        facts.push_str(&format!("; variable `{}`", variable.to_string_lossy()));
    }
    let possible: Vec<_> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if arg.get_action().takes_values() && !possible.is_empty() {
        facts.push_str(&format!("; one of {}", possible.join(", ")));
    }
    facts
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[test]
fn reference_page_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/reference/cli.md is stale; renew it: UPDATE_DOCS=1 cargo test -p flumen reference"
    );
}
