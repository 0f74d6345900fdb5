//! What a proof has shown: a password, a token, a certificate.

/// Who somebody has proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub name: String,
    /// When the proof itself runs out.
    pub expires_at_ms: Option<i64>,
}
