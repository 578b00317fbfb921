//! Reads the desired state of a release from the source that its spec names, as the tenant.

use std::{collections::BTreeSet, sync::Arc};

use api::{ChartKind, ObjectsFromKind, SourceKind};
use lifecycle::{digest::digest, object::ObjectRef};
use serde_json::Value;
use sources::{
    ChartLocation, Content, Reads, ResolvedChart, ResolvedSource, WantedChart, chart, objects,
    values,
};

use crate::{
    cluster::error::Error,
    release::{Release, Source},
    rendering::charts::{Fetched, Request},
    support::{blocking, key::key},
    watches::sources::{Reference, Referent},
};

/// The size of an object that `kubectl apply` can just about repeat in its annotation, which is at
/// most 256 KiB.
const LARGE_BYTES: usize = 128 * 1024;

/// Reads the source of the release into `release.source`, once per reconciliation. A source that is
/// unknown is no error, since not everything depends on it.
pub(crate) async fn resolve(release: &mut Release<'_>) -> Result<(), Error> {
    if matches!(release.source, Source::Unread) {
        release.source = match Box::pin(read(release)).await {
            Ok(found) => Source::Known(Box::new(found)),
            Err(Error::Blocked(failure)) => Source::Unknown(failure, None),
            Err(Error::RetryAfter(failure, wait)) => Source::Unknown(failure, Some(wait)),
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

/// Reads the source that the spec names. An error that only a change resolves is `Error::Blocked`.
async fn read(release: &Release<'_>) -> Result<ResolvedSource, Error> {
    match release.object.spec.source.kind() {
        SourceKind::Objects(written) => {
            release.ctx.forget_source(&key(&release.object));
            Ok(ResolvedSource::Objects(objects::inline(written)?))
        }
        SourceKind::ObjectsFrom(holders) => {
            release.ctx.watches.sources.follow(&key(&release.object), &references(release));
            let reads = TenantReads(release);
            let texts = objects::read(holders, &release.namespace, &reads).await?;
            Ok(ResolvedSource::Objects(
                blocking::run(&release.namespace, move || texts.parse()).await?,
            ))
        }
        SourceKind::Chart(_) | SourceKind::SourceRef(_) => {
            release.ctx.watches.sources.follow(&key(&release.object), &references(release));
            Box::pin(chart(release)).await.map(Box::new).map(ResolvedSource::Chart)
        }
    }
}

/// Returns the chart that the spec names.
async fn chart(release: &Release<'_>) -> Result<ResolvedChart, Error> {
    let (spec, namespace, reads) =
        (&release.object.spec, &*release.namespace, &TenantReads(release));
    // Before the chart: to correct the values, nothing has to be fetched.
    let values = values::read(spec, namespace, reads).await?;
    let location = ChartLocation::of(&spec.source)?;
    let path = location.path().map(str::to_owned);
    let (archive, digest) = match location {
        ChartLocation::Archive(from) => {
            release.ctx.rendering.charts.forget(&key(&release.object));
            let archive: Arc<[u8]> = chart::archive(from, namespace, reads).await?.into();
            let digest = digest(&archive);
            (archive, digest)
        }
        ChartLocation::Server(server) => {
            fetch(release, server.wanted(namespace, reads).await?).await?
        }
        ChartLocation::Flux(source) => {
            fetch(release, chart::of_flux(source, namespace, reads).await?).await?
        }
    };
    Ok(ResolvedChart::new(Content::Archive(archive), digest, path, values))
}

async fn fetch(release: &Release<'_>, wanted: WantedChart) -> Result<(Arc<[u8]>, String), Error> {
    let comeback = release.ctx.watches.sources.comeback(&key(&release.object));
    let request = Request::new(&release.object, wanted, comeback);
    let Fetched { archive, digest } = release.ctx.rendering.charts.get(&request).await?;
    Ok((archive, digest))
}

/// Reads from the cluster as the tenant of a release.
struct TenantReads<'a>(&'a Release<'a>);

impl Reads for TenantReads<'_> {
    type Error = Error;

    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, Error> {
        Ok(self.0.tenant.get(object).await?)
    }

    async fn serves(&self, object: &ObjectRef) -> Result<bool, Error> {
        Ok(self.0.tenant.kind(object).await?.is_some())
    }

    fn absence(&self) -> String {
        format!("does not exist in namespace {}; create it, or correct the name", self.0.namespace)
    }
}

/// Returns the objects that the source and the values refer to.
fn references(release: &Release<'_>) -> BTreeSet<Reference> {
    let (spec, mut named) = (&release.object.spec, BTreeSet::new());
    let mut add = |referent, name: &String| {
        named.insert(Reference {
            identity: release.tenant.identity.clone(),
            referent,
            namespace: release.namespace.clone(),
            name: name.clone(),
        });
    };
    for from in &spec.values_from {
        add(Referent::Core(from.kind), &from.name);
    }
    match spec.source.kind() {
        SourceKind::Objects(_) => {}
        SourceKind::ObjectsFrom(holders) => {
            for from in holders {
                add(Referent::Core(from.kind), &from.name);
            }
        }
        SourceKind::SourceRef(source) => add(Referent::Flux(source.kind), &source.name),
        SourceKind::Chart(chart) => match chart.kind() {
            Some(ChartKind::Archive(from)) => add(Referent::Core(from.kind), &from.name),
            Some(server) => {
                for secret in server.secrets() {
                    add(Referent::Core(ObjectsFromKind::Secret), &secret.name);
                }
            }
            None => {}
        },
    }
    named
}

/// Returns advice about a source that `kubectl apply` will soon not be able to repeat in its
/// annotation.
pub(crate) fn remark(release: &Release<'_>) -> Option<String> {
    let objects = release.object.spec.source.objects.as_ref()?;
    let size: usize = objects.iter().map(|object| object.to_string().len()).sum();
    (size > LARGE_BYTES).then(|| {
        format!(
            "spec.source.objects is {} KiB, and `kubectl apply` fails above 256 KiB: use `kubectl \
             apply --server-side`, or move the objects into ConfigMaps and Secrets that \
             spec.source.objectsFrom names",
            size >> 10
        )
    })
}
