//! The migration of the sample app: it writes one row into the ledger and ends, so that its runs can be counted.

use std::sync::Arc;

use super::settings::{Behaviour, COMMAND, Settings};

/// What an image's own migration is called; and any command with such a word in it stands for it, so that whatever
/// command a config has, `php artisan migrate --force`, can be rehearsed.
const MARK: &str = "migrat";

/// Whether the words of a command line that names no service are those of a migration.
pub(super) fn is_meant_by(words: &str) -> bool {
    words.to_lowercase().contains(MARK)
}

/// Migrates, and ends.
pub(super) async fn run(settings: Arc<Settings>) -> Result<(), String> {
    let command = settings.variable(COMMAND).unwrap_or("migrate").to_owned();
    settings.log(&format!("`{command}` of release {}", settings.me.release));
    let books = settings.books()?;
    let row = books.migrate(&settings.me, &command, settings.wall()).await;
    row.map_err(|error| error.to_string())?;
    if settings.behaviour == Behaviour::BadMigration {
        settings.log("adding the column entries.note");
        return Err("the column entries.note is there already (this image's migration is broken on purpose)".to_owned());
    }
    settings.log("migrated");
    Ok(())
}
