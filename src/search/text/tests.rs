use proptest::prelude::*;

use super::super::filter::Comparison;
use super::*;

fn terms(text: &str) -> Vec<Term> {
    QueryText::read(text).unwrap_or_else(|mistake| panic!("{text}: {mistake:?}")).terms
}

fn word(text: &str) -> Term {
    Term::Word(text.into())
}

#[test]
fn words_and_filters_are_read_together() {
    let ms = Duration::from_millis;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let trace = TraceId::from_hex(id).expect("an id");
    let condition = |text: &str| text.parse::<Condition>().expect("a condition");
    for (text, expected) in [
        ("", vec![]),
        ("  payment  declined ", vec![word("payment"), word("declined")]),
        (r#""no such column""#, vec![Term::Phrase("no such column".into())]),
        (r#""a \"b\" \\ \d""#, vec![Term::Phrase(r#"a "b" \ \d"#.into())]),
        ("service:a SERVICE:\"b c\"", vec![Term::Service("a".into()), Term::Service("b c".into())]),
        (r#"operation:"GET /cart""#, vec![Term::Operation("GET /cart".into())]),
        ("status:error kind:Server", vec![Term::Status(Status::Error), Term::Kind(Kind::Server)]),
        (">500ms <=2s", vec![Term::LongerThan(ms(500)), Term::ShorterThan(ms(2000))]),
        ("500ms..1.5s", vec![Term::LongerThan(ms(500)), Term::ShorterThan(ms(1500))]),
        ("http.status_code=500", vec![Term::Attribute(condition("http.status_code=500"))]),
        ("retry>3", vec![Term::Attribute(condition("retry>3"))]),
        ("db.system~post.*", vec![Term::Attribute(condition("db.system~post.*"))]),
        (r#"db.statement!="SELECT 1""#, vec![Term::Attribute(condition("db.statement!=SELECT 1"))]),
        (r#""odd key"="x y""#, vec![Term::Attribute(Condition::is("odd key", "x y"))]),
        ("exists:user.id", vec![Term::Attribute(Condition::exists("user.id"))]),
        ("resource.cloud.region=eu", vec![Term::Resource(Condition::is("cloud.region", "eu"))]),
        ("exists:resource.host.name", vec![Term::Resource(Condition::exists("host.name"))]),
        (r#"resource."odd key"=1"#, vec![Term::Resource(Condition::is("odd key", "1"))]),
        (r#""resource.x"=1"#, vec![Term::Attribute(Condition::is("resource.x", "1"))]),
        ("last:1h", vec![Term::Last(Duration::from_secs(3600))]),
        ("since:1970-01-01T00:00:01Z", vec![Term::Since(SystemTime::UNIX_EPOCH + ms(1000))]),
        ("until:1970-01-01", vec![Term::Until(SystemTime::UNIX_EPOCH)]),
        (&format!("trace:{id}"), vec![Term::Trace(trace)]),
        (id, vec![Term::Phrase(id.into())]),
        ("520b067330e3ede5", vec![Term::Phrase("520b067330e3ede5".into())]),
        ("exception:yes scope:http", vec![Term::Exception(true), Term::Scope("http".into())]),
        // What people type or paste that is no filter.
        (
            "KeyError: failed! why? 5\" a/b don't 3..4 …",
            ["KeyError:", "failed!", "why?", "5\"", "a/b", "don't", "3..4", "…"].map(word).to_vec(),
        ),
        (r#""" x"#, vec![word("x")]),
    ] {
        assert_eq!(terms(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_understood_is_named_with_what_to_write() {
    for (text, reason, instead) in [
        ("a sevice:x", "no filter `sevice:`", "service:x"),
        ("http.route:/cart", "no filter `http.route:`", "http.route=/cart"),
        ("https://host/x?a=b", "no filter `https:`", r#""https://host/x?a=b""#),
        ("Vec<String>", "a number is expected", r#""Vec<String>""#),
        ("service:", "a value is expected", r#""service:""#),
        ("status:broken", "unset ok error", r#""status:broken""#),
        ("kind:x", "internal server", r#""kind:x""#),
        (">5", "expected a duration such as", r#"">5""#),
        ("500ms..2", "expected a duration such as", r#""500ms..2""#),
        ("last:soon", "15m", r#""last:soon""#),
        ("since:yesterday", "2026-01-31T12:00:00Z", r#""since:yesterday""#),
        ("trace:1", "32 hexadecimal digits", r#""trace:1""#),
        ("exception:maybe", "exception:yes", r#""exception:maybe""#),
        ("status:ok status:error", "beside `status:ok`", r#""status:error""#),
        ("last:1h since:1970-01-01", "beside `last:1h`", r#""since:1970-01-01""#),
        ("<1s >2s", "shorter than >2s", r#""<1s""#),
        ("=x", "a key is expected", r#""=x""#),
        ("duration>5s", "durations stand alone", ">5s"),
        (r#""no end"#, "no end: close it", r#""no end""#),
        (r#"service:"no end"#, "no end: close it", r#"service:"no end""#),
        (r#""a"b"#, "a space is missing", r#""\"a\"b""#),
    ] {
        let mistake = QueryText::read(text).expect_err(text);
        assert!(mistake.reason.contains(reason), "{text}: {mistake:?}");
        assert_eq!(mistake.instead.first().map(String::as_str), Some(instead), "{text}: {mistake:?}");
        assert!(terms(&mistake.instead[0]).len() == 1, "{text}: what is proposed is understood");
        let error = SearchQuery::parse(text).expect_err(text).to_string();
        assert!(error.contains(&mistake.token) && error.contains(instead), "{error}");
    }
}

#[test]
fn a_quote_without_a_text_is_to_be_left_out() {
    for text in ["\"", "pay \"", "service:\" "] {
        let error = SearchQuery::parse(text).expect_err(text).to_string();
        assert!(error.contains("leave it out") && !error.contains("; write"), "{error}");
    }
}

#[test]
fn a_text_asks_for_what_its_terms_say() {
    let query =
        SearchQuery::parse(r#"pay "E-1" service:a service:b >1s retry>=3 exception:no"#).expect("a query");
    assert_eq!(query.text(), "pay E-1");
    let expected = Filter::default()
        .service("a")
        .service("b")
        .longer_than(Duration::from_secs(1))
        .attribute(Condition { key: "retry".into(), test: Test::Compares(Comparison::GreaterOrEqual, 3.0) })
        .exception(false)
        .phrase("E-1");
    assert_eq!(*query.conditions(), expected);
    // A phrase alone needs no order by meaning.
    assert_eq!(SearchQuery::parse(r#""E-1""#).expect("a query"), SearchQuery::new(r#""E-1""#));
    let hour = SearchQuery::parse("last:1h").expect("a query").conditions().since.expect("a time");
    assert!(hour.elapsed().is_ok_and(|ago| ago.as_secs().abs_diff(3600) < 60));
    let hour = SearchQuery::parse("until:1h").expect("a query").conditions().until.expect("a time");
    assert!(hour.elapsed().is_ok_and(|ago| ago.as_secs().abs_diff(3600) < 60));
}

#[test]
fn a_term_takes_the_place_of_what_it_excludes() {
    let text: QueryText = "x status:ok service:a last:1h".parse().expect("a text");
    let text = text
        .with(Term::Status(Status::Error))
        .with(Term::Service("b".into()))
        .with(Term::Service("a".into()));
    assert_eq!(
        text.with(Term::Since(SystemTime::UNIX_EPOCH)).to_string(),
        "x status:error service:b service:a since:1970-01-01T00:00:00Z"
    );
    assert_eq!(text.without(|term| term.is_named("service")).to_string(), "x last:1h status:error");
}

#[test]
fn the_last_token_is_what_is_being_typed() {
    for (text, expected) in [
        ("", ""),
        ("pay", "pay"),
        ("pay ", ""),
        ("pay service:che", "service:che"),
        (r#"a operation:"GET /c"#, r#"operation:"GET /c"#),
        (r#"a operation:"GET /c" "#, ""),
        ("  ü", "ü"),
    ] {
        assert_eq!(&text[QueryText::last_token(text)..], expected, "{text}");
    }
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let test = prop_oneof![
        Just(Test::Exists),
        any::<String>().prop_map(Test::Is),
        any::<String>().prop_map(Test::IsNot),
        any::<String>().prop_map(Test::Matches),
        any::<String>().prop_map(Test::MatchesNot),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| Test::Compares(Comparison::Less, number)),
    ];
    let key = prop_oneof!["[a-z_.]{1,12}", "\\PC{1,8}", "resource\\.[a-z]{1,3}", "duration|service|last"];
    (key, test).prop_map(|(key, test)| Condition { key, test })
}

fn any_term() -> impl Strategy<Value = Term> {
    let seconds = 0_u64..4_000_000_000;
    let time = || {
        (0_u64..200_000_000_000, 0_u32..1_000_000_000)
            .prop_map(|(seconds, nanos)| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
    };
    prop_oneof![
        "[a-zäß]{1,8}[?!,:]?".prop_map(Term::Word),
        any::<String>().prop_filter("not blank", |text| !text.trim().is_empty()).prop_map(Term::Phrase),
        any::<String>().prop_map(Term::Service),
        any::<String>().prop_map(Term::Operation),
        any::<String>().prop_map(Term::Scope),
        any_condition().prop_map(Term::Attribute),
        any_condition().prop_map(Term::Resource),
        (1_u16..6)
            .prop_filter_map("a kind", |number| Kind::from_number(number.cast_signed()))
            .prop_map(Term::Kind),
        prop::sample::select(vec![Status::Unset, Status::Ok, Status::Error]).prop_map(Term::Status),
        any::<u64>().prop_map(|ns| Term::LongerThan(Duration::from_nanos(ns))),
        seconds.clone().prop_map(|s| Term::Last(Duration::from_secs(s))),
        time().prop_map(Term::Since),
        time().prop_map(Term::Until),
        (1_u128..).prop_map(|id| Term::Trace(TraceId::from(id))),
        any::<bool>().prop_map(Term::Exception),
    ]
}

proptest! {
    #[test]
    fn a_text_is_read_as_it_was_written(all in prop::collection::vec(any_term(), 0..8)) {
        let text = all.into_iter().fold(QueryText::default(), |text, term| text.with(term));
        let read = QueryText::read(&text.to_string());
        prop_assert_eq!(read.as_ref(), Ok(&text), "{}", text);
    }

    #[test]
    fn every_text_is_read_or_answered(text in r#"([a-z:=<>!~"\\. 1]|\PC){0,40}"#) {
        match QueryText::read(&text) {
            Ok(read) => prop_assert_eq!(QueryText::read(&read.to_string()), Ok(read)),
            Err(mistake) => prop_assert!(!mistake.reason.is_empty()),
        }
    }
}
