//! Why a credential was refused, as programs need it; the refusal's text says it to people.

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// There is no such identity.
    UnknownIdentity,
    /// The identity, its device or its gateway is disabled.
    Disabled,
    /// Nothing was shown: no token, no client certificate.
    NoCredential,
    /// A token or certificate was shown to an identity that is registered with the other.
    OtherCredential,
    /// What was shown cannot be read.
    Malformed,
    /// The token was not signed with a key of the identity or policy.
    WrongKey,
    /// The token was signed for another host or another resource.
    WrongAudience,
    /// The token names a policy that is not there.
    UnknownPolicy,
    /// The policy, or the identity, may not do that.
    NoRight,
    /// The token or certificate is too old.
    Expired,
    /// The token is new each time and always too old, or the certificate holds only later: the clocks differ.
    ClockSkew,
    /// The certificate holds only later.
    NotYetValid,
    /// The certificate has neither of the registered thumbprints.
    ThumbprintDiffers,
    /// No registered authority issued the certificate.
    UnknownAuthority,
    /// The authority is registered but not verified.
    UnverifiedAuthority,
    /// The certificate is of another name.
    OtherName,
    /// The certificate or its chain is damaged or breaks a rule.
    BadCertificate,
    /// Too much at once.
    Throttled,
    /// Shut out for a while for connecting again and again.
    Banned,
}

impl Cause {
    /// The word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnknownIdentity => "unknownIdentity",
            Self::Disabled => "disabled",
            Self::NoCredential => "noCredential",
            Self::OtherCredential => "otherCredential",
            Self::Malformed => "malformed",
            Self::WrongKey => "wrongKey",
            Self::WrongAudience => "wrongAudience",
            Self::UnknownPolicy => "unknownPolicy",
            Self::NoRight => "noRight",
            Self::Expired => "expired",
            Self::ClockSkew => "clockSkew",
            Self::NotYetValid => "notYetValid",
            Self::ThumbprintDiffers => "thumbprintDiffers",
            Self::UnknownAuthority => "unknownAuthority",
            Self::UnverifiedAuthority => "unverifiedAuthority",
            Self::OtherName => "otherName",
            Self::BadCertificate => "badCertificate",
            Self::Throttled => "throttled",
            Self::Banned => "banned",
        }
    }
}
