//! What can go wrong with files, data, tokenizers, templates and the hub. No prose of other layers here.

use std::{io, path::PathBuf};

use tb_core::{ErrorCode, run_folder::LockHolder};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate; each variant names the file or address it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file that is damaged, or not what its name says.
    #[error("{} cannot be read: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line of a file of ours that is damaged.
    #[error("{} is damaged in line {line}: {reason}", path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// Why.
        reason: String,
    },
    /// A file name that ends in nothing the importer knows.
    #[error("{} is of no known format: use a .json, .jsonl, .csv or .parquet file", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// No column mapping fits the columns of a file.
    #[error("{}: no known columns among [{}]: name them prompt/completion, messages, text, input/output or prompt/chosen/rejected, or give a mapping", path.display(), columns.join(", "))]
    NoMapping {
        /// The file.
        path: PathBuf,
        /// Its columns.
        columns: Vec<String>,
    },
    /// A mapping that cannot be used.
    #[error("the column mapping cannot be used: {reason}")]
    BadMapping {
        /// Why.
        reason: String,
    },
    /// A file without a single row that can be used.
    #[error("{} has no row that can be used ({problems} left out; first: {first})", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
        /// Rows left out.
        problems: u64,
        /// The first problem, in words.
        first: String,
    },
    /// Shares of a split that do not make sense.
    #[error("the shares {train}/{validation}/{test} cannot split a dataset: each must be 0 or more, and train above 0")]
    BadShares {
        /// Share to learn from.
        train: f64,
        /// Share to watch the loss on.
        validation: f64,
        /// Share to measure on.
        test: f64,
    },
    /// A folder that exists already with other contents.
    #[error("{} exists already with other contents; nothing was changed", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A run folder of another version of the contract.
    #[error("{} is of contract version {found}, this program speaks {known}", path.display())]
    OtherSchema {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version of this program.
        known: u32,
    },
    /// A run folder that a live worker holds.
    #[error("{} is held by process {} on {}", path.display(), holder.pid, holder.host)]
    Busy {
        /// The run folder.
        path: PathBuf,
        /// Who holds it.
        holder: LockHolder,
    },
    /// A tokenizer that cannot be loaded or that fails on a text.
    #[error("the tokenizer {} failed: {reason}", path.display())]
    Tokenizer {
        /// Its file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A chat template that cannot be compiled or rendered.
    #[error("the chat template of {origin} failed: {reason}")]
    Template {
        /// The file or folder it came from.
        origin: String,
        /// Why, with the line where known.
        reason: String,
    },
    /// A conversation for a model without a chat template.
    #[error("{} has no chat template: use prompt/completion rows, or a model with one", path.display())]
    NoTemplate {
        /// The model folder.
        path: PathBuf,
    },
    /// Rows whose answer is to be learnt, with a template that does not mark answers.
    #[error("the chat template of {} marks no assistant tokens ({{% generation %}}): use loss_on completion or all", path.display())]
    NoGenerationMarks {
        /// The model folder.
        path: PathBuf,
    },
    /// A row that a render option does not fit.
    #[error("a row of shape {shape} cannot be used here: {reason}")]
    WrongShape {
        /// Shape of the row.
        shape: tb_core::dataset::RowShape,
        /// What it lacks.
        reason: String,
    },
    /// The network is switched off and the file is not in the cache.
    #[error("{what} is not in the cache {} and the network is switched off (offline): download it once with the network on", cache.display())]
    Offline {
        /// The model and file.
        what: String,
        /// The cache folder.
        cache: PathBuf,
    },
    /// The hub does not know the repository, revision or file.
    #[error("{endpoint} has no {what}: check the name and the revision")]
    HubNotFound {
        /// The hub.
        endpoint: String,
        /// What was asked for.
        what: String,
    },
    /// The hub wants a token, or refuses this one.
    #[error(
        "{endpoint} refused {what}: set HF_TOKEN to a token that may read it, and accept its terms on the model page"
    )]
    HubRefused {
        /// The hub.
        endpoint: String,
        /// What was asked for.
        what: String,
    },
    /// A transfer that failed, also after going on where it was cut.
    #[error(
        "downloading {what} from {endpoint} failed after {kept_bytes} bytes: {reason}. What has arrived is kept; try again to go on from there"
    )]
    HubTransfer {
        /// The hub.
        endpoint: String,
        /// The file.
        what: String,
        /// Bytes that are kept for the next try.
        kept_bytes: u64,
        /// Why.
        reason: String,
    },
    /// The repository has GGUF files: one of them must be named.
    #[error("{repo} holds GGUF files: name the one that you want, such as {}", files.first().map_or("", |f| &f.name))]
    #[cfg(feature = "hub")]
    HubChoice {
        /// The repository.
        repo: String,
        /// Its GGUF files.
        files: Vec<crate::hub::HubFile>,
    },
    /// Whoever wanted the model does not want it any more.
    #[error("the download of {what} was stopped: what has arrived is kept")]
    HubCancelled {
        /// The model.
        what: String,
    },
    /// Another process, or another page, downloads the same model.
    #[error("{repo} is being downloaded already")]
    HubBusy {
        /// The model.
        repo: String,
    },
    /// A disk without room for what is to come; nothing of it was written.
    #[error("{} has room for {room_bytes} bytes, but {needed_bytes} are to come", path.display())]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// Bytes to come.
        needed_bytes: u64,
        /// Bytes that are free.
        room_bytes: u64,
    },
    /// A downloaded file whose size or hash is not what the hub promised; it was deleted.
    #[error("{what} from {endpoint} arrived damaged ({reason}) and was deleted: try again")]
    HubDamaged {
        /// The hub.
        endpoint: String,
        /// The file.
        what: String,
        /// What differs.
        reason: String,
    },
    /// A repository name, revision or file name that cannot be used.
    #[error("'{text}' cannot be used as a {what}")]
    BadName {
        /// What was given.
        text: String,
        /// What it should have been.
        what: &'static str,
    },
}

impl Error {
    /// What programs act on.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorCode::NotFound,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
                io::ErrorKind::OutOfMemory => ErrorCode::OutOfMemory,
                io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => {
                    ErrorCode::InvalidArgument
                }
                _ => ErrorCode::Unavailable,
            },
            Self::BadFile { .. }
            | Self::BadLine { .. }
            | Self::NoRows { .. }
            | Self::OtherSchema { .. }
            | Self::Tokenizer { .. }
            | Self::Template { .. }
            | Self::HubDamaged { .. } => ErrorCode::DataInvalid,
            Self::UnknownFormat { .. }
            | Self::NoMapping { .. }
            | Self::BadMapping { .. }
            | Self::BadShares { .. }
            | Self::NoTemplate { .. }
            | Self::NoGenerationMarks { .. }
            | Self::WrongShape { .. }
            | Self::BadName { .. } => ErrorCode::InvalidArgument,
            Self::Exists { .. } => ErrorCode::Conflict,
            Self::Busy { .. } | Self::Offline { .. } | Self::HubTransfer { .. } => ErrorCode::Unavailable,
            #[cfg(feature = "hub")]
            Self::HubChoice { .. } => ErrorCode::InvalidArgument,
            Self::HubCancelled { .. } => ErrorCode::Cancelled,
            Self::HubBusy { .. } => ErrorCode::Conflict,
            Self::NoRoom { .. } => ErrorCode::DiskFull,
            Self::HubNotFound { .. } => ErrorCode::NotFound,
            Self::HubRefused { .. } => ErrorCode::Unauthenticated,
        }
    }

    /// An operating-system error on `path`.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// A damaged file.
    pub(crate) fn bad_file(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::BadFile { path: path.into(), reason: reason.into() }
    }
}

impl From<Error> for tb_core::ApiError {
    fn from(error: Error) -> Self {
        Self::new(error.code(), format!("{error}."))
    }
}
