//! A waiting message as stored: four bytes length of the head, the head as JSON, the body as it is.

use super::super::error::Error;
use super::super::tables;
use bytes::Bytes;
use ironbrook_model::{Message, SystemProperty, Timestamp};
use serde::{Deserialize, Serialize};

/// All of a message but its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub enqueued: Timestamp,
    pub expires: Timestamp,
    pub delivery_count: u8,
    /// Generation of the identity it was sent to, for feedback.
    pub generation_id: String,
    /// System properties by stored number.
    system: Vec<(u8, String)>,
    properties: Vec<(String, String)>,
}

/// A waiting message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub head: Head,
    pub body: Bytes,
}

impl Head {
    fn system(&self, property: SystemProperty) -> Option<&str> {
        self.system.iter().find(|(number, _)| *number == property.number()).map(|(_, v)| v.as_str())
    }

    /// The wish for feedback.
    pub fn ack(&self) -> Option<&str> {
        self.system(SystemProperty::Ack)
    }

    /// The sender's id of the message.
    pub fn message_id(&self) -> Option<&str> {
        self.system(SystemProperty::MessageId)
    }
}

impl Row {
    pub fn new(message: &Message, enqueued: Timestamp, expires: Timestamp, generation_id: String) -> Self {
        let head = Head {
            enqueued,
            expires,
            delivery_count: 0,
            generation_id,
            system: message.system.iter().map(|(p, v)| (p.number(), v.to_string())).collect(),
            properties: message.properties.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect(),
        };
        Self { head, body: message.body.clone() }
    }

    pub fn message(&self) -> Message {
        let mut message = Message::new(self.body.clone());
        for (number, value) in &self.head.system {
            // A number of a newer version is a property this version does not know.
            if let Some(property) = SystemProperty::from_number(*number) {
                message.system.set(property, value.as_str());
            }
        }
        for (name, value) in &self.head.properties {
            message.properties.set(name.as_str(), value.as_str());
        }
        message
    }

    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let head = tables::encode("message", &self.head)?;
        let len =
            u32::try_from(head.len()).map_err(|e| Error::Stored { what: "message", why: e.to_string() })?;
        let mut bytes = Vec::with_capacity(4 + head.len() + self.body.len());
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&self.body);
        Ok(bytes)
    }

    /// The head of stored bytes, the body left alone.
    pub fn head(bytes: &[u8]) -> Result<Head, Error> {
        split(bytes).and_then(|(head, _)| tables::decode("message", head))
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (head, body) = split(bytes)?;
        Ok(Self { head: tables::decode("message", head)?, body: Bytes::copy_from_slice(body) })
    }
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let cut = || Error::Stored { what: "message", why: "it is cut short".to_owned() };
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| cut())?;
    rest.split_at_checked(len).ok_or_else(cut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_message_is_read_back(
            id in ".{0,8}", names in prop::collection::btree_map(".{1,4}", ".{0,8}", 0..4),
            body in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut message = Message::new(body);
            message.system.set(SystemProperty::MessageId, id);
            for (name, value) in names {
                message.properties.set(name, value);
            }
            let t = Timestamp::from_millis(5);
            let row = Row::new(&message, t, t, "1".to_owned());
            let read = Row::decode(&row.encode().unwrap()).unwrap();
            prop_assert_eq!(&read, &row);
            prop_assert_eq!(read.message(), message);
        }

        #[test]
        fn any_bytes_are_an_error_or_a_message(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Row::decode(&bytes);
        }
    }
}
