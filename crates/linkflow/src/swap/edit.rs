//! Changes cascades in `linkflow.toml` and leaves everything else in it as it was written.

use std::path::Path;

use linkflow_model::{ProviderName, ServiceName};
use toml_edit::{Array, DocumentMut, Item, Value};

/// `text` with `new` in the place of `old` in the cascades of `services`.
///
/// # Errors
/// When a cascade is not in this file: an included one may have it.
pub(crate) fn edited(
    text: &str,
    services: &[ServiceName],
    old: &ProviderName,
    new: &ProviderName,
) -> Result<String, String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    for service in services {
        let found = document
            .get_mut("services")
            .and_then(|services| services.get_mut(service.as_str()))
            .and_then(|service| service.get_mut("runs_on"))
            .and_then(Item::as_array_mut);
        let cascade = found.ok_or_else(|| {
            format!("`services.{service}.runs_on` is not in this file: put {new} in the place of {old} where it is")
        })?;
        replace(cascade, old, new);
    }
    Ok(document.to_string())
}

/// Puts `new` where `old` is, and takes it away where else it is. Comments and spaces stay.
fn replace(cascade: &mut Array, old: &ProviderName, new: &ProviderName) {
    let at = |cascade: &Array, name: &ProviderName| {
        cascade.iter().position(|value| value.as_str() == Some(name.as_str()))
    };
    let Some(place) = at(cascade, old) else { return };
    let was = at(cascade, new);
    if let Some(held) = cascade.get_mut(place) {
        let decor = held.decor().clone();
        *held = Value::from(new.as_str());
        *held.decor_mut() = decor;
    }
    if let Some(was) = was {
        cascade.remove(was);
    }
}

/// `text` with `address` as the address of `provider`.
///
/// # Errors
/// When the provider is not in this file.
pub(crate) fn addressed(
    text: &str,
    provider: &ProviderName,
    address: &str,
) -> Result<String, String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let held = document
        .get_mut("providers")
        .and_then(|providers| providers.get_mut(provider.as_str()))
        .and_then(|provider| provider.get_mut("address"))
        .and_then(Item::as_value_mut);
    let held = held.ok_or_else(|| format!("`providers.{provider}.address` is not in this file"))?;
    let decor = held.decor().clone();
    *held = Value::from(address);
    *held.decor_mut() = decor;
    Ok(document.to_string())
}

/// Changes the cascades in the file at `path`: the whole new text, or nothing.
///
/// # Errors
/// Why it cannot be read or written, or what is wrong in it.
pub(crate) fn edit(
    path: &Path,
    services: &[ServiceName],
    old: &ProviderName,
    new: &ProviderName,
) -> Result<(), String> {
    rewrite(path, |text| edited(text, services, old, new))
}

/// Changes the file at `path`: the whole new text, or nothing.
///
/// # Errors
/// Why it cannot be read or written, or what is wrong in it.
pub(crate) fn rewrite(
    path: &Path,
    change: impl FnOnce(&str) -> Result<String, String>,
) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let changed = change(&text).map_err(|error| wrong(&error))?;
    // Beside the file, so that the last step is a rename; a link stays a link.
    let real = std::fs::canonicalize(path).map_err(|error| wrong(&error))?;
    let mut beside = real.clone().into_os_string();
    beside.push(".linkflow-new");
    let beside = std::path::PathBuf::from(beside);
    let write = || {
        std::fs::write(&beside, &changed)?;
        std::fs::set_permissions(&beside, std::fs::metadata(&real)?.permissions())?;
        std::fs::File::open(&beside)?.sync_all()?;
        std::fs::rename(&beside, &real)
    };
    write().map_err(|error| {
        drop(std::fs::remove_file(&beside));
        wrong(&error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, services: &[&str], expected: Result<&str, &str>) {
        let services: Vec<ServiceName> = services.iter().map(|s| s.parse().unwrap()).collect();
        let done = edited(text, &services, &"fly".parse().unwrap(), &"koyeb".parse().unwrap());
        assert_eq!(done.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn only_the_name_changes_and_comments_stay_where_they_are() {
        check(
            "# ours\n[services.api]   # the API\nruns_on = [ \"fly\", # cheap\n  \"hetzner\" ] # last\nport=80\n",
            &["api"],
            Ok(
                "# ours\n[services.api]   # the API\nruns_on = [ \"koyeb\", # cheap\n  \"hetzner\" ] # last\nport=80\n",
            ),
        );
    }

    #[test]
    fn inline_tables_and_quoted_names_are_found() {
        check(
            "services = { api = { runs_on = ['fly'] }, web = { runs_on = ['fly'] } }\n",
            &["web"],
            Ok("services = { api = { runs_on = ['fly'] }, web = { runs_on = [\"koyeb\"] } }\n"),
        );
    }

    #[test]
    fn a_provider_that_was_a_spare_moves_up() {
        check(
            "[services.api]\nruns_on = [\"fly\", \"hetzner\", \"koyeb\"]\n",
            &["api"],
            Ok("[services.api]\nruns_on = [\"koyeb\", \"hetzner\"]\n"),
        );
    }

    #[test]
    fn a_cascade_that_is_elsewhere_is_told_and_not_invented() {
        check(
            "include = [\"services.toml\"]\n",
            &["api"],
            Err(
                "`services.api.runs_on` is not in this file: put koyeb in the place of fly where it is",
            ),
        );
    }

    #[test]
    fn the_file_is_changed_whole_and_keeps_its_rights() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("linkflow.toml");
        std::fs::write(&file, "[services.api]\nruns_on = [\"fly\"]\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let (old, new) = ("fly".parse().unwrap(), "koyeb".parse().unwrap());
        edit(&file, &["api".parse().unwrap()], &old, &new).unwrap();
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "[services.api]\nruns_on = [\"koyeb\"]\n"
        );
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(edit(&file, &["web".parse().unwrap()], &old, &new).is_err());
    }
}
