//! Reads what a release is to consist of from where its spec says, as the tenant.

use std::{collections::BTreeSet, sync::Arc};

use api::ObjectsFromKind;
use lifecycle::plan::{ObjectRef, digest};
use serde_json::Value;
use sources::{
    ChartLocation, Content, Reads, ResolvedChart, ResolvedSource, WantedChart, chart, objects,
    values,
};

use crate::{
    cluster::error::Error,
    desired::charts::{Fetched, Request},
    release::Release,
    support::{blocking, key::key},
    watches::sources::{Reference, Referent},
};

/// What `kubectl apply` can just about repeat in its annotation, which is at most 256 KiB.
const LARGE_BYTES: usize = 128 * 1024;

/// What stands where the spec says. What only a change mends is `Error::Blocked`.
pub(crate) async fn read(release: &Release<'_>) -> Result<ResolvedSource, Error> {
    let source = &release.object.spec.source;
    if let Some(objects) = &source.objects {
        release.ctx.forget_source(&key(&release.object));
        return Ok(ResolvedSource::Objects(objects::inline(objects)?));
    }
    release.ctx.references.follow(release, references(release));
    if source.is_chart() {
        return Box::pin(chart(release)).await.map(Box::new).map(ResolvedSource::Chart);
    }
    let reads = TenantReads(release);
    let texts = objects::read(&source.objects_from, &release.namespace, &reads).await?;
    Ok(ResolvedSource::Objects(blocking::run(move || texts.parse()).await?))
}

/// The chart that the spec names.
async fn chart(release: &Release<'_>) -> Result<ResolvedChart, Error> {
    let (spec, namespace, reads) =
        (&release.object.spec, &*release.namespace, &TenantReads(release));
    // Before the chart: to correct them, nothing has to be fetched.
    let values = values::read(spec, namespace, reads).await?;
    let location = ChartLocation::of(&spec.source)?;
    let path = location.path().map(str::to_owned);
    let (archive, digest) = match location {
        ChartLocation::Archive(from) => {
            release.ctx.charts.forget(&key(&release.object));
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
    let comeback = release.ctx.references.comeback(release);
    let request = Request::new(&release.object, wanted, comeback);
    let Fetched { archive, digest } = release.ctx.charts.get(&request).await?;
    Ok((archive, digest))
}

/// Reads the cluster as the tenant of a release.
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

/// What the source and the values refer to.
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
    for from in &spec.source.objects_from {
        add(Referent::Core(from.kind), &from.name);
    }
    for from in &spec.values_from {
        add(Referent::Core(from.kind), &from.name);
    }
    let chart = spec.source.chart.as_ref();
    if let Some(from) = chart.and_then(|chart| chart.archive.as_ref()) {
        add(Referent::Core(from.kind), &from.name);
    }
    let oci = chart.and_then(|chart| chart.oci.as_ref());
    let repository = chart.and_then(|chart| chart.repository.as_ref());
    let secrets = oci.into_iter().flat_map(|it| [&it.secret_ref, &it.cert_secret_ref]);
    let of_repository = repository.into_iter();
    let of_repository = of_repository.flat_map(|it| [&it.secret_ref, &it.cert_secret_ref]);
    for secret in secrets.chain(of_repository).flatten() {
        add(Referent::Core(ObjectsFromKind::Secret), &secret.name);
    }
    if let Some(source) = &spec.source.source_ref {
        add(Referent::Flux(source.kind), &source.name);
    }
    named
}

/// What to do about a source that `kubectl apply` will soon not be able to repeat in its annotation.
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
