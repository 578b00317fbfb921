//! The rights of each identity, as `kubectl auth can-i --list` answers: `docs/src/internals/permissions.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::{Context, Result, ensure};
use e2e::{Namespace, internals, kwok};
use serde_json::json;

use super::shipped::{apply_renamed, renamed};

const VERBS: [&str; 10] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "impersonate",
    "*",
];

/// Verbs by resource, with the names that they are restricted to.
type Rights = BTreeMap<String, BTreeSet<String>>;

/// Returns what the ServiceAccount may do in the namespace.
fn list(account: &str, home: &Namespace, there: &Namespace) -> Result<Rights> {
    let user = format!("--as=system:serviceaccount:{}:{account}", home.name);
    let text = there.kubectl(&["auth", "can-i", "--list", "--no-headers", &user])?;
    let mut rights = Rights::new();
    for line in text.lines() {
        let (resource, rest) = line.split_once('[').with_context(|| format!("read {line:?}"))?;
        let lists: Vec<_> = rest.split('[').map(|it| it.split(']').next().unwrap_or(it)).collect();
        let [urls, names, verbs] = lists[..] else { anyhow::bail!("three lists: {line:?}") };
        let mut what = format!("{}{urls}", resource.trim());
        if !names.is_empty() {
            what = format!("{what} ({})", names.replace(&renamed(home, ""), "releaselifecycle-"));
        }
        let verbs = verbs.split(' ').map(str::to_owned);
        rights.entry(what).or_default().extend(verbs);
    }
    ensure!(!rights.is_empty(), "{account} may do nothing at all");
    Ok(rights)
}

/// An operator, and a namespace that has allowed it nothing.
async fn install(flavour: &str) -> Result<Namespace> {
    let home = Namespace::new(kwok(), "permissions").await?;
    apply_renamed(&home, flavour, "--server-side")?;
    let account = renamed(&home, "controller");
    home.wait_may(&account, "watch", "jobs.batch", true).await?;
    home.wait_may(&account, "create", "leases.coordination.k8s.io", true).await?;
    let last = json!({"verb": "get", "resource": "namespaces"});
    home.wait_allowed(&account, last, true).await?;
    Ok(home)
}

fn bind(there: &Namespace, home: &Namespace, role: &str, of: &str, account: &str) -> Result<()> {
    let (role_flag, name) = (format!("--clusterrole={}", renamed(home, role)), renamed(home, role));
    let account = format!("--serviceaccount={of}:{account}");
    there.kubectl(&["create", "rolebinding", &name, &role_flag, &account]).map(drop)
}

fn cell(verbs: Option<&BTreeSet<String>>) -> Result<String> {
    let Some(verbs) = verbs else { return Ok(String::new()) };
    let place = |verb: &&String| VERBS.iter().position(|known| known == verb);
    ensure!(verbs.iter().all(|verb| place(&verb).is_some()), "a verb of {verbs:?} has no place");
    let mut verbs: Vec<_> = verbs.iter().collect();
    verbs.sort_by_key(place);
    Ok(verbs.into_iter().map(String::as_str).collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn the_page_shows_what_each_identity_may_do() -> Result<()> {
    let multi = install("multi-tenant").await?;
    let single = install("single-tenant").await?;
    let tenant = Namespace::new(kwok(), "permissions-tenant").await?;
    let foreign = Namespace::new(kwok(), "permissions-foreign").await?;
    let operator = renamed(&multi, "controller");
    bind(&tenant, &multi, "impersonator", &multi.name, &operator)?;
    for account in ["editor", "nobody"] {
        tenant.kubectl(&["create", "serviceaccount", account])?;
    }
    bind(&tenant, &multi, "editor", &tenant.name, "editor")?;
    let impersonate = json!({"namespace": tenant.name, "verb": "impersonate",
                             "resource": "serviceaccounts"});
    multi.wait_allowed(&operator, impersonate, true).await?;
    tenant.wait_may("editor", "create", "releaselifecycles.releaselifecycle.dev", true).await?;
    tenant.wait_may("deployer", "create", "jobs.batch", true).await?;
    let single_operator = renamed(&single, "controller");
    single.wait_may(&single_operator, "create", "jobs.batch", true).await?;

    let everybody = list("nobody", &tenant, &tenant)?;
    let columns = [
        ("operator, in every namespace", list(&operator, &multi, &foreign)?),
        ("operator, in its own", list(&operator, &multi, &multi)?),
        ("operator, in a tenant's", list(&operator, &multi, &tenant)?),
        ("single-tenant operator, in every namespace", list(&single_operator, &single, &foreign)?),
        ("`releaselifecycle-deployer`", list("deployer", &tenant, &tenant)?),
        ("`releaselifecycle-editor`", list("editor", &tenant, &tenant)?),
    ];
    // Neither holds outside of the tenant's namespace.
    for account in ["deployer", "editor"] {
        assert_eq!(list(account, &tenant, &foreign)?, everybody);
    }

    let rows: BTreeSet<_> = columns.iter().flat_map(|(_, rights)| rights.keys()).collect();
    let heads: Vec<_> = columns.iter().map(|(head, _)| *head).collect();
    let mut table = format!("| | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for row in rows.into_iter().filter(|row| !everybody.contains_key(*row)) {
        let cells = columns.iter().map(|(_, rights)| cell(rights.get(row)));
        let cells = cells.collect::<Result<Vec<_>>>()?;
        writeln!(table, "| `{row}` | {} |", cells.join(" | "))?;
    }
    // What it may do in every namespace holds for a list of all of them.
    for (row, verbs) in columns[0].1.iter().filter(|(row, _)| !everybody.contains_key(*row)) {
        // Such as `endpointslices.discovery.k8s.io (kubernetes)`, for one object.
        let (row, name) =
            row.strip_suffix(')').and_then(|it| it.split_once(" (")).unwrap_or((row, ""));
        let (resource, subresource) = row.split_once('/').unwrap_or((row, ""));
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        for verb in verbs {
            let attributes = json!({"verb": verb, "group": group, "resource": resource,
                                    "subresource": subresource, "name": name});
            multi.wait_allowed(&operator, attributes, true).await?;
        }
    }
    internals::compare("permissions", &table)
}
