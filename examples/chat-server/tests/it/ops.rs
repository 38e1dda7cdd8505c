//! What is for people who run the server: the dashboard, the alerts, the README and the compose file say nothing that the
//! program does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use chat_core::service::ChatSettings;
use chat_server::config::HELP;
use chat_server::metrics::{ALL, Kind, Metric};
use libtest_mimic::{Completion, Failed, Trial};
use serde_json::Value;

use super::node::find;
use super::support::run::{ignorable, trial, without};
use super::support::server::folder;

/// Every trial of this topic.
pub(crate) fn trials() -> Vec<Trial> {
    let here = module_path!();
    vec![
        trial(here, "dashboard_and_alerts_ask_for_what_is_exported", queries_are_sound),
        trial(here, "every_alert_says_what_it_means_and_what_to_do", alerts_are_whole),
        trial(here, "the_dashboard_is_whole", dashboard_is_whole),
        trial(here, "the_readme_names_every_option_and_no_other", readme_is_in_step),
        trial(here, "the_compose_file_names_what_is_there", compose_is_in_step),
        ignorable(here, "the_alerts_do_what_their_tests_say", alerts_are_tested),
    ]
}

fn read(path: &str) -> String {
    let path = folder(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("ops/grafana/chat.json")).expect("JSON")
}

/// Every query, with where it is.
fn queries() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let dashboard = dashboard();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((panel["title"].to_string(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for mark in dashboard["annotations"]["list"].as_array().unwrap() {
        found.push((mark["name"].to_string(), mark["expr"].as_str().unwrap().to_owned()));
    }
    assert!(found.len() > 40, "{} queries", found.len());
    found.extend(alerts().into_iter().map(|(name, fields)| (name, fields["expr"].clone())));
    found
}

/// The fields of every alert, by its name: each stands on a line of its own.
fn alerts() -> BTreeMap<String, BTreeMap<String, String>> {
    let text = read("ops/alerts.yml");
    let alerts = text.split("- alert: ").skip(1).map(|alert| {
        let (name, rest) = alert.split_once('\n').unwrap();
        let fields = rest.lines().filter_map(|line| line.trim().split_once(": "));
        (
            name.to_owned(),
            fields.map(|(field, value)| (field.to_owned(), value.trim_matches('"').to_owned())).collect(),
        )
    });
    alerts.collect()
}

/// The metric of this name, or of this part of a histogram.
fn metric(name: &str) -> Option<&'static Metric> {
    let parts = ["_bucket", "_sum", "_count"];
    ALL.iter().find(|metric| match metric.kind {
        Kind::Histogram => parts.iter().any(|part| name.strip_suffix(part) == Some(metric.name)),
        _ => metric.name == name,
    })
}

/// The words of a query, and what stands before and after each.
fn words(query: &str) -> Vec<(&str, &str, &str)> {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let mut found = Vec::new();
    let mut rest = 0;
    while let Some(start) = query[rest..].find(is_word).map(|at| rest + at) {
        let end = query[start..].find(|char| !is_word(char)).map_or(query.len(), |at| start + at);
        found.push((&query[..start], &query[start..end], &query[end..]));
        rest = end;
    }
    found
}

async fn queries_are_sound() {
    for (place, query) in queries() {
        let about = format!("{place}: {query}");
        let named: Vec<&Metric> = words(&query)
            .into_iter()
            .filter(|(_, word, _)| word.starts_with("chat_"))
            .map(|(before, word, _)| {
                let metric = metric(word).unwrap_or_else(|| panic!("there is no {word}. {about}"));
                let rises = before.ends_with("rate(") || before.ends_with("increase(");
                assert_eq!(rises, metric.kind != Kind::Gauge, "{word} is a {:?}. {about}", metric.kind);
                metric
            })
            .collect();
        assert!(!named.is_empty() || query.starts_with("up{") || query.starts_with("sum(up{"), "{about}");
        let mut labels: BTreeSet<&str> = named.iter().flat_map(|metric| metric.labels).copied().collect();
        labels.extend(["instance", "job", "le"]);
        let selected = words(&query).into_iter().filter_map(|(_, word, after)| {
            (after.starts_with("=\"") || after.starts_with("=~\"") || after.starts_with("!=\""))
                .then_some(word)
        });
        let grouped =
            query.split("by (").skip(1).flat_map(|part| part.split_once(')').unwrap().0.split(", "));
        for label in selected.chain(grouped) {
            assert!(labels.contains(label), "there is no label {label}. {about}");
        }
    }
}

async fn alerts_are_whole() {
    let alerts = alerts();
    let wanted = [
        "ChatServerDown",
        "ChatDown",
        "ChatDegraded",
        "ChatRelayFailing",
        "ChatDeadLetters",
        "ChatManyDeadLetters",
        "ChatGroupBehind",
        "ChatRedisDisconnected",
        "ChatBreakerOpen",
        "ChatSocketsCut",
        "ChatMongoSlow",
    ];
    for name in wanted {
        assert!(alerts.contains_key(name), "{name} is missing");
    }
    let told = read("ops/README.md");
    for (name, fields) in &alerts {
        let text =
            |field: &str| fields.get(field).unwrap_or_else(|| panic!("{name} has no {field}")).as_str();
        assert!(["warning", "critical"].contains(&text("severity")), "{name}");
        for field in ["summary", "meaning", "action"] {
            assert!(text(field).len() > 15, "{name}: {field}");
        }
        assert!(told.contains(&format!("`{name}`")), "ops/README.md does not tell of {name}");
        // What a summary tells is what is left after the query.
        for (_, label, _) in
            words(text("summary")).into_iter().filter(|(before, ..)| before.ends_with("$labels."))
        {
            let query = text("expr");
            let kept =
                query.split("by (").skip(1).flat_map(|part| part.split_once(')').unwrap().0.split(", "));
            assert!(
                query.starts_with("up{") || kept.into_iter().any(|kept| kept == label),
                "{name}: {label}"
            );
        }
    }
    // The seeds' thresholds of dead letters.
    assert!(alerts["ChatDeadLetters"]["expr"].ends_with("> 10"));
    assert!(alerts["ChatManyDeadLetters"]["expr"].ends_with("> 100"));
}

async fn dashboard_is_whole() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let rows: Vec<_> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|row| row["title"].as_str().unwrap())
        .collect();
    assert_eq!(rows, ["Now", "Traffic", "Latency", "Backends", "Event log", "Presence", "Limits", "Errors"]);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "an id twice");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for cell in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert(cell), "one lies over another: {}", panel["title"]);
        }
        assert!(panel["type"] == "row" || panel["description"].as_str().is_some_and(|text| !text.is_empty()));
    }
    for (place, query) in
        queries().into_iter().filter(|(place, _)| place.starts_with('"') && place != "\"Servers\"")
    {
        let named = query.matches("chat_").count();
        assert_eq!(
            query.matches("instance=~\"$instance\"").count(),
            named,
            "{place} looks at every server: {query}"
        );
    }
}

/// Every option, and every variable that is no option, which `--help` names.
fn known() -> (BTreeSet<String>, BTreeSet<String>) {
    let is_option = |char: char| char.is_ascii_lowercase() || char == '-';
    let options = HELP
        .split("--")
        .skip(1)
        .map(|rest| rest.chars().take_while(|char| is_option(*char)).collect::<String>());
    // After the word `prewarm` its options have a shorter name.
    let of_prewarm = ["days", "most", "batch", "pause-ms", "resume"];
    let options =
        options.map(|name| if of_prewarm.contains(&&*name) { format!("prewarm-{name}") } else { name });
    (options.filter(|name| !name.is_empty()).collect(), variables(HELP))
}

/// Every `CHAT_…` of a text.
fn variables(text: &str) -> BTreeSet<String> {
    let names = words(text).into_iter().map(|(_, word, _)| word.to_owned());
    names.filter(|word| word.starts_with("CHAT_") && word.len() > 5).collect()
}

async fn readme_is_in_step() {
    let readme = read("README.md");
    let (options, named) = known();
    let upper = |option: &str| format!("CHAT_{}", option.replace('-', "_").to_uppercase());
    for option in options.iter().filter(|option| !["help", "version", "option"].contains(&option.as_str())) {
        let row = format!("| `--{option}");
        assert!(readme.contains(&row), "the README has no row of --{option}");
        assert!(
            readme.contains(&format!("`{}`", upper(option))),
            "the README does not name {}",
            upper(option)
        );
    }
    let rules: BTreeSet<String> =
        named.iter().filter(|name| !options.iter().any(|option| upper(option) == **name)).cloned().collect();
    let all: BTreeSet<String> = options.iter().map(|option| upper(option)).chain(rules.clone()).collect();
    for name in variables(&readme).iter().filter(|name| !name.starts_with("CHAT_TEST_")) {
        assert!(all.contains(name), "the README names {name}, which --help does not know");
    }
    let ChatSettings {
        delete_window,
        max_members,
        typing_timeout,
        typing_debounce,
        presence_lease,
        idle_after,
        announce_max,
        ..
    } = ChatSettings::default();
    let defaults = BTreeMap::from([
        ("CHAT_DELETE_WINDOW_SECONDS", delete_window.as_secs()),
        ("CHAT_MAX_MEMBERS", max_members.into()),
        ("CHAT_TYPING_TIMEOUT_SECONDS", typing_timeout.as_secs()),
        ("CHAT_TYPING_DEBOUNCE_SECONDS", typing_debounce.as_secs()),
        ("CHAT_PRESENCE_LEASE_SECONDS", presence_lease.as_secs()),
        ("CHAT_IDLE_AFTER_SECONDS", idle_after.as_secs()),
        ("CHAT_ANNOUNCE_MAX", announce_max.into()),
    ]);
    assert_eq!(rules, defaults.keys().map(|name| (*name).to_owned()).collect());
    for (name, value) in defaults {
        let row = format!("| `{name}` | {value} |");
        assert!(readme.contains(&row), "the README does not have: {row}");
    }
}

fn root() -> PathBuf {
    folder("../..")
}

async fn compose_is_in_step() {
    let compose = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let (options, rules) = known();
    let upper = |option: &String| format!("CHAT_{}", option.replace('-', "_").to_uppercase());
    let all: BTreeSet<String> = options.iter().map(upper).chain(rules).collect();
    let named = variables(&compose);
    assert!(named.is_subset(&all), "{named:?}");
    assert!(named.contains("CHAT_JWT_SECRET"), "{named:?}");
    let mounts: Vec<_> = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./")?.split_once(':'))
        .map(|(path, _)| root().join(path))
        .collect();
    assert!(mounts.len() >= 4, "{mounts:?}");
    for path in mounts {
        assert!(path.exists(), "{}", path.display());
    }
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    assert!(dockerfile.lines().any(|line| line.starts_with("USER ") && line != "USER root"));
}

/// Prometheus' own opinion, where there is one.
fn alerts_are_tested() -> Result<Completion, Failed> {
    let Some(promtool) = find("promtool") else {
        return without("promtool", "there is no promtool (apt-get install prometheus)");
    };
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let output = Command::new(&promtool).args(arguments).current_dir(folder("ops")).output()?;
        if !output.status.success() {
            let said =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            return Err(said.concat().into());
        }
    }
    Ok(Completion::Completed)
}
