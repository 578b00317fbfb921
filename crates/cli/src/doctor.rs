//! `doctor`: whether the operator is installed and leads, whether it and a release have their rights, and
//! what to do if not.

mod checks;

use api::ReleaseLifecycle;
use http::{Request, header::DATE};
use jiff::{Timestamp, fmt::rfc2822};
use k8s_openapi::api::{
    apps::v1::Deployment,
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    coordination::v1::Lease,
    core::v1::ServiceAccount,
};
use kube::{
    Api,
    api::{ListParams, PostParams},
    client::Body,
};
use serde_json::{Value, json};

use self::checks::{Facts, Finding, OfRelease, Right, checks, operator_account, result_word};
use crate::{
    Outcome,
    args::{Doctor, Format},
    cluster::{Asked, Cluster},
    format, installed, screen,
    words::{Look, aligned, printable},
};

/// The most Leases that are read: each node has one.
const MOST_LEASES: u32 = 5000;

pub(crate) async fn doctor(args: &Doctor) -> anyhow::Result<Outcome> {
    let cluster = Cluster::find(&args.place).await?;
    let object = match &args.name {
        Some(name) => Some(cluster.get(name).await?),
        None => None,
    };
    let (definition, deployments, leases, clocks) = tokio::try_join!(
        installed::definition(&cluster),
        installed::deployments(&cluster),
        leases(&cluster),
        clocks(&cluster)
    )?;
    let release = match object {
        Some(object) => Some(of_release(&cluster, object, &deployments).await?),
        None => None,
    };
    let facts = Facts { definition, deployments, leases, clocks, release };
    let findings = checks(&facts);
    let rows = || findings.iter().map(row).collect::<Value>();
    screen::write(&match args.output {
        Format::Json => format::json(&rows()),
        Format::Yaml => format::yaml(&rows()),
        Format::Table => render(&findings),
    })?;
    let failed = findings.iter().any(Finding::is_failure);
    Ok(if failed { Outcome::Failed } else { Outcome::Good })
}

fn row(finding: &Finding) -> Value {
    json!({"result": result_word(finding.result), "subject": finding.subject,
           "message": finding.message})
}

fn render(findings: &[Finding]) -> String {
    let row = |finding: &Finding| {
        let cells = [result_word(finding.result), finding.subject, &finding.message];
        cells.map(printable).to_vec()
    };
    aligned(findings.iter().map(row).collect(), Look::PLAIN)
}

async fn leases(cluster: &Cluster) -> anyhow::Result<Asked<Vec<Lease>>> {
    let api: Api<Lease> = Api::all(cluster.client());
    let params = ListParams::default().limit(MOST_LEASES);
    let listing = async { Ok(api.list(&params).await?.items) };
    cluster.asked("listing Leases in all namespaces", listing).await
}

/// Returns the API server's time, if it says it, and that of this machine.
async fn clocks(cluster: &Cluster) -> anyhow::Result<(Option<Timestamp>, Timestamp)> {
    let client = cluster.client();
    let asking = async {
        let request = Request::get("/version").body(Body::empty());
        client.send(request.map_err(kube::Error::HttpError)?).await
    };
    let answer = match cluster.asked("reading the version of the API server", asking).await? {
        Asked::Known(answer) => answer,
        Asked::Refused(_) => return Ok((None, Timestamp::now())),
    };
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| rfc2822::parse(date).ok());
    Ok((date.map(|date| date.timestamp()), Timestamp::now()))
}

async fn of_release(
    cluster: &Cluster,
    object: ReleaseLifecycle,
    deployments: &Asked<Vec<Deployment>>,
) -> anyhow::Result<OfRelease> {
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let name = object.spec.service_account_name.clone();
    let api: Api<ServiceAccount> = Api::namespaced(cluster.client(), &namespace);
    let account = match &name {
        None => None,
        Some(name) => {
            let what = format!("reading ServiceAccount {name} in namespace {namespace}");
            let found = cluster.asked(&what, api.get_opt(name)).await?;
            Some((name.clone(), found.map(|found| found.is_some())))
        }
    };
    let mut rights = Vec::new();
    if let Some(name) = name {
        let operator = match deployments {
            Asked::Known(deployments) => deployments.iter().find_map(operator_account),
            Asked::Refused(_) => None,
        };
        for mut right in Right::needed(&namespace, &name, operator) {
            right.allowed = Some(allowed(cluster, &right).await?);
            rights.push(right);
        }
    }
    Ok(OfRelease { object, account, rights })
}

/// Returns whether the user of a right has it.
async fn allowed(cluster: &Cluster, right: &Right) -> anyhow::Result<Asked<bool>> {
    let attributes = ResourceAttributes {
        group: Some(right.group.to_owned()),
        resource: Some(right.resource.to_owned()),
        subresource: right.subresource.map(str::to_owned),
        verb: Some(right.verb.to_owned()),
        namespace: Some(right.namespace.clone()),
        name: right.name.clone(),
        ..ResourceAttributes::default()
    };
    let (namespace, account) = &right.account;
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            user: Some(format!("system:serviceaccount:{namespace}:{account}")),
            groups: Some(vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ]),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(cluster.client());
    let params = PostParams::default();
    let asking = async {
        let answer = api.create(&params, &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    };
    cluster.asked("creating a SubjectAccessReview", asking).await
}
