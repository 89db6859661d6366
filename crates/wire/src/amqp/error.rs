//! What can be wrong with bytes.

/// Bytes that are not AMQP 1.0, or more of it than is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end in the middle of a value.
    #[error("the bytes end in the middle of a value")]
    Truncated,
    /// A constructor byte that the specification does not define (part 1, 1.6).
    #[error("0x{0:02x} is not the constructor of an AMQP type")]
    Constructor(u8),
    /// Values nested deeper than taken.
    #[error("values are nested deeper than {} levels", super::decode::DEPTH_MAX)]
    TooDeep,
    /// More values in one frame or message than taken.
    #[error("more than {} values in one frame or message", super::decode::VALUES_MAX)]
    TooMany,
    /// A string that is not UTF-8, a symbol that is not ASCII, or a char that is not a Unicode scalar value.
    #[error("a string is not UTF-8 or a symbol is not ASCII")]
    Text,
    /// A boolean that is neither 0 nor 1.
    #[error("a boolean is neither 0 nor 1")]
    Boolean,
    /// A map with a key and no value.
    #[error("a map has an odd number of entries")]
    OddMap,
    /// The lengths of a compound value contradict each other.
    #[error("the size of a compound value does not fit its content")]
    Size,
    /// A field of another type than the specification says.
    #[error("field '{0}' is of another type than the specification says")]
    Field(&'static str),
    /// A field that must be there.
    #[error("field '{0}' is missing")]
    Missing(&'static str),
    /// A described type that does not belong here.
    #[error("a described type does not belong here (descriptor {0:#x})")]
    Descriptor(u64),
    /// A frame's header contradicts itself or the negotiated size.
    #[error("a frame of {size} bytes, where 8 to {max} are allowed")]
    FrameSize {
        /// The size in the frame's header.
        size: usize,
        /// The negotiated most.
        max: usize,
    },
    /// A frame's data offset points outside the frame.
    #[error("a frame's data offset points outside the frame")]
    DataOffset,
    /// A frame type that does not belong here.
    #[error("frame type {0} does not belong here")]
    FrameType(u8),
}
