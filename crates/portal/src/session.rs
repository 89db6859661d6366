//! One-time setup tokens and the browser sessions they open.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use uuid::Uuid;

/// Browsers signed in at a time; the oldest goes.
const SESSIONS_MAX: usize = 64;
/// Name of the cookie.
const COOKIE: &str = "ironbrook-session";

/// Who may see the page.
pub struct Sessions {
    inner: Mutex<Inner>,
}

struct Inner {
    setup_token: Option<String>,
    sessions: VecDeque<String>,
}

impl Sessions {
    /// No session yet; `setup_token` opens one.
    pub fn new(setup_token: String) -> Self {
        Self { inner: Mutex::new(Inner { setup_token: Some(setup_token), sessions: VecDeque::new() }) }
    }

    /// Redeems the setup token, once; returns the `Set-Cookie` value.
    pub fn open(&self, token: &str) -> Option<String> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.setup_token.as_deref().is_some_and(|wanted| same(wanted, token)) {
            return None;
        }
        inner.setup_token = None;
        if inner.sessions.len() == SESSIONS_MAX {
            inner.sessions.pop_front();
        }
        let session = Uuid::new_v4().simple().to_string();
        inner.sessions.push_back(session.clone());
        // Not `Secure`: in dev the page is also served without TLS on loopback.
        Some(format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict"))
    }

    /// Whether a `Cookie` header holds an open session.
    pub fn holds(&self, cookies: &str) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        cookies
            .split(';')
            .filter_map(|c| c.trim().strip_prefix(COOKIE)?.strip_prefix('='))
            .any(|value| inner.sessions.iter().any(|s| same(s, value)))
    }
}

/// Compares without telling by time how much was right.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_one_session_and_no_more() {
        let sessions = Sessions::new("t0ken".into());
        assert_eq!(sessions.open("wrong"), None);
        let cookie = sessions.open("t0ken").unwrap();
        assert_eq!(sessions.open("t0ken"), None);
        let pair = cookie.split(';').next().unwrap();
        assert!(sessions.holds(&format!("a=b; {pair}")));
        assert!(!sessions.holds("ironbrook-session=x"));
    }
}
