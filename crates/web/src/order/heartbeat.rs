//! Not waiting for a heartbeat, and waiting for it again.

use linkflow_model::{Event, EventKind, HeartbeatState, Level, Paused};
use linkflow_store::StoreError;
use serde_json::json;

use super::Hand;
use crate::operator::Refusal;

/// Has the heartbeat `name` of the config not waited for, until it is resumed. Gives whether it was waited for before.
///
/// # Errors
/// What the store says.
pub async fn pause(hand: Hand<'_>, name: &str) -> Result<bool, Refusal> {
    hand.noting(&format!("pause the heartbeat {name}"), "", leave(hand, name)).await
}

async fn leave(hand: Hand<'_>, name: &str) -> Result<bool, Refusal> {
    let mark = json!(Paused { by: hand.by.to_owned(), at: hand.now });
    match hand.store.write(&HeartbeatState::paused(name), None, &mark, None).await {
        Ok(_) => {}
        Err(StoreError::Conflict { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    told(hand, format!("{} had heartbeat.{name} not waited for", hand.by)).await?;
    Ok(true)
}

/// Has it waited for again: it is due as if it had just reported. Gives whether it was not before.
///
/// # Errors
/// What the store says.
pub async fn resume(hand: Hand<'_>, name: &str) -> Result<bool, Refusal> {
    hand.noting(&format!("resume the heartbeat {name}"), "", expect(hand, name)).await
}

async fn expect(hand: Hand<'_>, name: &str) -> Result<bool, Refusal> {
    let key = HeartbeatState::paused(name);
    let Some(held) = hand.store.read(&key).await? else { return Ok(false) };
    match hand.store.remove(&key, held.version).await {
        Ok(()) => {}
        // Somebody else resumed it in this moment.
        Err(StoreError::Conflict { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    told(hand, format!("{} had heartbeat.{name} waited for again", hand.by)).await?;
    Ok(true)
}

async fn told(hand: Hand<'_>, said: String) -> Result<(), Refusal> {
    hand.store.append(&Event::new(hand.now, EventKind::Control, Level::Notice, said)).await?;
    Ok(())
}
