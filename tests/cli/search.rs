//! The commands that find and list, as people and scripts use them.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::command::{Run, command, database, line};
use crate::support::database::TestDatabase;
use serde_json::Value;

/// Two services with something to find.
fn searchable() -> TestDatabase {
    let database = database();
    let declined = ",\"events\":[{\"timeUnixNano\":\"1700000000100000000\",\"name\":\"exception\",\"attributes\":[\
                    {\"key\":\"exception.message\",\"value\":{\"stringValue\":\"payment declined: card expired\"}}]}]";
    let with = |attributes: &str| format!("{declined},\"attributes\":[{attributes}]");
    let north = "{\"key\":\"order.id\",\"value\":{\"intValue\":\"7\"}},{\"key\":\"shop.id\",\"value\":{\"stringValue\":\"north\"}}";
    let south = north.replace("\"7\"", "\"70\"").replace("north", "south");
    let text = [
        line(1, &with(north)).replace("\"status\":{}", "\"status\":{\"code\":2}"),
        line(2, "").replace("\"pay\"", "\"resize image thumbnail\"").replace("checkout", "media"),
        line(3, &with(&south)).replace("\"status\":{}", "\"status\":{\"code\":2}"),
    ]
    .join("\n");
    database.run_with_input(&["import", "otlp", "-"], text.as_bytes()).ok();
    database
}

#[test]
fn search_finds_traces_by_meaning() {
    let database = searchable();
    let run = database.run(&["search", "credit card was rejected", "--limit", "5", "--json"]).ok();
    let hits = run.json_lines();
    assert_eq!(hits[0]["root_service"], "checkout", "{run:?}");
    assert_eq!(hits[0]["spans"][0]["start"], "2023-11-14T22:13:20.000000001Z");
    assert_eq!(hits[0]["spans"][0]["message"], "payment declined: card expired");
    let id = hits[0]["trace_id"].as_str().expect("an id");
    assert!(id.len() == 32 && hits[0]["span_id"].as_str().is_some_and(|id| id.len() == 16), "{run:?}");

    let text = database.run(&["search", "credit card was rejected"]).ok();
    for expected in [id, "checkout pay", "250 ms", "1 span", "1 error", "✗", "payment declined: card expired"]
    {
        assert!(text.stdout.contains(expected), "{expected}: {text:?}");
    }
}

#[test]
fn search_by_operation_lists_each_operation_once() {
    let database = searchable();
    let run = database.run(&["search", "card declined", "--by", "operation", "--limit", "20", "--json"]).ok();
    let names: Vec<String> = run.json_lines().iter().map(|hit| hit["name"].to_string()).collect();
    let pay = names.iter().filter(|name| *name == "\"pay\"").count();
    assert_eq!(pay, 1, "{run:?}");
    let text = database.run(&["search", "card declined", "--by", "operation"]).ok();
    assert!(text.stdout.contains("✗ checkout pay"), "{text:?}");
}

#[test]
fn search_keeps_to_its_filters() {
    let database = searchable();
    let count = |arguments: &[&str]| {
        let arguments = [&["search", "card declined", "--json", "--min-score", "0"], arguments].concat();
        database.run(&arguments).ok().json_lines().len()
    };
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["--service", "media"]), 1);
    assert_eq!(count(&["--limit", "1"]), 1);
    assert_eq!(count(&["--since", "2023-11-14T22:13:20Z", "--until", "2023-11-14T22:13:21Z"]), 3);
    assert_eq!(count(&["--since", "2023-11-14T22:13:21Z"]), 0);
    assert_eq!(count(&["--until", "2023-11-14T23:13:20+01:00"]), 0);
    assert_eq!(count(&["--since", "1h"]), 0);
}

#[test]
fn search_that_finds_nothing_says_what_to_change() {
    let database = searchable();
    let run = database.run(&["search", "card declined", "--since", "1h", "--min-score", "0.9"]).ok();
    assert_eq!(run.stdout, "");
    for expected in ["nothing found", "0.9", "--min-score", "without --since"] {
        assert!(run.stderr.contains(expected), "{run:?}");
    }
}

#[test]
fn a_malformed_regular_expression_is_wrong_usage_also_where_no_span_has_the_key() {
    let database = searchable();
    for condition in ["shop.id~[", "nobody.has.this~["] {
        for query in [&["search"][..], &["search", "card declined"], &["search", "--by", "operation"]] {
            let run = database.run(&[query, &["-a", condition]].concat());
            assert!(run.code == Some(2) && run.stdout.is_empty(), "{run:?}");
            assert!(run.stderr.starts_with("error: regular expression `[`: "), "{run:?}");
        }
    }
}

#[test]
fn what_hides_results_is_named() {
    let database = searchable();
    let said = |arguments: &[&str]| {
        let run = database.run(&[&["search"], arguments].concat()).ok();
        assert_eq!(run.stdout, "", "{run:?}");
        run.stderr
    };
    let said_by_score = said(&["card declined", "--min-score", "0.99"]);
    assert!(said_by_score.contains("the best score is 0.") && said_by_score.contains("try --min-score 0."));
    let suggested =
        said_by_score.split("--min-score ").nth(1).and_then(|rest| rest.lines().next()).expect("a score");
    assert!(!database.run(&["search", "card declined", "--min-score", suggested]).ok().stdout.is_empty());
    let text = said(&["card declined", "--kind", "client", "--min-score", "0"]);
    assert!(text.contains("there are results without --kind"), "{text}");
    let text = said(&["--service", "media", "-a", "card=visa"]);
    assert!(text.contains("there are results without --attribute 'card=visa'"), "{text}");
    let text = said(&["\"no such text\"", "--service", "media"]);
    assert!(text.contains("there are results without \"no such text\""), "{text}");
}

#[test]
fn without_a_query_conditions_alone_decide_and_the_newest_come_first() {
    let database = database();
    let second = |number: u32| line(number, "").replace("170000000", &format!("17000000{number}"));
    let text = [second(1), second(3), second(2)].join("\n");
    database.run_with_input(&["import", "otlp", "-", "--no-embedding"], text.as_bytes()).ok();
    let run =
        database.run(&["search", "--service", "checkout", "--json", "--embedding-model", "/no/such"]).ok();
    let starts: Vec<String> = run.json_lines().iter().map(|hit| hit["start"].to_string()).collect();
    assert_eq!(starts.len(), 3);
    assert!(starts.is_sorted_by(|a, b| a > b), "{starts:?}");
    let text = database.run(&["search", "--min-duration", "250ms", "--max-duration", "1.5s"]).ok().stdout;
    assert_eq!(text.matches("checkout pay  250 ms  1 span").count(), 3, "{text}");
    assert_eq!(database.run(&["search", "--min-duration", "251ms"]).ok().stdout, "");
}

#[test]
fn conditions_reach_the_database() {
    let database = searchable();
    let count = |arguments: &[&str]| {
        let arguments = [&["search", "--json"], arguments].concat();
        database.run(&arguments).ok().json_lines().len()
    };
    assert_eq!(count(&["--status", "ERROR"]), 2);
    assert_eq!(count(&["--status", "unset", "--kind", "server"]), 1);
    assert_eq!(count(&["--exception"]), 2);
    assert_eq!(count(&["--no-exception"]), 1);
    assert_eq!(count(&["--operation", "pay"]), 2);
    assert_eq!(count(&["--service", "media", "--service", "checkout"]), 3);
    assert_eq!(count(&["-a", "order.id"]), 2);
    assert_eq!(count(&["-a", "order.id>10"]), 1);
    assert_eq!(count(&["--attribute", "order.id<=10", "--attribute", "shop.id~^no"]), 1);
    assert_eq!(count(&["-a", "shop.id!=north"]), 1);
    assert_eq!(count(&["--resource", "service.name=media"]), 1);
    assert_eq!(count(&["--trace-id", "000000000000000000000000abc00001"]), 1);
    assert_eq!(count(&["\"CARD expired\""]), 2);
}

#[test]
fn pages_follow_each_other() {
    let database = searchable();
    let mut seen = Vec::new();
    let mut page = None;
    loop {
        let mut arguments = vec!["search", "card declined", "--min-score", "0", "--limit", "1", "--json"];
        arguments.extend(page.as_deref().into_iter().flat_map(|page| ["--page", page]));
        let run = database.run(&arguments).ok();
        seen.extend(run.json_lines().iter().map(|hit| hit["trace_id"].to_string()));
        match run.stderr.strip_prefix("next page: the same command with --page ") {
            Some(next) => page = Some(next.trim().to_owned()),
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3);
    let run = Run::of(command(&["search", "x", "--page", "second"]).output().expect("run"));
    assert_eq!(run.code, Some(2), "{run:?}");
}

#[test]
fn an_unknown_service_exits_with_3_and_names_close_ones() {
    let database = searchable();
    for arguments in [
        &["operations", "chekout"][..],
        &["search", "card declined", "--service", "chekout"],
        &["new", "--service", "chekout"],
    ] {
        let run = database.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""), "{run:?}");
        assert_eq!(run.stderr, "no service `chekout`; did you mean `checkout`?\n");
    }
}

#[test]
fn spans_are_results_too_and_are_explained() {
    let database = searchable();
    let arguments = ["search", "cards declined", "--by", "span", "--explain", "--limit", "2"];
    let run = database.run(&[&arguments[..], &["--json"]].concat()).ok();
    let hits = run.json_lines();
    assert_eq!(hits.len(), 2);
    assert_eq!(hits[0]["name"], "pay");
    assert_eq!(hits[0]["explanation"]["words"], serde_json::json!(["cards", "declined"]));
    assert_eq!(hits[0]["explanation"]["score"], hits[0]["score"]);
    let text = database.run(&arguments).ok().stdout;
    assert!(text.contains("why: score 0.") && text.contains("in the span: cards, declined"), "{text}");
}

#[test]
fn words_are_highlighted_on_a_terminal_only() {
    let database = searchable();
    let arguments = ["search", "\"card expired\" while paying"];
    let plain = database.run(&arguments).ok().stdout;
    assert!(plain.contains("card expired") && !plain.contains('\u{1b}'), "{plain}");
    let coloured = database.run(&[&arguments[..], &["--color", "always"]].concat()).ok().stdout;
    assert!(coloured.contains("\u{1b}[1mcard expired\u{1b}[22m"), "{coloured:?}");
    // A choice on the command line is stronger than the environment's.
    let run =
        database.command(&[&arguments[..], &["--color", "always"]].concat()).env("NO_COLOR", "1").output();
    assert!(Run::of(run.expect("it runs")).ok().stdout.contains("\u{1b}[1m"));
}

#[test]
fn names_of_others_do_nothing_to_a_terminal() {
    let database = database();
    let hostile = "pay\\u001b[2J\\u009b31m\\u202egpj.exe\\u2066";
    let long = "x".repeat(1 << 20);
    let attributes = format!(
        ",\"attributes\":[{{\"key\":\"k\\u001b]0;t\\u0007\",\"value\":{{\"stringValue\":\"{long}\\u202e\"}}}}]"
    );
    let text =
        line(1, &attributes).replace("\"pay\"", &format!("\"{hostile}\"")).replace("checkout", "s\\u001bc");
    database.run_with_input(&["import", "otlp", "-"], text.as_bytes()).ok();
    let trace = "000000000000000000000000abc00001";
    for arguments in [
        &["search", "pay", "--min-score", "0"][..],
        &["search", "pay", "--min-score", "0", "--json", "--by", "span"],
        &["search", "pay", "--min-score", "0", "--json", "--by", "operation"],
        &["trace", trace, "-v"],
        &["trace", trace, "--json"],
        &["services"],
        &["services", "--json"],
        &["operations", "s\u{1b}c"],
        &["new"],
        &["new", "--json"],
    ] {
        let run = database.run(arguments).ok();
        let harmful = |c: char| c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{200f}".contains(c));
        assert!(!run.stdout.contains(harmful), "{arguments:?} {:?}", run.stdout.get(..2000));
        assert!(!run.stdout.is_empty(), "{arguments:?} {run:?}");
    }
    let json = database.run(&["search", "--json", "--by", "span"]).ok().json_lines();
    assert_eq!(json[0]["name"], "pay\u{1b}[2J\u{9b}31m\u{202e}gpj.exe\u{2066}");
}

#[test]
fn services_and_operations_are_listed() {
    let database = searchable();
    assert_eq!(database.run(&["services"]).ok().stdout, "checkout\nmedia\n");
    assert_eq!(database.run(&["services", "--json"]).ok().json_lines()[1]["service"], "media");
    let text = database.run(&["operations", "checkout"]).ok().stdout;
    assert!(text.starts_with("server") && text.contains("✗ pay  "), "{text}");
    let json = database.run(&["operations", "checkout", "--json"]).ok().json_lines();
    assert_eq!(
        (&json[0]["name"], &json[0]["kind"], &json[0]["fails"]),
        (&"pay".into(), &"server".into(), &true.into())
    );
    assert!(json[0]["first_seen"].as_str().is_some_and(|time| time.ends_with('Z')), "{json:?}");
}

#[test]
fn nothing_stored_is_no_failure_to_list() {
    let database = database();
    database.run(&["migrate"]).ok();
    let run = database.run(&["services"]).ok();
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", "nothing is stored yet\n"));
    assert_eq!(database.run(&["operations", "x"]).code, Some(3));
}

#[test]
fn similar_traces_are_found() {
    let database = searchable();
    let trace = "000000000000000000000000abc00001";
    let run = database.run(&["similar", trace, "--json"]).ok();
    let hits = run.json_lines();
    assert_eq!(hits.len(), 1, "{run:?}");
    assert_eq!(hits[0]["trace_id"], "000000000000000000000000abc00003");
    assert_eq!((&hits[0]["score"], &hits[0]["shared"]), (&1.0.into(), &1.into()));
    let text = database.run(&["similar", trace]).ok().stdout;
    assert!(text.starts_with("1.00  checkout pay") && text.contains("1 operation in common"), "{text}");
    let alone = database.run(&["similar", "000000000000000000000000abc00002"]).ok();
    assert!(alone.stdout.is_empty() && alone.stderr.contains("no other trace"), "{alone:?}");
    let unknown = database.run(&["similar", "00000000000000000000000000000001"]);
    assert_eq!(unknown.code, Some(3), "{unknown:?}");
}

#[test]
fn what_is_new_comes_with_the_nearest_older_one() {
    let database = searchable();
    let deploy = now(&database);
    let text = line(9, "").replace("\"pay\"", "\"pay by voucher\"");
    database.run_with_input(&["import", "otlp", "-"], text.as_bytes()).ok();
    let new = database.run(&["new", "--since", &deploy, "--json"]).ok();
    let hits = new.json_lines();
    assert_eq!(hits.len(), 1, "{new:?}");
    assert_eq!(hits[0]["name"], "pay by voucher");
    assert_eq!(hits[0]["nearest"]["service"], "checkout");
    let text = database.run(&["search", "--new-since", &deploy]).ok().stdout;
    assert!(text.starts_with("+ checkout pay by voucher") && text.contains("nearest before  0."), "{text}");
    let later = database.run(&["new", "--since", "2100-01-01T00:00:00Z"]).ok();
    assert!(later.stdout.is_empty() && later.stderr.contains("nothing is new"), "{later:?}");
    let both = database.run(&["search", "card", "--new-since", "1h"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}

/// What the database's clock shows, as in RFC 3339.
fn now(database: &TestDatabase) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(
        database.value(
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
        ),
    )
}

#[cfg(unix)]
#[test]
fn tail_shows_what_is_stored_and_ends_with_130() {
    let database = searchable();
    let mut child = database
        .command(&["tail", "--json", "-n", "1", "--service", "checkout", "--window", "1h"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let mut next =
        || -> Value { serde_json::from_str(&lines.next().expect("a line").expect("UTF-8")).expect("JSON") };
    assert_eq!(next()["name"], "pay");
    // One that started before what was shown, one of another service.
    let text = [
        line(5, "").replace("1700000000000000001", "1699999999000000000"),
        line(6, "").replace("checkout", "media"),
        line(7, ""),
    ];
    database.run_with_input(&["import", "otlp", "-", "--no-embedding"], text.join("\n").as_bytes()).ok();
    assert_eq!(next()["span_id"], "0000000000000005");
    assert_eq!(next()["span_id"], "0000000000000007");
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()));
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

#[test]
fn filters_may_stand_in_the_query() {
    let database = searchable();
    let search =
        |arguments: &[&str]| database.run(&[&["search", "--json", "--min-score", "0"], arguments].concat());
    assert_eq!(search(&["card declined service:media"]).ok().json_lines().len(), 1);
    assert_eq!(search(&["card declined since:2023-11-14T22:13:21Z"]).ok().json_lines().len(), 0);
    // An option stands in for the query's filter of its kind.
    let run = search(&["card declined since:2023-11-14T22:13:21Z", "--since", "2023-11-14"]);
    assert_eq!(run.ok().json_lines().len(), 3);
    let run = search(&["card sevice:media"]);
    assert!(run.code == Some(2) && run.stderr.contains("write service:media"), "{run:?}");
}
