//! A schema without roles, which a login role made and uses, gets its roles.

use crate::support::arbitrary;
use crate::support::database::{TestDatabase, eventually};
use opentelemetry_pgvector::TraceStore;

/// A schema with spans that a login role made, as that role and as a superuser.
struct Made {
    database: TestDatabase,
    schema: String,
    store: TraceStore,
    superuser: TraceStore,
}

impl Made {
    async fn create() -> Self {
        let database = TestDatabase::create().await;
        let (schema, role) = (database.schema_with_roles(), database.create_role().await);
        database.execute(&format!("GRANT CREATE ON DATABASE {} TO {role}", database.name())).await;
        let [store, superuser] = [database.settings_as(&role), database.settings()].map(|mut settings| {
            settings.schema.clone_from(&schema);
            TraceStore::new(settings).expect("valid settings")
        });
        store.batch_store(&arbitrary::sample(3)).await.expect("stored");
        Made { database, schema, store, superuser }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_a_login_role_made_goes_to_the_owner_and_the_role_goes_on() {
    let Made { database, schema, store, superuser } = Made::create().await;
    for _ in 0..2 {
        superuser.create_roles().await.expect("roles");
    }
    let owner: String = database
        .value(&format!("SELECT string_agg(DISTINCT relowner::regrole::text, ' ') FROM pg_class WHERE relnamespace = '{schema}'::regnamespace"))
        .await;
    assert_eq!(owner, format!("{schema}_owner"));
    store.batch_store(&arbitrary::sample(3)).await.expect("stored");
    store.prune_ledger().await.expect("pruned");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_made_a_second_at_a_time_where_the_tables_are_in_use() {
    let Made { database, schema, store: _store, superuser } = Made::create().await;
    let dump = database.client().await;
    dump.batch_execute(&format!("BEGIN; LOCK TABLE \"{schema}\".span_rows IN ACCESS SHARE MODE"))
        .await
        .expect("a lock");
    let made = tokio::spawn(async move { superuser.create_roles().await });
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    for wanted in [1, 0] {
        eventually("the lock is waited for, then given up", async || {
            database.value::<i64>(waiting).await == wanted
        })
        .await;
    }
    dump.batch_execute("COMMIT").await.expect("the end");
    made.await.expect("no panic").expect("roles");
}
