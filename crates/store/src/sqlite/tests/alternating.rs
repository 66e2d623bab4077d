//! Two handles on one file behind one store: each call goes to the other one than the call before.

use super::*;
use crate::methods::all_methods;

pub(super) struct Alternating {
    handles: [Sqlite; 2],
    calls: AtomicUsize,
}

impl Alternating {
    pub(super) fn open(path: &Path) -> Self {
        let handle = || Sqlite::open(path).unwrap();
        Self { handles: [handle(), handle()], calls: AtomicUsize::new(0) }
    }

    fn turn(&self) -> &Sqlite {
        &self.handles[self.calls.fetch_add(1, Ordering::Relaxed) % 2]
    }
}

macro_rules! in_turn {
    ($(fn $name:ident(&self $(, $arg:ident: $type:ty)*) -> $answer:ty;)+) => {
        #[async_trait]
        impl Store for Alternating {$(
            async fn $name(&self $(, $arg: $type)*) -> Result<$answer, StoreError> {
                self.turn().$name($($arg),*).await
            }
        )+}
    };
}

all_methods!(in_turn);
