//! Work that no request waits for: it gets a processor when nobody else wants it much.

use std::{sync::Arc, thread, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

/// Of 19. Where requests keep a core busy, such work gets about a tenth of it.
const NICENESS: i32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Then whoever is the last to hold it pays for its end.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Does it in a thread of its own, which is less urgent than those that serve. None where it panics, or no thread can be had.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    let thread = thread::Builder::new().name("background".to_owned()).spawn(move || {
        // On Linux, of this thread alone. Where it can't be, this takes its turn as others do.
        let _ = rustix::process::nice(NICENESS);
        let _ = tell.send(work());
    });
    thread.ok()?;
    told.await.ok()
}

/// Lets go of something large once nobody else holds it, so that no request is the one that has to free it. In a runtime.
pub fn forget<T: Send + Sync + 'static>(large: Arc<T>) {
    tokio::spawn(async move {
        let began = Instant::now();
        while Arc::strong_count(&large) > 1 && began.elapsed() < LONGEST_WAIT {
            sleep(LOOK_AGAIN).await;
        }
        run(move || drop(large)).await
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_of_it_is_told_and_a_panic_is_survived() {
        assert_eq!(run(|| 1 + 1).await, Some(2));
        let name = run(|| thread::current().name().map(str::to_owned)).await;
        assert_eq!(name.unwrap().as_deref(), Some("background"));
        assert_eq!(run::<()>(|| panic!("on purpose")).await, None);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn it_is_less_urgent_and_others_are_as_urgent_as_before() {
        let niceness = || rustix::process::nice(0).unwrap();
        let before = niceness();
        assert_eq!(run(niceness).await, Some((before + NICENESS).min(19)));
        assert_eq!(niceness(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_by_somebody_else_is_kept_for_a_while() {
        let large = Arc::new(());
        let (held, known) = (large.clone(), Arc::downgrade(&large));
        forget(large);
        sleep(LOOK_AGAIN * 3).await;
        assert_eq!(known.strong_count(), 2);
        drop(held);
        // The thread that frees it goes by the real clock.
        while known.strong_count() > 0 {
            sleep(LOOK_AGAIN).await;
            thread::yield_now();
        }
    }
}
