//! Another model: the schema changes to it while spans are stored and searches answered.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::support::database::{TestDatabase, eventually};
use crate::support::tiny_model::Tiny;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_pgvector::embedding::Embedder;
use opentelemetry_pgvector::search::SearchQuery;
use opentelemetry_pgvector::span::{Resource, Span, Timestamp, Value};
use opentelemetry_pgvector::store::{ReembedProgress, Reembedded};
use opentelemetry_pgvector::{Error, Settings, TraceStore};

const OLD: Tiny = Tiny::new(128, 1);
const NEW: Tiny = Tiny::new(256, 2);
/// As long as the old one's vectors.
const OTHER: Tiny = Tiny::new(128, 3);

/// A database, and the folders of three models beside each other.
struct Traces {
    database: TestDatabase,
    folder: tempfile::TempDir,
}

impl Traces {
    async fn create() -> Self {
        let traces =
            Traces { database: TestDatabase::create().await, folder: tempfile::tempdir().expect("a folder") };
        for (tiny, name) in [(OLD, "old"), (NEW, "new"), (OTHER, "other")] {
            tiny.write(&traces.path(name));
        }
        traces
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, model: Tiny) -> Settings {
        let name = [(OLD, "old"), (NEW, "new"), (OTHER, "other")].into_iter().find(|named| named.0 == model);
        model.settings(&self.path(name.expect("a model").1), &self.database.settings())
    }

    fn store(&self, model: Tiny) -> TraceStore {
        TraceStore::new(self.settings(model)).expect("valid settings")
    }

    /// How many documents have an embedding of so many dimensions, and how many have none.
    async fn embedded(&self, dimension: i64) -> (i64, i64) {
        let row = self
            .database
            .client()
            .await
            .query_one(
                "SELECT count(*) FILTER (WHERE vector_dims(embedding) = $1), count(*) FILTER (WHERE embedding IS NULL) \
                 FROM otel.span_documents",
                &[&(dimension as i32)],
            )
            .await
            .expect("counted");
        (row.get(0), row.get(1))
    }

    async fn model(&self) -> (String, i32) {
        let row = self
            .database
            .client()
            .await
            .query_one("SELECT name, dimension FROM otel.embedding_model", &[])
            .await;
        let row = row.expect("a model");
        (row.get(0), row.get(1))
    }
}

/// A number in words, since digits are no part of a document.
fn word(number: u64) -> String {
    let letter = |digit: u64| char::from(b'a' + (digit % 26) as u8);
    format!("zq{}{}{}", letter(number / 676), letter(number / 26), letter(number))
}

/// A span with a document of its own; its trace has the number as id.
fn span(number: u64) -> Span<'static> {
    let start = Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + number));
    let service = Value::String(format!("shop {}", word(number / 500)).into());
    Span {
        resource: Arc::new(Resource {
            attributes: vec![("service.name".into(), service)],
            ..Resource::default()
        }),
        trace_id: TraceId::from(u128::from(number) + 1),
        span_id: SpanId::from(number + 1),
        name: format!("operation {}", word(number)).into(),
        kind: 2,
        start,
        end: start,
        ..Span::default()
    }
}

fn spans(numbers: std::ops::Range<u64>) -> Vec<Span<'static>> {
    numbers.map(span).collect()
}

/// Stores spans and embeds their documents.
async fn fill(store: &TraceStore, numbers: std::ops::Range<u64>) {
    store.batch_store(&spans(numbers)).await.expect("stored");
    store.flush().await.expect("embedded");
}

/// Whether a span is among the first that are found by its name.
async fn finds(store: &TraceStore, number: u64) -> Result<bool, Error> {
    let query = SearchQuery::new(format!("operation {}", word(number))).similarity_threshold(0.0);
    let hits = store.search_traces(query).await?;
    // To the tiny models some words are the same.
    Ok(hits.iter().any(|hit| hit.trace_id == span(number).trace_id))
}

fn assert_names_reembed(error: &Error, others: &[&str]) {
    let text = error.to_string();
    assert!(matches!(error, Error::Model(_)) && text.contains("otel-pgvector reembed"), "{text}");
    assert!(others.iter().all(|other| text.contains(other)), "{text}");
}

async fn reembed(store: &TraceStore) -> Reembedded {
    store.reembed(|_| {}).await.expect("re-embedded")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_made_for_the_dimension_of_the_settings_and_knows_its_model() {
    let traces = Traces::create().await;
    fill(&traces.store(NEW), 0..3).await;
    assert_eq!(traces.embedded(256).await, (3, 0));
    assert_eq!(traces.model().await, ("new".to_owned(), 256));
    // The folder may lie anywhere, under any name.
    std::fs::rename(traces.path("new"), traces.path("moved")).expect("moved");
    let settings = NEW.settings(&traces.path("moved"), &traces.database.settings());
    let moved = TraceStore::new(settings).expect("valid settings");
    assert!(finds(&moved, 2).await.expect("found"));
    fill(&moved, 3..4).await;
    assert_eq!(traces.embedded(256).await, (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_another_model_spans_are_stored_and_wait() {
    let traces = Traces::create().await;
    let old = traces.store(OLD);
    fill(&old, 0..3).await;
    // Of another length, and of the same.
    for (at, (model, name)) in [(NEW, "\"new\" (256"), (OTHER, "\"other\" (128")].into_iter().enumerate() {
        let store = traces.store(model);
        let number = 3 + at as u64;
        store.batch_store(&[span(number)]).await.expect("stored");
        assert!(!store.get_trace(span(number).trace_id).await.expect("read").is_empty());
        assert_names_reembed(&store.flush().await.expect_err("no embedding"), &["\"old\" (128", name]);
        assert_names_reembed(&finds(&store, 1).await.expect_err("no search"), &["embedding_model: old"]);
        assert_eq!(traces.embedded(128).await, (3 + at as i64, 1));
        old.flush().await.expect("embedded by whoever has the model");
        assert!(finds(&old, number).await.expect("found"));
    }
    // Where the name is the same, the files decide.
    OTHER.write(&traces.folder.path().join("elsewhere/old"));
    let settings = OTHER.settings(&traces.folder.path().join("elsewhere/old"), &traces.database.settings());
    let error = finds(&TraceStore::new(settings).expect("valid settings"), 1).await.expect_err("refused");
    assert_names_reembed(&error, &["another model that is called \"old\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_without_embeddings_changes_its_dimension_too() {
    let traces = Traces::create().await;
    traces.database.store().migrate().await.expect("for 384 dimensions");
    let new = traces.store(NEW);
    new.batch_store(&spans(0..2)).await.expect("stored");
    assert_names_reembed(&new.flush().await.expect_err("384 are not 256"), &["embedding_dimension: 384"]);
    let done = reembed(&new).await;
    assert_eq!((done.from, done.embedded, done.changed), (None, 2, true));
    assert!(finds(&new, 1).await.expect("found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_changes_under_writers_and_searches() {
    let traces = Traces::create().await;
    let (old, new) = (traces.store(OLD), traces.store(NEW));
    fill(&old, 0..800).await;

    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU64::new(800));
    // What was started with the old settings, and what is started with the new ones meanwhile.
    let writers: Vec<_> = [old.clone(), new.clone()]
        .into_iter()
        .map(|store| {
            let (stop, next) = (Arc::clone(&stop), Arc::clone(&next));
            tokio::spawn(async move {
                let mut slowest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let begin = Instant::now();
                    store.batch_store(&[span(number)]).await.expect("stored");
                    slowest = slowest.max(begin.elapsed());
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
                slowest
            })
        })
        .collect();
    let (begun, heard) = tokio::sync::oneshot::channel();
    let begun = std::sync::Mutex::new(Some(begun));
    let changing = {
        let store = traces.store(NEW);
        tokio::spawn(async move {
            let report = |_| {
                let begun = begun.lock().expect("no panic").take();
                if let Some(begun) = begun {
                    let _ = begun.send(());
                }
            };
            store.reembed(report).await
        })
    };
    heard.await.expect("begun");
    let searcher = {
        let (store, stop) = (new.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut searches = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let number = (searches * 37) % 800;
                assert!(finds(&store, number).await.expect("searched"), "{number} is found all the time");
                searches += 1;
            }
            searches
        })
    };
    let done = changing.await.expect("no panic").expect("re-embedded");
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    assert!(done.changed && done.embedded >= 800 && done.documents >= 800, "{done:?}");
    assert!(searcher.await.expect("every search is answered") > 10);
    for writer in writers {
        let slowest = writer.await.expect("every batch is stored");
        assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    }

    new.flush().await.expect("embedded");
    let total = next.load(Ordering::Relaxed) as i64;
    assert_eq!(traces.embedded(256).await, (total, 0), "every document has an embedding of the new model");
    assert_eq!(traces.model().await, ("new".to_owned(), 256));
    for number in (0..total as u64).step_by(101) {
        assert!(finds(&new, number).await.expect("searched"), "{number}");
    }
    assert_names_reembed(&finds(&old, 1).await.expect_err("changed"), &["embedding_model: new"]);
    let indexes: i64 = traces
        .database
        .value(
            "SELECT count(*) FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indisvalid \
             AND relname IN ('span_documents_embedding', 'span_documents_waiting')",
        )
        .await;
    assert_eq!(indexes, 2);
    let plan = "EXPLAIN SELECT id FROM otel.span_documents ORDER BY embedding <=> (SELECT embedding FROM otel.span_documents LIMIT 1) LIMIT 5";
    let plan = traces.database.client().await.query(plan, &[]).await.expect("a plan");
    let plan: String = plan.iter().map(|row| row.get::<_, String>(0)).collect();
    assert!(plan.contains("span_documents_embedding"), "{plan}");
    let shown: i64 = traces.database.value("SELECT count(*) FROM otel.documents WHERE embedded").await;
    assert_eq!(shown, total, "the view shows the new column");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_change_goes_on() {
    let traces = Traces::create().await;
    let (old, new) = (traces.store(OLD), traces.store(NEW));
    fill(&old, 0..200).await;
    let (begun, heard) = tokio::sync::oneshot::channel();
    let begun = std::sync::Mutex::new(Some(begun));
    let report = |progress| {
        let begun = match progress {
            ReembedProgress::Embedding { done, .. } if done >= 64 => begun.lock().expect("no panic").take(),
            _ => None,
        };
        if let Some(begun) = begun {
            let _ = begun.send(());
        }
    };
    tokio::select! {
        _ = new.reembed(report) => panic!("it was to be interrupted"),
        _ = heard => {}
    }
    assert_eq!(traces.model().await, ("old".to_owned(), 128));
    assert!(finds(&old, 7).await.expect("the old model goes on"));
    fill(&old, 200..210).await;
    // As when the server stops while an index is built.
    let invalid = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'otel.span_documents_waiting_next'::regclass";
    traces.database.execute(invalid).await;

    let plan = traces.store(NEW).plan_reembed().await.expect("a plan");
    assert!(plan.left <= 210 - 64 && plan.left > 0 && !plan.changed, "{plan:?}");
    let done = reembed(&traces.store(NEW)).await;
    assert!(done.changed && done.embedded <= 210 - 64, "{done:?}");
    assert_eq!(traces.embedded(256).await, (210, 0));
    let again = reembed(&new).await;
    assert!(!again.changed && again.embedded == 0, "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_share_the_work() {
    let traces = Traces::create().await;
    fill(&traces.store(OLD), 0..600).await;
    let helpers: Vec<_> = (0..3)
        .map(|_| {
            let store = traces.store(NEW);
            tokio::spawn(async move { store.reembed(|_| {}).await })
        })
        .collect();
    let mut embedded = 0;
    for helper in helpers {
        embedded += helper.await.expect("no panic").expect("re-embedded").embedded;
    }
    assert_eq!(embedded, 600, "no document is embedded twice");
    assert_eq!(traces.embedded(256).await, (600, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_embedding_of_the_old_model_comes_after_the_change() {
    let traces = Traces::create().await;
    // Their vectors are equally long, so that the server would take them.
    let (old, other) = (traces.store(OLD), traces.store(OTHER));
    fill(&old, 0..50).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop) = (old.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut number = 50;
            while !stop.load(Ordering::Relaxed) {
                store.batch_store(&spans(number..number + 5)).await.expect("stored");
                // Embeds as often as it can.
                if let Err(error) = store.flush().await {
                    assert_names_reembed(&error, &["\"other\""]);
                }
                number += 5;
            }
        })
    };
    for (from, to) in [(&old, &other), (&other, &old), (&old, &other)] {
        let done = reembed(to).await;
        assert!(
            done.changed
                && done.from.expect("a model").name
                    == from.settings().embedding_model.rsplit('/').next().expect("a name")
        );
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("every batch is stored");
    old.batch_store(&[span(3000)]).await.expect("stored");
    assert_names_reembed(&old.flush().await.expect_err("refused"), &["\"other\""]);
    other.flush().await.expect("embedded");

    let embedder = Embedder::new(&traces.settings(OTHER));
    let rows = traces.database.client().await;
    let rows =
        rows.query("SELECT text, embedding::real[] FROM otel.span_documents", &[]).await.expect("rows");
    assert!(rows.len() > 50);
    for row in rows {
        let (text, stored): (String, Vec<f32>) = (row.get(0), row.get(1));
        let vector = embedder.embed(&[&text]).expect("a vector").remove(0);
        let cosine: f32 = stored.iter().zip(&*vector).map(|(left, right)| left * right).sum();
        assert!(cosine > 0.999, "{text}: {cosine}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_in_the_way_is_waited_for_without_stopping_others() {
    let traces = Traces::create().await;
    let (old, new) = (traces.store(OLD), traces.store(NEW));
    fill(&old, 0..20).await;
    let reader = traces.database.client().await;
    let (waits, heard) = tokio::sync::oneshot::channel();
    let waits = std::sync::Mutex::new(Some(waits));
    let changing = tokio::spawn(async move {
        let count = AtomicU64::new(0);
        let report = |progress| {
            // The first is the attempt, the others are told after one failed.
            if progress == ReembedProgress::Changing && count.fetch_add(1, Ordering::Relaxed) == 1 {
                let waits = waits.lock().expect("no panic").take();
                let _ = waits.expect("once").send(());
            }
        };
        new.reembed(report).await
    });
    eventually("the column is there", async || {
        let there = "SELECT count(*) FROM otel.embedding_next";
        traces.database.value::<i64>(there).await == 1
    })
    .await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM otel.span_documents").await.expect("reads");
    heard.await.expect("it waits");
    let begin = Instant::now();
    fill(&old, 20..25).await;
    assert!(finds(&old, 22).await.expect("found"));
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    reader.batch_execute("COMMIT").await.expect("done");
    assert!(changing.await.expect("no panic").expect("re-embedded").changed);
    assert_eq!(traces.embedded(256).await, (25, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_may_be_given_up_or_go_to_a_third_model() {
    let traces = Traces::create().await;
    let old = traces.store(OLD);
    fill(&old, 0..100).await;
    let begin = async |store: &TraceStore| {
        let (begun, heard) = tokio::sync::oneshot::channel();
        let begun = std::sync::Mutex::new(Some(begun));
        let report = |_| {
            let begun = begun.lock().expect("no panic").take();
            if let Some(begun) = begun {
                let _ = begun.send(());
            }
        };
        tokio::select! {
            _ = store.reembed(report) => panic!("it was to be interrupted"),
            _ = heard => {}
        }
    };
    let columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'otel.span_documents'::regclass AND attname = 'embedding_next'";
    begin(&traces.store(NEW)).await;
    assert_eq!(traces.database.value::<i64>(columns).await, 1);
    assert!(!reembed(&old).await.changed);
    assert_eq!(traces.database.value::<i64>(columns).await, 0);
    assert!(finds(&old, 1).await.expect("found"));

    begin(&traces.store(NEW)).await;
    let other = traces.store(OTHER);
    let done = reembed(&other).await;
    assert!(done.changed && done.embedded == 100, "{done:?}");
    assert!(finds(&other, 1).await.expect("found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_backslashes_in_strings_are_escapes_the_model_changes() {
    let traces = Traces::create().await;
    traces.database.alter("SET standard_conforming_strings = off").await;
    fill(&traces.store(OLD), 0..20).await;
    reembed(&traces.store(NEW)).await;
    assert_eq!(traces.embedded(256).await, (20, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_it_works_as_well() {
    let traces = Traces::create().await;
    let pooled = |model| {
        let mut settings = traces.settings(model);
        settings.prepared_statements = false;
        TraceStore::new(settings).expect("valid settings")
    };
    fill(&pooled(OLD), 0..40).await;
    let new = pooled(NEW);
    assert!(reembed(&new).await.changed);
    fill(&new, 40..45).await;
    assert!(finds(&new, 44).await.expect("found"));
    assert_eq!(traces.embedded(256).await, (45, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_the_owner_and_everyone_keeps_their_rights() {
    let traces = Traces::create().await;
    let database = &traces.database;
    let schema = database.schema_with_roles();
    let store = |role: Option<&str>, model| {
        let mut settings = traces.settings(model);
        settings.schema.clone_from(&schema);
        if let Some(role) = role {
            settings.connection_string = database.url_as(role, Some("secret"));
        }
        TraceStore::new(settings).expect("valid settings")
    };
    store(None, OLD).create_roles().await.expect("roles");
    let mut roles = Vec::new();
    for group in ["owner", "writer", "reader"] {
        let role = database.create_role().await;
        database.execute(&format!("GRANT {schema}_{group} TO {role}")).await;
        roles.push(role);
    }
    let [owner, writer, reader] = [0, 1, 2].map(|at| Some(roles[at].as_str()));
    store(owner, OLD).migrate().await.expect("migrated");
    fill(&store(writer, OLD), 0..10).await;
    for role in [writer, reader] {
        let error = store(role, NEW).reembed(|_| {}).await.expect_err("refused");
        let text = error.to_string();
        assert!(matches!(error, Error::Schema(_)) && text.contains(&format!("{schema}_owner")), "{text}");
        assert_eq!(store(role, NEW).plan_reembed().await.expect("a plan").left, 10);
    }
    assert!(reembed(&store(owner, NEW)).await.changed);
    fill(&store(writer, NEW), 10..12).await;
    assert!(finds(&store(reader, NEW), 11).await.expect("found"));
    let owners: i64 = database
        .value(&format!(
            "SELECT count(*) FROM pg_class WHERE relnamespace = '{schema}'::regnamespace AND relowner <> '{schema}_owner'::regrole"
        ))
        .await;
    assert_eq!(owners, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_others_is_an_error_before_anything_is_changed() {
    let traces = Traces::create().await;
    fill(&traces.store(OLD), 0..3).await;
    traces.database.execute("CREATE VIEW mine AS SELECT id, embedding FROM otel.span_documents").await;
    let new = traces.store(NEW);
    let error = new.reembed(|_| {}).await.expect_err("refused");
    assert!(matches!(error, Error::Schema(_)) && error.to_string().contains("drop mine"), "{error}");
    assert_eq!(traces.database.value::<i64>("SELECT count(*) FROM otel.embedding_next").await, 0);
    traces.database.execute("DROP VIEW mine").await;
    assert!(reembed(&new).await.changed);
}

#[cfg(feature = "cli")]
#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_it_does() {
    let traces = Traces::create().await;
    fill(&traces.store(OLD), 0..40).await;
    let path = traces.path("new");
    let model = ["--embedding-model", path.to_str().expect("UTF-8"), "--set", "embedding_dimension=256"];
    let run = |arguments: &[&str]| traces.database.run(&[&["reembed"], arguments, &model].concat());

    let plan = run(&["--dry-run", "--json"]).ok().json();
    assert_eq!(
        (&plan["left"], &plan["changed"], &plan["dry_run"]),
        (&40.into(), &false.into(), &true.into())
    );
    assert_eq!((&plan["from"]["name"], &plan["to"]["dimension"]), (&"old".into(), &256.into()));
    assert!(run(&["--dry-run"]).ok().stdout.contains("would change from old (128 dimensions) to new (256"));
    assert_eq!(traces.embedded(128).await, (40, 0));

    let search = traces.database.run(&[&["search", "operation"], &model[..]].concat());
    assert!(search.code == Some(1) && search.stderr.contains("otel-pgvector reembed"), "{search:?}");

    let done = run(&[]).ok().stdout;
    assert!(done.contains("changed from old (128 dimensions) to new (256 dimensions)"), "{done}");
    assert!(done.contains("embedded 40 of 40 documents"), "{done}");
    assert!(run(&[]).ok().stdout.contains("has the model new (256 dimensions) already"));
    let again = run(&["--json"]).ok().json();
    assert_eq!((&again["embedded"], &again["changed"]), (&0.into(), &false.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_cannot_embed_says_why_or_tries_seldom() {
    let traces = Traces::create().await;
    let mut settings = traces.settings(OLD);
    settings.flush_timeout_seconds = 3;
    let store = TraceStore::new(settings).expect("valid settings");
    store.migrate().await.expect("migrated");
    let refuse = async |sqlstate: &str| {
        let sql = format!(
            "CREATE SEQUENCE IF NOT EXISTS attempts;
             CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM nextval('attempts'); RAISE 'no embeddings today' USING ERRCODE = '{sqlstate}'; END $$;
             CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE OF embedding ON otel.span_documents
             FOR EACH STATEMENT EXECUTE FUNCTION public.refuse()"
        );
        traces.database.execute(&sql).await;
    };
    // What has to be mended is said at once.
    refuse("P0001").await;
    store.batch_store(&[span(1)]).await.expect("stored");
    let begin = Instant::now();
    let error = store.flush().await.expect_err("refused").to_string();
    assert!(error.contains("no embeddings today"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(3));
    // What may pass is waited for, without asking all the time.
    refuse("40001").await;
    let before: i64 = traces.database.value("SELECT last_value FROM attempts").await;
    assert!(matches!(store.flush().await, Err(Error::Timeout { .. })));
    let attempts = traces.database.value::<i64>("SELECT last_value FROM attempts").await - before;
    assert!((2..40).contains(&attempts), "{attempts} attempts in 3 s");
    traces.database.execute("DROP TRIGGER refuse ON otel.span_documents").await;
    store.flush().await.expect("embedded");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_that_is_moved_to_another_schema_is_found_there() {
    let traces = Traces::create().await;
    let store = traces.store(OLD);
    fill(&store, 1..2).await;
    assert!(finds(&store, 1).await.expect("found"));
    traces.database.execute("CREATE SCHEMA elsewhere; ALTER EXTENSION vector SET SCHEMA elsewhere").await;
    // A connection that is there has what it prepared; a new one has nothing.
    traces.database.end_connections().await;
    eventually("it is found again", || async { finds(&store, 1).await.is_ok_and(|found| found) }).await;
    traces.database.execute("ALTER EXTENSION vector SET SCHEMA public").await;
    fill(&store, 2..3).await;
    let sql = "SELECT count(*) FROM otel.span_documents WHERE embedding IS NOT NULL";
    assert_eq!(traces.database.value::<i64>(sql).await, 2);
}
