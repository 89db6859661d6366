//! Why a definition is no job.

/// Why a definition could not be read. Paths are as in the definition: `properties.inputs[0].properties.type`.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It is no JSON.
    #[error("{file}no JSON: {error}")]
    Json {
        /// The file of a project with `: ` behind it; empty for others.
        file: String,
        /// Why.
        error: serde_json::Error,
    },
    /// It is longer than [`MAX_BYTES`](super::MAX_BYTES).
    #[error("the definition has {bytes} bytes, {} are allowed", super::MAX_BYTES)]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// JSON of another kind.
    #[error(
        "this is no Stream Analytics job: there is no properties.transformation and no resource of type \
         Microsoft.StreamAnalytics/streamingjobs; export the job with `az stream-analytics job show --expand \
         inputs,outputs,transformation,functions`"
    )]
    NoJob,
    /// A template with more than one job.
    #[error("the template has {count} jobs ({names}); take one resource out of it")]
    SeveralJobs {
        /// How many.
        count: usize,
        /// Their names.
        names: String,
    },
    /// A member that there must be.
    #[error("{path} is missing; it is {meaning}")]
    Missing {
        /// Where.
        path: String,
        /// What should stand there.
        meaning: &'static str,
    },
    /// A member of another JSON type.
    #[error("{path} is {found}, it must be {expected}")]
    Type {
        /// Where.
        path: String,
        /// What stands there.
        found: &'static str,
        /// What should.
        expected: &'static str,
    },
    /// A value that a member does not take.
    #[error("{path} is {found}; it can be {allowed}")]
    Value {
        /// Where.
        path: String,
        /// What stands there.
        found: String,
        /// What could.
        allowed: &'static str,
    },
    /// Two parts of one name.
    #[error("{path} is {name} as another one before it; names are equal ignoring case: rename one")]
    SameName {
        /// Where.
        path: String,
        /// The name.
        name: String,
    },
    /// A file of a project that cannot be read.
    #[error("{file}: {reason}")]
    File {
        /// Its path in the project.
        file: String,
        /// Why.
        reason: String,
    },
}
