//! What the server is told, and how it answers to what makes no sense.

use super::support::client::Client;
use super::support::http;
use super::support::run::trials;
use super::support::server::{SECRET, Server, refused, shared};

trials! {
    nothing_at_all_starts_in_dev_on_a_loopback_address,
    every_problem_is_told_at_once_and_no_secret_is,
    dev_refuses_what_others_can_reach,
    backends_nobody_can_reach_are_refused_clearly,
    an_address_in_use_is_told,
    variables_are_options_too_and_an_argument_wins,
    help_and_version_are_answers,
}

async fn nothing_at_all_starts_in_dev_on_a_loopback_address() {
    let server = Server::bare(&["--listen", "127.0.0.1:0"], &[]);
    assert!(server.address.ip().is_loopback());
    assert_eq!(http::get(&server, "/dev").await.status, 204);
    assert!(server.log().contains("--dev"), "it says so: {}", server.log());
    server.stop().await;
}

async fn every_problem_is_told_at_once_and_no_secret_is() {
    let arguments = [
        "--listen",
        "here",
        "--lissten=x",
        "hunter2",
        "--redis",
        "http://:hunter2@localhost",
        "--max-members",
        "many",
        "--jwt-public-key",
        "/nowhere/at/all",
    ];
    let (code, said) =
        refused(&arguments, &[("CHAT_JWT_SECRET", "hunter2"), ("CHAT_ANNOUNCE_MAX", "-1")]).await;
    assert_eq!(code, Some(2), "{said}");
    for problem in [
        "CHAT_LISTEN",
        "CHAT_LISSTEN",
        "CHAT_REDIS",
        "CHAT_MAX_MEMBERS",
        "CHAT_JWT_PUBLIC_KEY",
        "CHAT_ANNOUNCE_MAX",
    ] {
        assert!(said.lines().any(|line| line.contains(problem)), "{problem} is not in:\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

async fn dev_refuses_what_others_can_reach() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        for arguments in [vec!["--listen", address], vec!["--listen", address, "--dev", "--jwt-secret", "s"]]
        {
            let (code, said) = refused(&arguments, &[]).await;
            assert_eq!(code, Some(2), "{address}");
            assert!(said.contains("loopback"), "{said}");
        }
    }
    // With a key of one's own, and without --dev, everybody may come.
    let server = Server::bare(&["--listen", "0.0.0.0:0", "--jwt-secret", SECRET], &[]);
    assert_eq!(http::get(&server, "/dev").await.status, 404);
    server.stop().await;
}

async fn backends_nobody_can_reach_are_refused_clearly() {
    let urls = [
        ("--mongo", "mysql://me:hunter2@localhost", "scheme"),
        ("--mongo", "mongodb://me:hunter2@", "not a connection string"),
        ("--redis", "redis://me:hunter2@:port", "CHAT_REDIS"),
        ("--kafka", "localhost:9092", "not built into this version"),
    ];
    for (option, url, why) in urls {
        let (code, said) = refused(&["--listen", "127.0.0.1:0", option, url], &[]).await;
        assert_eq!(code, Some(2), "{option}");
        let name = format!("CHAT_{}", option.trim_start_matches('-').to_uppercase());
        assert!(said.contains(&name) && said.contains(why), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        let (code, _) = refused(&["--listen", "127.0.0.1:0"], &[(&name, url)]).await;
        assert_eq!(code, Some(2), "{name}");
    }
}

async fn an_address_in_use_is_told() {
    let (code, said) = refused(&["--listen", &shared().address.to_string()], &[]).await;
    assert!(code.is_some_and(|code| code != 0), "{said}");
    assert!(said.contains("in use") && !said.contains("panicked"), "{said}");
}

async fn variables_are_options_too_and_an_argument_wins() {
    let variables = [("CHAT_LISTEN", "127.0.0.1:0"), ("CHAT_JWT_SECRET", SECRET), ("CHAT_DEV", "true")];
    let server = Server::bare(&[], &variables);
    assert_eq!(http::get(&server, "/dev").await.status, 204);
    Client::new(&server, "ann").await;
    server.stop().await;
    let server = Server::bare(
        &["--jwt-secret", SECRET, "--dev", "--listen=127.0.0.1:0"],
        &[("CHAT_LISTEN", "127.0.0.1:1"), ("CHAT_JWT_SECRET", "another")],
    );
    Client::new(&server, "ann").await;
    server.stop().await;
}

async fn help_and_version_are_answers() {
    let (code, said) = refused(&["--help"], &[]).await;
    assert_eq!(code, Some(0));
    for option in
        ["--listen", "--jwt-secret", "--jwt-public-key", "--dev", "--redis", "--mongo", "--kafka", "prewarm"]
    {
        assert!(said.contains(option), "{option}: {said}");
    }
    let (code, said) = refused(&["--version"], &[]).await;
    assert_eq!((code, said.trim()), (Some(0), concat!("chat-server ", env!("CARGO_PKG_VERSION"))));
}
