//! Keys of a terminal, one by one.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Enter,
    Back,
    Escape,
    Interrupt,
}

/// The keys that are pressed. The terminal is as it was before when this is dropped.
pub(super) struct Keys {
    pressed: mpsc::Receiver<Key>,
    before: Option<Termios>,
    ended: Arc<AtomicBool>,
}

impl Keys {
    /// Reads keys from now on, where stdin is a terminal.
    pub(super) fn read() -> Self {
        let (tell, pressed) = mpsc::channel(64);
        let ended = Arc::new(AtomicBool::new(false));
        let before = tcgetattr(std::io::stdin()).ok();
        if let Some(mut raw) = before.clone() {
            raw.make_raw();
            // A tenth of a second without a key, and it is seen whether anybody still waits.
            raw.special_codes[SpecialCodeIndex::VMIN] = 0;
            raw.special_codes[SpecialCodeIndex::VTIME] = 1;
            if tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).is_ok() {
                let ended = Arc::clone(&ended);
                std::thread::spawn(move || listen(&tell, &ended));
            }
        }
        Self { pressed, before, ended }
    }

    /// The next one. Where no keys can be read, none ever comes.
    pub(super) async fn next(&mut self) -> Option<Key> {
        match self.pressed.recv().await {
            Some(key) => Some(key),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(before) = &self.before
            && let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, before)
        {
            tracing::warn!(%error, "the terminal could not be put back");
        }
    }
}

fn listen(tell: &mpsc::Sender<Key>, ended: &AtomicBool) {
    let mut bytes = [0; 64];
    while !ended.load(Ordering::SeqCst) {
        let Ok(count) = std::io::stdin().read(&mut bytes) else { return };
        for key in keys(&bytes[..count]) {
            if tell.blocking_send(key).is_err() {
                return;
            }
        }
    }
}

/// The keys that a terminal says with `bytes`.
fn keys(bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let known: [(&[u8], Key); 8] = [
            (b"\x1b[A", Key::Up),
            (b"\x1b[B", Key::Down),
            (b"\x1b[5~", Key::PageUp),
            (b"\x1b[6~", Key::PageDown),
            (b"\r", Key::Enter),
            (b"\x7f", Key::Back),
            (b"\x08", Key::Back),
            (b"\x03", Key::Interrupt),
        ];
        if let Some((code, key)) = known.iter().find(|(code, _)| rest.starts_with(code)) {
            keys.push(*key);
            rest = &rest[code.len()..];
            continue;
        }
        match first {
            // Another key that begins so means nothing here, and is left out whole.
            0x1b if rest.len() > 1 => return keys,
            0x1b => keys.push(Key::Escape),
            b' '..=b'~' => keys.push(Key::Letter(char::from(*first))),
            _ => {}
        }
        rest = &rest[1..];
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_a_terminal_are_keys() {
        assert_eq!(keys(b"q"), [Key::Letter('q')]);
        assert_eq!(keys(b"\x1b[A\x1b[Ba"), [Key::Up, Key::Down, Key::Letter('a')]);
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys(b"\x1b[1;5C"), []);
        assert_eq!(keys(b"\x1b[5~\x1b[6~"), [Key::PageUp, Key::PageDown]);
        assert_eq!(keys(b"\x03\r\x7f"), [Key::Interrupt, Key::Enter, Key::Back]);
        assert_eq!(keys(b"\x00\xc3\xa4"), []);
    }
}
