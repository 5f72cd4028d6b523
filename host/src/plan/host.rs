//! What `[host]` means.

use std::time::Duration;

use toml::Spanned;

use super::quantity::{duration, limit, volume};
use super::scope::{Scope, Wrong};
use super::{Confine, Coredumps, Location, Plan, identity, text};
use crate::trigger::{self, BooleanOrText, Field, Host, HostLimits, TextOr, did_you_mean, quoted};

pub(super) const GRACE: Duration = Duration::from_secs(30);
const COREDUMPS: u64 = 256 << 20;

/// Reads it into `plan`.
pub(super) fn read(scope: &mut Scope<'_>, host: Host, plan: &mut Plan) {
    let Host {
        grace,
        limits,
        cache,
        control,
        coredumps,
        user,
        group,
        sandbox,
    } = host;
    if let (Some(key), None) = (group.key(), user.key()) {
        let help = "the host becomes another user, and this is that one's group: give `user`, too";
        scope.refuse(key, "stands without `user`", help);
    }
    plan.user = scope.value(user, identity::uid);
    plan.group = scope.value(group, identity::gid);
    plan.confine = scope.text(sandbox, confine).unwrap_or(Confine::Auto);
    let HostLimits { connections } = limits.given().unwrap_or_default();
    plan.grace = scope.text(grace, duration).unwrap_or(GRACE);
    plan.connections = scope.value(connections, limit);
    let folder = scope.folder().to_owned();
    let location = |written, no, help| match written {
        BooleanOrText::Text(path) => Ok(Location::At(text::path(path, &folder)?)),
        BooleanOrText::Boolean(false) => Ok(Location::None),
        BooleanOrText::Boolean(true) => Err(Wrong::new(no, help)),
    };
    let cache = scope.value(cache, |written| {
        let help =
            "without the key there is a cache in the usual folder; with `false` there is none";
        location(written, "`true` is no folder", help)
    });
    plan.cache = cache.unwrap_or(Location::Usual);
    let control = scope.value(control, |written| {
        let help = "without the key the socket is in the usual folder; with `false` there is none";
        location(written, "`true` is no path", help)
    });
    plan.control = control.unwrap_or(Location::Usual);
    plan.coredumps = self::coredumps(scope, coredumps);
}

fn coredumps(scope: &mut Scope<'_>, field: Field<TextOr<trigger::Coredumps>>) -> Option<Coredumps> {
    let Field::Given(key, written) = field else {
        return None;
    };
    let folder = scope.folder().to_owned();
    let absolute = |path: String| text::path(path, &folder);
    let span = written.span();
    let (path, total) = match written.into_inner() {
        TextOr::Text(path) => {
            let path = scope.part(&key.path, Spanned::new(span, path), absolute);
            (path, None)
        }
        TextOr::Table(trigger::Coredumps { path, total }) => {
            if !path.is_written() {
                scope.problem(&span, "`coredumps` has no `path`").help(
                    r#"core dumps are written { path = "/var/lib/portcullis", total = "256MiB" }"#,
                );
            }
            (scope.value(path, absolute), scope.text(total, volume))
        }
    };
    let total = total.unwrap_or(COREDUMPS);
    path.map(|path| Coredumps { path, total })
}

fn confine(how: &str) -> Result<Confine, Wrong> {
    match how {
        "auto" => Ok(Confine::Auto),
        "off" => Ok(Confine::Off),
        "required" => Ok(Confine::Required),
        _ => Err(Wrong::new(
            format!("{} is not a way to confine the host", quoted(how)),
            did_you_mean(how, ["auto", "off", "required"])
                .unwrap_or_else(|| r#"allowed: "auto", "off", "required""#.to_owned()),
        )),
    }
}
