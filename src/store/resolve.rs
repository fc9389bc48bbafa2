//! What a batch refers to: its documents and resources, found or stored.

use std::sync::Arc;

use hashbrown::HashMap;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::columns::Columns;
use super::connection::Connection;
use super::{Known, TraceStore};
use crate::error::{Error, Result};
use crate::span::{Document, Halves, Resource, resource_json};

/// A resource of a batch as it is stored.
pub(super) struct Described<'a> {
    hash: [u8; 16],
    resource: &'a Resource,
    body: String,
}

impl TraceStore {
    /// The ids of the documents that were not known, stored where they are new.
    pub(super) async fn resolve_documents(
        &self,
        connection: &Connection,
        documents: &[Arc<Document>],
    ) -> Result<HashMap<u128, Known>> {
        if documents.is_empty() {
            return Ok(HashMap::new());
        }
        let doing = || Error::database("storing documents");
        // Documents that differ only in what PostgreSQL cannot hold share their hash.
        let by_hash: HashMap<Uuid, &Document> =
            documents.iter().map(|document| (Uuid::from_bytes(document.hash), document.as_ref())).collect();
        let hashes: Vec<Uuid> = by_hash.keys().copied().collect();
        let mut ids: HashMap<Uuid, i32> = HashMap::with_capacity(by_hash.len());
        let find = &self.inner.sql.find_documents;
        for row in connection.query_prepared(find, &[&hashes]).await.map_err(doing())? {
            ids.insert(row.column(1)?, row.column(0)?);
        }
        let missing: Vec<&Document> = by_hash
            .iter()
            .filter(|(hash, _)| !ids.contains_key(*hash))
            .map(|(_, document)| *document)
            .collect();
        if !missing.is_empty() {
            self.insert_documents(connection, &missing, &mut ids).await?;
        }
        let mut resolved = HashMap::with_capacity(documents.len());
        for document in documents {
            let hash = Uuid::from_bytes(document.hash);
            if let Some(&id) = ids.get(&hash) {
                self.inner.documents.insert(document.key, Known { id, hash });
                resolved.insert(document.key, Known { id, hash });
            }
        }
        Ok(resolved)
    }

    async fn insert_documents(
        &self,
        connection: &Connection,
        missing: &[&Document],
        ids: &mut HashMap<Uuid, i32>,
    ) -> Result<()> {
        fn column<'a, T>(documents: &[&'a Document], of: impl Fn(&'a Document) -> T) -> Vec<T> {
            documents.iter().map(|document| of(document)).collect()
        }
        let parameters: [&(dyn ToSql + Sync); 9] = [
            &column(missing, |document| Uuid::from_bytes(document.hash)),
            &column(missing, |document| document.service.as_str()),
            &column(missing, |document| document.scope.as_str()),
            &column(missing, |document| document.name.as_str()),
            &column(missing, |document| document.kind),
            &column(missing, |document| document.status_code),
            &column(missing, |document| document.body.as_str()),
            &column(missing, |document| document.text.as_str()),
            &column(missing, |document| document.attributes.as_deref()),
        ];
        let insert = &self.inner.sql.insert_documents;
        let rows = connection.query_prepared(insert, &parameters).await;
        for row in rows.map_err(Error::database("storing documents"))? {
            ids.insert(row.column(1)?, row.column(0)?);
        }
        Ok(())
    }

    /// The batch's resources, where all of them are known.
    pub(super) fn known_resources(&self, described: &[Described<'_>]) -> Option<Vec<Known>> {
        let known = |of: &Described<'_>| {
            let id = self.inner.resources.get(&of.hash)?;
            Some(Known { id, hash: Uuid::from_bytes(of.hash) })
        };
        described.iter().map(known).collect()
    }

    /// The batch's resources, stored where they are new.
    pub(super) async fn resolve_resources(
        &self,
        connection: &Connection,
        described: &[Described<'_>],
    ) -> Result<Vec<Known>> {
        let doing = || Error::database("storing resources");
        let known = &self.inner.resources;
        let mut unknown: HashMap<Uuid, (String, &str)> = HashMap::new();
        for Described { hash, resource, body } in described {
            if !known.contains_key(hash) {
                let service = resource.service_name().replace('\0', "\u{2400}");
                unknown.insert(Uuid::from_bytes(*hash), (service, body));
            }
        }
        let mut ids = HashMap::new();
        if !unknown.is_empty() {
            let mut rows = self.find_resources(connection, &mut unknown).await?;
            if !unknown.is_empty() {
                let hashes: Vec<Uuid> = unknown.keys().copied().collect();
                let services: Vec<&str> = unknown.values().map(|(service, _)| service.as_str()).collect();
                let bodies: Vec<&str> = unknown.values().map(|(_, body)| *body).collect();
                let new: [&(dyn ToSql + Sync); 3] = [&hashes, &services, &bodies];
                connection.execute_prepared(&self.inner.sql.insert_resources, &new).await.map_err(doing())?;
                // Another process may have been faster, and then the insertion waited for it.
                rows.extend(self.find_resources(connection, &mut unknown).await?);
            }
            for row in rows {
                let (id, hash): (i32, Uuid) = (row.column(0)?, row.column(1)?);
                known.insert(hash.into_bytes(), id);
                ids.insert(hash.into_bytes(), id);
            }
        }
        described
            .iter()
            .map(|Described { hash, .. }| {
                ids.get(hash)
                    .copied()
                    .or_else(|| known.get(hash))
                    .map(|id| Known { id, hash: Uuid::from_bytes(*hash) })
                    .ok_or_else(|| Error::Corrupt("a resource lost its id on the way".into()))
            })
            .collect()
    }

    /// Finds resources by their hashes, and leaves those that were not found.
    async fn find_resources<T>(
        &self,
        connection: &Connection,
        unknown: &mut HashMap<Uuid, T>,
    ) -> Result<Vec<Row>> {
        let hashes: Vec<Uuid> = unknown.keys().copied().collect();
        let rows = connection.query_prepared(&self.inner.sql.find_resources, &[&hashes]).await;
        let rows = rows.map_err(Error::database("storing resources"))?;
        for row in &rows {
            unknown.remove(&row.column::<Uuid>(1)?);
        }
        Ok(rows)
    }
}

/// The resources of a batch as they are stored.
pub(super) fn describe(halves: &Halves) -> Vec<Described<'_>> {
    let resources = halves.resources.iter().map(|resource| {
        let (body, _) = resource_json(resource);
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::hash(body.as_bytes()).as_bytes()[..16]);
        Described { hash, resource, body }
    });
    resources.collect()
}
