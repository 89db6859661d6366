//! Subscriptions at the hub that must hold: one that is refused once would leave its taker deaf.

use ironbrook_client::Error;
use std::future::Future;
use std::time::Duration;

/// Pause before a subscription that failed is tried again, at first and at most.
const AGAIN_FIRST: Duration = Duration::from_secs(1);
const AGAIN_LONGEST: Duration = Duration::from_secs(60);

/// Subscribes until that holds; `None` where it never will, because the client was closed.
pub(crate) async fn subscribed<T, F>(what: &str, mut subscribe: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut pause = AGAIN_FIRST;
    loop {
        match subscribe().await {
            Ok(feed) => return Some(feed),
            Err(Error::Closed) => return None,
            Err(error @ Error::Configuration(_)) => {
                tracing::error!(what, %error, "these will not be heard of");
                return None;
            }
            Err(error) => {
                tracing::warn!(what, %error, again_s = pause.as_secs(), "these are not heard of yet; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN_LONGEST);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Error {
        Error::Refused { status: 403, message: "subscription".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_that_fails_is_tried_until_it_holds() {
        let begin = tokio::time::Instant::now();
        let mut answers = vec![Ok(7), Err(Error::Timeout("SUBACK")), Err(refused()), Err(refused())];
        let feed = subscribed("test", || std::future::ready(answers.pop().unwrap())).await;
        assert_eq!((feed, begin.elapsed()), (Some(7), Duration::from_secs(1 + 2 + 4)));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_have_a_longest_and_a_closed_client_ends_it() {
        let begin = tokio::time::Instant::now();
        let mut left = 20;
        let feed = subscribed("test", || {
            left -= 1;
            std::future::ready(Err::<u8, _>(if left > 0 { refused() } else { Error::Closed }))
        })
        .await;
        assert_eq!((feed, begin.elapsed()), (None, Duration::from_secs(63 + 13 * 60)));
    }
}
