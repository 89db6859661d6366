//! The bytes that wait to be written.

use super::super::{Frame, FrameKind, Performative, SaslFrame};
use bytes::{BufMut, BytesMut};

#[derive(Default)]
pub(super) struct Writer {
    pub out: BytesMut,
    /// Something was written since the last tick.
    pub spoke: bool,
}

impl Writer {
    pub(super) fn header(&mut self, header: [u8; 8]) {
        self.out.put_slice(&header);
    }

    pub(super) fn sasl(&mut self, frame: &SaslFrame) {
        Frame::encode(&mut self.out, FrameKind::Sasl, 0, |out| frame.encode(out));
    }

    pub(super) fn frame(&mut self, channel: u16, performative: &Performative) {
        self.spoke = true;
        Frame::encode(&mut self.out, FrameKind::Amqp, channel, |out| performative.encode(out));
    }

    pub(super) fn transfer(&mut self, channel: u16, performative: &Performative, payload: &[u8]) {
        self.spoke = true;
        Frame::encode(&mut self.out, FrameKind::Amqp, channel, |out| {
            performative.encode(out);
            out.put_slice(payload);
        });
    }

    pub(super) fn heartbeat(&mut self) {
        self.spoke = true;
        Frame::encode(&mut self.out, FrameKind::Amqp, 0, |_| {});
    }
}
