//! `Impersonate-*` headers: acting as somebody else, if one may.

use crate::attributes::Access;
use crate::dispatch::authorize;
use crate::service::Call;
use crate::status::Status;
use crate::user::UserInfo;

pub(crate) fn apply(call: &mut Call) -> Result<(), Status> {
    let user = call.header("impersonate-user").to_owned();
    let groups: Vec<String> = call
        .headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    if user.is_empty() {
        return match groups.is_empty() {
            true => Ok(()),
            false => Err(Status::bad_request(
                "requested groups without impersonating a user",
            )),
        };
    }
    may(call, "users", &user)?;
    for group in &groups {
        may(call, "groups", group)?;
    }
    let mut acting = UserInfo {
        name: user,
        groups,
        ..UserInfo::default()
    };
    let parts: Vec<&str> = acting.name.split(':').collect();
    if let ["system", "serviceaccount", namespace, name] = parts.as_slice()
        && acting.groups.is_empty()
    {
        acting = UserInfo::service_account(namespace, name, "");
    }
    match acting.name.as_str() {
        "system:anonymous" => acting.add_group("system:unauthenticated"),
        _ => acting.add_group("system:authenticated"),
    }
    call.user = acting;
    Ok(())
}

fn may(call: &Call, resource: &str, name: &str) -> Result<(), Status> {
    let access = Access {
        verb: "impersonate".to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        ..Access::default()
    };
    authorize(call, &access)
}
