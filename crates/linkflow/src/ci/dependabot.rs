//! `.github/dependabot.yml`: what is kept up to date, by what the repository holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::yaml;

/// Folders that hold what others wrote, or what was built.
const PASSED_BY: &[&str] = &["node_modules", "vendor", "target", "dist", "build"];
/// How deep folders are looked into.
const DEPTH: usize = 5;

/// The folders of each ecosystem, from the root of the repository: `/` and `/api`.
pub(crate) type Found = BTreeMap<&'static str, BTreeSet<String>>;

/// What `root` holds.
pub(crate) fn find(root: &Path) -> Found {
    let mut found = Found::new();
    look(root, "/", DEPTH, &mut found);
    // Members of a workspace are kept up to date with it.
    for (ecosystem, manifest, word) in
        [("cargo", "Cargo.toml", "[workspace]"), ("npm", "package.json", "\"workspaces\"")]
    {
        let Some(folders) = found.get_mut(ecosystem) else { continue };
        let is_workspace = |folder: &&String| {
            let path = root.join(folder.trim_start_matches('/')).join(manifest);
            std::fs::read_to_string(path).is_ok_and(|text| text.contains(word))
        };
        let roots: Vec<String> = folders.iter().filter(is_workspace).cloned().collect();
        folders.retain(|folder| {
            !roots.iter().any(|root| {
                folder != root
                    && format!("{folder}/").starts_with(&format!("{}/", root.trim_end_matches('/')))
            })
        });
    }
    found
}

fn look(folder: &Path, shown: &str, depth: usize, found: &mut Found) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            let passed_by = name.starts_with('.') || PASSED_BY.contains(&name.as_str());
            if depth > 0 && !passed_by {
                let below = format!("{}/{name}", shown.trim_end_matches('/'));
                look(&entry.path(), &below, depth - 1, found);
            }
        } else if let Some(ecosystem) = ecosystem(&name) {
            found.entry(ecosystem).or_default().insert(shown.to_owned());
        }
    }
}

/// What a file of that name belongs to.
fn ecosystem(name: &str) -> Option<&'static str> {
    match name {
        "Cargo.toml" => Some("cargo"),
        "package.json" => Some("npm"),
        "composer.json" => Some("composer"),
        "go.mod" => Some("gomod"),
        "requirements.txt" | "pyproject.toml" => Some("pip"),
        _ if name == "Dockerfile"
            || name.starts_with("Dockerfile.")
            || name.ends_with(".Dockerfile") =>
        {
            Some("docker")
        }
        _ => None,
    }
}

/// The file's text. The workflows themselves are always kept up to date.
pub(crate) fn text(found: &Found) -> String {
    let mut all = found.clone();
    all.entry("github-actions").or_default().insert("/".to_owned());
    let mut out = "version: 2\nupdates:\n".to_owned();
    for (ecosystem, folders) in &all {
        out.push_str(&format!("  - package-ecosystem: {ecosystem}\n    directories:\n"));
        for folder in folders {
            out.push_str(&format!("      - {}\n", yaml(folder)));
        }
        out.push_str("    schedule:\n      interval: weekly\n");
        // One pull request for all small steps, so that somebody reads it.
        out.push_str(&format!(
            "    groups:\n      {ecosystem}:\n        update-types: [minor, patch]\n"
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ecosystem_is_found_where_it_is_and_members_of_a_workspace_are_not_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n");
        put("crates/a/Cargo.toml", "[package]\n");
        put("web/package.json", "{}");
        put("web/node_modules/x/package.json", "{}");
        put("api/composer.json", "{}");
        put("api/Dockerfile", "FROM php\n");
        put("jobs/requirements.txt", "");
        put("jobs/pyproject.toml", "");
        put("tools/go.mod", "module x\n");
        let found = find(dir.path());
        let rows: Vec<String> = found
            .iter()
            .map(|(name, at)| {
                format!("{name} {}", at.iter().cloned().collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(
            rows,
            ["cargo /", "composer /api", "docker /api", "gomod /tools", "npm /web", "pip /jobs"]
        );
        let text = text(&found);
        assert!(
            text.contains("  - package-ecosystem: github-actions\n    directories:\n      - /\n"),
            "{text}"
        );
        assert!(
            text.contains("  - package-ecosystem: npm\n    directories:\n      - /web\n"),
            "{text}"
        );
    }
}
