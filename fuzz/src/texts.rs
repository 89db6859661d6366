//! Texts that people and clients hand over: connection strings, tokens, times, ids.

use ironbrook_model::{ConnectionString, DeviceId, SasToken, Timestamp};

/// Any text as each of them.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(found) = ConnectionString::parse(text) {
        for name in ["HostName", "DeviceId", "SharedAccessKey", "x"] {
            drop(found.require(name));
        }
        drop(found.require_key("SharedAccessKey"));
        let key = found.get("SharedAccessKey").unwrap_or_default();
        // What stands in another part too is no secret of this one.
        if key.len() > 8 && text.matches(key).count() == 1 {
            assert!(!format!("{found:?}").contains(key), "a key is in Debug");
        }
    }
    if let Ok(token) = SasToken::parse(text) {
        let _ = token.check_scope(&["localhost"], "devices/d1");
        assert!(token.refused_from() >= token.expires());
    }
    let _ = Timestamp::parse(text);
    drop(DeviceId::new(text));
}
